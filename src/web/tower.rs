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

use super::core::MiddlewareCore;
use super::peer_of::{peer, target};
use super::problem::UNSHARED;
use super::refusal::{grpc_refusal, is_grpc, refusal};
use crate::context::TenantContext;
use crate::error::Error;
use crate::resolve::{HeaderField, HttpVersion, RequestView, ResolveFuture, Resolver, TlsInfo};

/// Puts a tenant in front of every route behind it: a request reaches the route with a
/// [`TenantContext`](crate::TenantContext) in its extensions, or not at all.
///
/// A refused request is answered with a [`Problem`](crate::web::Problem) document, and around services of gRPC a call with
/// its [status](Self::grpc). Responses get `Vary` over the headers that the sources read, and `Cache-Control: private, no-store` unless the route set one itself. The route runs in the
/// [span](TenantContext::span) of its context; before, and where the request is refused, the span `tenant` has the
/// `tenant.id` `unknown`, which is no tenant's.
///
/// ```
/// use std::sync::Arc;
/// use tenancy::resolve::Resolver;
/// use tenancy::web::TenantLayer;
///
/// # fn wire(resolver: Arc<Resolver>) {
/// let proven = TenantLayer::new(resolver.clone());
/// let login_page = TenantLayer::allow_unauthenticated(resolver);
/// # }
/// ```
///
/// With tonic it goes around the services as a router of axum, and a method finds the context in its request's extensions:
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
    gate: Arc<MiddlewareCore<HeaderValue>>,
    grpc: bool,
}

impl TenantLayer {
    /// For routes that touch a tenant's data: the request must prove who is calling.
    pub fn new(resolver: Arc<Resolver>) -> Self {
        Self { gate: Arc::new(MiddlewareCore::proven(resolver)), grpc: false }
    }

    /// For public routes, such as a login page: that the request names a tenant suffices.
    ///
    /// # Security
    /// Anybody can name any tenant. Behind this layer, serve only what the whole world may see.
    pub fn allow_unauthenticated(resolver: Arc<Resolver>) -> Self {
        Self { gate: Arc::new(MiddlewareCore::selected(resolver)), grpc: false }
    }

    /// Around services of gRPC: a refused call (a POST of `application/grpc`, not over HTTP/1) is answered with its
    /// [status of gRPC](crate::web::Problem::grpc_code), which a client reads in place of a problem document.
    ///
    /// # Security
    /// In HTTP such a refusal has the status 200. Whoever goes by that, such as a proxy that asks whether to let somebody
    /// in, or a count of refusals, takes it for a success.
    pub fn grpc(self) -> Self {
        Self { grpc: true, ..self }
    }
}

impl<S> Layer<S> for TenantLayer {
    type Service = TenantService<S>;

    fn layer(&self, inner: S) -> TenantService<S> {
        TenantService { inner, gate: self.gate.clone(), grpc: self.grpc }
    }
}

/// The service that a [`TenantLayer`] makes.
#[derive(Debug, Clone)]
pub struct TenantService<S> {
    inner: S,
    gate: Arc<MiddlewareCore<HeaderValue>>,
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
        let unknown = MiddlewareCore::<HeaderValue>::span();
        let resolving = unknown.in_scope(|| self.gate.resolve(&View::of(&request)).at_hand());
        let state = match resolving {
            Ok(Ok(tenant)) => enter(&mut self.inner, request, tenant),
            Ok(Err(error)) => State::Rejected { error: Some(error), span: unknown },
            Err(resolving) => {
                // The service that was polled ready is the one to be called.
                let next = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, next);
                State::ResolveFuture { resolving, waiting: Some(Box::new((request, inner))), span: unknown }
            }
        };
        TenantFuture { state, gate: self.gate.clone(), grpc }
    }
}

fn enter<S, B>(inner: &mut S, mut request: Request<B>, tenant: TenantContext) -> State<S, S::Future, B>
where
    S: Service<Request<B>>,
{
    let span = tenant.span();
    // In place of any context from elsewhere, which is no proof here.
    request.extensions_mut().insert(tenant);
    let future = span.in_scope(|| inner.call(request));
    State::Serving { future, span }
}

pin_project! {
    /// The future of a [`TenantService`]. Nothing is boxed when the tenant is at hand.
    pub struct TenantFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, S::Future, B>,
        gate: Arc<MiddlewareCore<HeaderValue>>,
        grpc: bool,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F, B> {
        ResolveFuture { #[pin] resolving: ResolveFuture, waiting: Option<Box<(Request<B>, S)>>, span: Span },
        Serving { #[pin] future: F, span: Span },
        Rejected { error: Option<Error>, span: Span },
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
                StateProjection::ResolveFuture { resolving, waiting, span } => {
                    let resolved = ready!(span.in_scope(|| resolving.poll(context)));
                    let (request, mut inner) = *waiting.take().expect("a request resolves once");
                    match resolved {
                        Ok(tenant) => enter(&mut inner, request, tenant),
                        Err(error) => State::Rejected { error: Some(error), span: span.clone() },
                    }
                }
                StateProjection::Serving { future, span } => {
                    let served = ready!(span.in_scope(|| future.poll(context)));
                    return Poll::Ready(served.map(|response| mark(this.gate, response)));
                }
                StateProjection::Rejected { error, span } => {
                    let error = error.take().expect("not polled again after it was ready");
                    let refusal = if *this.grpc { grpc_refusal } else { refusal };
                    let response = span.in_scope(|| refusal(&error));
                    return Poll::Ready(Ok(mark(this.gate, response)));
                }
            };
            this.state.set(next);
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for TenantFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::ResolveFuture { .. } => "Resolving",
            State::Serving { .. } => "Serving",
            State::Rejected { .. } => "Refused",
        };
        f.debug_struct("TenantFuture").field("state", &state).finish_non_exhaustive()
    }
}

/// Keeps one tenant's response out of another's cache.
fn mark<R>(gate: &MiddlewareCore<HeaderValue>, mut response: Response<R>) -> Response<R> {
    let headers = response.headers_mut();
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(UNSHARED));
    }
    if let Some(vary) = gate.vary() {
        headers.append(VARY, vary.clone());
    }
    response
}

/// A request of the `http` crate, as the sources see it.
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
