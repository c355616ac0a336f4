//! The middleware of tower, for axum and tonic as well. What it shares with actix-web is in `core.rs`.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{CACHE_CONTROL, HeaderValue, VARY};
use http::{HeaderMap, Request, Response, Version};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

use super::connection::{peer, target};
use super::core::MiddlewareCore;
use super::problem::PRIVATE_NO_STORE;
use super::response::{grpc_response, is_grpc, problem_response};
use crate::context::TenantContext;
use crate::error::Error;
use crate::resolve::{
    HeaderField, HttpVersion, RequestView, ResolveFuture, Resolver, TlsInfo, span_without_tenant,
};

/// Middleware for tower and axum that finds the tenant of every request. A request without a tenant does not reach
/// the route.
///
/// The route gets a [`TenantContext`](crate::TenantContext) in the extensions of the request. A rejected request gets
/// a [`Problem`](crate::web::Problem) document as its response, and a rejected gRPC call its [status](Self::grpc).
/// Every response gets a `Vary` header with the headers that the sources read, and `Cache-Control: private, no-store`
/// unless the route sets a `Cache-Control` itself.
///
/// The route runs in the [span](TenantContext::span) of its context. What the library logs before the tenant is known, and for
/// rejected requests, is in a span `tenant` whose `tenant.id` is `unknown`, which no tenant can have as its id.
///
/// ```
/// use std::sync::Arc;
/// use tenancy::resolve::Resolver;
/// use tenancy::web::TenantLayer;
///
/// # fn app(resolver: Arc<Resolver>) {
/// let tenant_data = TenantLayer::new(resolver.clone()); // requires a credential
/// let login_page = TenantLayer::allow_unauthenticated(resolver); // requires the name of a tenant
/// # }
/// ```
///
/// With tonic, add the layer to the services as an axum router. A method reads the context from the extensions of its
/// request:
///
/// ```
/// # use tenancy::web::TenantLayer;
/// # fn wire(services: tonic::service::Routes, tenants: TenantLayer) -> tonic::service::Routes {
/// services.into_axum_router().layer(tenants.grpc()).into()
/// # }
/// # fn call(request: tonic::Request<()>) -> Result<String, tonic::Status> {
/// let ctx = request.extensions().get::<tenancy::TenantContext>();
/// # Ok(ctx.map(|ctx| ctx.tenant().name().to_owned()).unwrap_or_default()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct TenantLayer {
    core: Arc<MiddlewareCore<HeaderValue>>,
    grpc: bool,
}

impl TenantLayer {
    /// For routes that touch tenant data: the request must hold a verified credential.
    pub fn new(resolver: impl Into<Arc<Resolver>>) -> Self {
        Self { core: Arc::new(MiddlewareCore::authenticated(resolver.into())), grpc: false }
    }

    /// For public routes, such as a login page: an unverified hint suffices.
    ///
    /// # Security
    /// Any caller can name any tenant. Use it only for routes with public content.
    pub fn allow_unauthenticated(resolver: impl Into<Arc<Resolver>>) -> Self {
        Self { core: Arc::new(MiddlewareCore::unauthenticated(resolver.into())), grpc: false }
    }

    /// Responds to a rejected gRPC call with a [gRPC status](crate::web::Problem::grpc_code) instead of a problem
    /// document. A gRPC call is a POST of `application/grpc` over HTTP/2 or later.
    ///
    /// # Security
    /// The HTTP status of such a response is 200. A proxy that authorises requests by the HTTP status, or a metric
    /// over it, counts it as a success.
    pub fn grpc(self) -> Self {
        Self { grpc: true, ..self }
    }
}

impl<S> Layer<S> for TenantLayer {
    type Service = TenantService<S>;

    fn layer(&self, inner: S) -> TenantService<S> {
        TenantService { inner, core: self.core.clone(), grpc: self.grpc }
    }
}

/// The service that a [`TenantLayer`] creates.
#[derive(Debug, Clone)]
pub struct TenantService<S> {
    inner: S,
    core: Arc<MiddlewareCore<HeaderValue>>,
    grpc: bool,
}

impl<S, B, R> Service<Request<B>> for TenantService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: From<Vec<u8>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = TenantFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> TenantFuture<S, B> {
        let grpc = self.grpc && is_grpc(&request);
        let state = match self.core.resolve(&View::of(&request)).at_hand() {
            Ok(Ok(tenant)) => call_inner(&mut self.inner, request, tenant),
            Ok(Err(error)) => State::Rejected { error: Some(error) },
            Err(resolving) => {
                // `self.inner` was polled ready, so it is called, and its clone takes its place.
                let next = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, next);
                State::Resolving { resolving, waiting: Some(Box::new((request, inner))) }
            }
        };
        TenantFuture { state, core: self.core.clone(), grpc }
    }
}

fn call_inner<S, B>(inner: &mut S, mut request: Request<B>, tenant: TenantContext) -> State<S, S::Future, B>
where
    S: Service<Request<B>>,
{
    let span = tenant.span();
    // Replaces a context that other code inserted: only the resolver of this layer counts.
    request.extensions_mut().insert(tenant);
    let future = span.in_scope(|| inner.call(request));
    State::Serving { future, span }
}

pin_project! {
    /// The future of a [`TenantService`]. It allocates nothing if the caches hold the tenant.
    pub struct TenantFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, S::Future, B>,
        core: Arc<MiddlewareCore<HeaderValue>>,
        grpc: bool,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F, B> {
        Resolving { #[pin] resolving: ResolveFuture, waiting: Option<Box<(Request<B>, S)>> },
        Serving { #[pin] future: F, span: Span },
        Rejected { error: Option<Error> },
    }
}

impl<S, B, R> Future for TenantFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Vec<u8>>,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Resolving { resolving, waiting } => {
                    let resolved = ready!(resolving.poll(context));
                    let (request, mut inner) = *waiting.take().expect("a request resolves once");
                    match resolved {
                        Ok(tenant) => call_inner(&mut inner, request, tenant),
                        Err(error) => State::Rejected { error: Some(error) },
                    }
                }
                StateProjection::Serving { future, span } => {
                    let result = ready!(span.in_scope(|| future.poll(context)));
                    return Poll::Ready(result.map(|response| add_cache_headers(this.core, response)));
                }
                StateProjection::Rejected { error } => {
                    let error = error.take().expect("not polled again after it was ready");
                    let respond = if *this.grpc { grpc_response } else { problem_response };
                    let response = span_without_tenant().in_scope(|| respond(&error));
                    return Poll::Ready(Ok(add_cache_headers(this.core, response)));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for TenantFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Resolving { .. } => "Resolving",
            State::Serving { .. } => "Serving",
            State::Rejected { .. } => "Rejected",
        };
        f.debug_struct("TenantFuture").field("state", &state).finish_non_exhaustive()
    }
}

/// Prevents caches from serving the response of one tenant to another.
fn add_cache_headers<R>(core: &MiddlewareCore<HeaderValue>, mut response: Response<R>) -> Response<R> {
    let headers = response.headers_mut();
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(PRIVATE_NO_STORE));
    }
    // Another layer of this crate may have written it already.
    if let Some(vary) = core.vary()
        && !headers.get_all(VARY).iter().any(|known| known == vary)
    {
        headers.append(VARY, vary.clone());
    }
    response
}

/// Adapts a request of the `http` crate for the sources.
struct View<'a> {
    method: &'a str,
    version: HttpVersion,
    uri: &'a http::Uri,
    headers: &'a HeaderMap,
    peer: Option<SocketAddr>,
    tls: Option<&'a TlsInfo>,
}

impl<'a> View<'a> {
    fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method().as_str(),
            version: match request.version() {
                Version::HTTP_2 => HttpVersion::Http2,
                Version::HTTP_3 => HttpVersion::Http3,
                Version::HTTP_11 => HttpVersion::Http11,
                _ => HttpVersion::Http10,
            },
            uri: target(request),
            headers: request.headers(),
            peer: peer(request.extensions()),
            tls: request.extensions().get(),
        }
    }
}

impl RequestView for View<'_> {
    fn method(&self) -> &str {
        self.method
    }

    fn version(&self) -> HttpVersion {
        self.version
    }

    fn authority(&self) -> Option<&str> {
        self.uri.authority().map(http::uri::Authority::as_str)
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn header(&self, name: &str) -> HeaderField<'_> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => HeaderField::Absent,
            (Some(value), None) => HeaderField::Once(value.as_bytes()),
            (Some(_), Some(_)) => HeaderField::Repeated,
        }
    }

    fn lines(&self, name: &str) -> Vec<&[u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn tls(&self) -> Option<&TlsInfo> {
        self.tls
    }
}
