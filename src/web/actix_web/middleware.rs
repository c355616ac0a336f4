//! The middleware of actix-web. What it shares with tower is in `src/web/core.rs`.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BoxBody, EitherBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::error::InternalError;
use actix_web::http::header::{CACHE_CONTROL, HeaderMap, HeaderValue, VARY};
use actix_web::{HttpMessage, ResponseError};

use super::super::core::MiddlewareCore;
use super::super::problem::PRIVATE_NO_STORE;
use super::view::{View, reject_needless_escapes};
use crate::resolve::{Resolver, span_without_tenant};

/// Middleware for actix-web that finds the tenant of every request. A request without a tenant does not reach the
/// route.
///
/// The route gets a [`TenantContext`](crate::TenantContext) in the extensions of the request. A rejected request gets
/// a [`Problem`](crate::web::Problem) document as its response. Every response gets a `Vary` header with the headers
/// that the sources read, and `Cache-Control: private, no-store` unless the route sets a `Cache-Control` itself.
///
/// The route runs in the [span](crate::TenantContext::span) of its context. What the library logs before the tenant is known,
/// and for rejected requests, is in a span `tenant` whose `tenant.id` is `unknown`, which no tenant can have as its id.
///
/// The same for tower and axum is
/// [`TenantLayer`](https://docs.rs/tenancy/latest/tenancy/web/struct.TenantLayer.html).
///
/// ```
/// use std::sync::Arc;
/// use actix_web::web;
/// use tenancy::TenantContext;
/// use tenancy::resolve::Resolver;
/// use tenancy::web::TenantMiddleware;
///
/// async fn orders(ctx: TenantContext) -> tenancy::Result<String> {
///     Ok(format!("the orders of {}", ctx.tenant().name()))
/// }
///
/// # fn wire(resolver: Arc<Resolver>) {
/// let app = actix_web::App::new()
///     .service(web::resource("/login").wrap(TenantMiddleware::allow_unauthenticated(resolver.clone())))
///     .service(web::scope("/api").wrap(TenantMiddleware::new(resolver)).route("/orders", web::get().to(orders)));
/// # }
/// ```
///
/// The peer is that of the socket. To replace it, insert a [`PeerAddr`](crate::web::PeerAddr) into the extensions of
/// the request. The [`TlsInfo`](crate::resolve::TlsInfo) is read from the extensions of the request, or from those of
/// the connection, into which `HttpServer::on_connect` inserts it.
///
/// # Security
/// `ConnectionInfo` is not used, because it trusts the `Forwarded` headers of every client. actix-web routes by the
/// decoded path, while sources read the path that the client sent. So a path that escapes a character which needs no
/// escape (`/%74/acme` for `/t/acme`) is rejected with 400. Wrap middleware that rewrites the path, such as
/// `NormalizePath`, around this one: the last `wrap` is the outermost.
#[derive(Debug, Clone)]
#[must_use]
pub struct TenantMiddleware(Arc<MiddlewareCore<HeaderValue>>);

impl TenantMiddleware {
    /// For routes that touch tenant data: the request must hold a verified credential.
    pub fn new(resolver: impl Into<Arc<Resolver>>) -> Self {
        Self(Arc::new(MiddlewareCore::authenticated(resolver.into())))
    }

    /// For public routes, such as a login page: an unverified hint suffices.
    ///
    /// # Security
    /// Any caller can name any tenant. Use it only for routes with public content.
    pub fn allow_unauthenticated(resolver: impl Into<Arc<Resolver>>) -> Self {
        Self(Arc::new(MiddlewareCore::unauthenticated(resolver.into())))
    }
}

impl<S, B> Transform<S, ServiceRequest> for TenantMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = TenantService<S>;
    type InitError = ();
    type Future = Ready<Result<TenantService<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(TenantService { inner: Rc::new(service), core: self.0.clone() }))
    }
}

/// The service that a [`TenantMiddleware`] creates.
#[derive(Debug)]
pub struct TenantService<S> {
    inner: Rc<S>,
    core: Arc<MiddlewareCore<HeaderValue>>,
}

impl<S, B> Service<ServiceRequest> for TenantService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, actix_web::Error>>>>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let resolving =
            reject_needless_escapes(request.path()).map(|()| self.core.resolve(&View::of(&request)));
        let (inner, core) = (self.inner.clone(), self.core.clone());
        Box::pin(async move {
            let resolved = match resolving {
                Ok(resolving) => resolving.await,
                Err(error) => Err(error),
            };
            let result = match resolved {
                Ok(tenant) => {
                    // Replaces a context that other code inserted: only the resolver of this middleware counts.
                    request.extensions_mut().insert(tenant.clone());
                    let result = tenant.in_span(async { inner.call(request).await }).await;
                    result.map(ServiceResponse::map_into_left_body)
                }
                Err(error) => {
                    let response = span_without_tenant().in_scope(|| error.error_response());
                    let rejected: ServiceResponse<BoxBody> = request.into_response(response);
                    Ok(rejected.map_into_right_body())
                }
            };
            match result {
                Ok(mut response) => {
                    add_cache_headers(&core, response.headers_mut());
                    Ok(response)
                }
                // The error of another middleware can contain tenant data, too.
                Err(error) => {
                    let mut response = error.error_response();
                    add_cache_headers(&core, response.headers_mut());
                    Err(InternalError::from_response(error, response).into())
                }
            }
        })
    }
}

/// Prevents caches from serving the response of one tenant to another.
fn add_cache_headers(core: &MiddlewareCore<HeaderValue>, headers: &mut HeaderMap) {
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(PRIVATE_NO_STORE));
    }
    // Another layer of this crate may have written it already.
    if let Some(vary) = core.vary()
        && !headers.get_all(VARY).any(|known| known == vary)
    {
        headers.append(VARY, vary.clone());
    }
}
