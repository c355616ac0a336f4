use std::future::{Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BoxBody, EitherBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::error::InternalError;
use actix_web::http::header::{CACHE_CONTROL, HeaderMap, HeaderValue, VARY};
use actix_web::{HttpMessage, ResponseError};
use tracing::instrument::Instrument;

use super::super::core::MiddlewareCore;
use super::super::problem::UNSHARED;
use super::view::{View, one_spelling};
use crate::resolve::Resolver;

/// Puts a tenant in front of every route behind it: a request reaches the route with a
/// [`TenantContext`](crate::TenantContext) in its extensions, or not at all. The
/// [`TenantLayer`](https://docs.rs/tenancy/latest/tenancy/web/struct.TenantLayer.html) of actix-web.
///
/// A refused request is answered with a [`Problem`](crate::web::Problem) document. Responses get `Vary` over the headers
/// that the sources read, and `Cache-Control: private, no-store` unless the route set one itself. The route runs in the
/// [span](crate::TenantContext::span) of its context; before, and where the request is refused, the span `tenant` has the
/// `tenant.id` `unknown`, which is no tenant's.
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
/// The peer is that of the socket; behind something that hides it, insert a [`PeerAddr`](crate::web::PeerAddr) into the
/// request's extensions. What TLS said, a [`TlsInfo`](crate::resolve::TlsInfo), is read from the request's extensions, or
/// from those of the connection, where `HttpServer::on_connect` puts it.
///
/// # Security
/// `ConnectionInfo`, which believes `Forwarded` headers of anybody, is never asked. actix-web routes by a path whose
/// escapes it has undone, while sources see the path as it was sent; so a path that escapes a character which needs no
/// escape (`/%74/acme` for `/t/acme`) is refused with 400. A middleware that rewrites the path, such as `NormalizePath`,
/// goes around this one: with `wrap`, the last is the outermost.
#[derive(Debug, Clone)]
#[must_use]
pub struct TenantMiddleware(Arc<MiddlewareCore<HeaderValue>>);

impl TenantMiddleware {
    /// For routes that touch a tenant's data: the request must prove who is calling.
    pub fn new(resolver: Arc<Resolver>) -> Self {
        Self(Arc::new(MiddlewareCore::proven(resolver)))
    }

    /// For public routes, such as a login page: that the request names a tenant suffices.
    ///
    /// # Security
    /// Anybody can name any tenant. Behind this middleware, serve only what the whole world may see.
    pub fn allow_unauthenticated(resolver: Arc<Resolver>) -> Self {
        Self(Arc::new(MiddlewareCore::selected(resolver)))
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
        ready(Ok(TenantService { inner: Rc::new(service), gate: self.0.clone() }))
    }
}

/// The service that a [`TenantMiddleware`] makes.
#[derive(Debug)]
pub struct TenantService<S> {
    inner: Rc<S>,
    gate: Arc<MiddlewareCore<HeaderValue>>,
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
        let unknown = MiddlewareCore::<HeaderValue>::span();
        let resolving = unknown
            .in_scope(|| one_spelling(request.path()).map(|()| self.gate.resolve(&View::of(&request))));
        let (inner, gate) = (self.inner.clone(), self.gate.clone());
        Box::pin(async move {
            let resolved = match resolving {
                Ok(resolving) => resolving.instrument(unknown.clone()).await,
                Err(error) => Err(error),
            };
            let served = match resolved {
                Ok(tenant) => {
                    // In place of any context from elsewhere, which is no proof here.
                    request.extensions_mut().insert(tenant.clone());
                    let served = tenant.in_span(async { inner.call(request).await }).await;
                    served.map(ServiceResponse::map_into_left_body)
                }
                Err(error) => {
                    let response = unknown.in_scope(|| error.error_response());
                    let refusal: ServiceResponse<BoxBody> = request.into_response(response);
                    Ok(refusal.map_into_right_body())
                }
            };
            match served {
                Ok(mut response) => {
                    mark(&gate, response.headers_mut());
                    Ok(response)
                }
                // What another middleware answers by an error is this tenant's as well.
                Err(error) => {
                    let mut response = error.error_response();
                    mark(&gate, response.headers_mut());
                    Err(InternalError::from_response(error, response).into())
                }
            }
        })
    }
}

/// Keeps one tenant's response out of another's cache.
fn mark(gate: &MiddlewareCore<HeaderValue>, headers: &mut HeaderMap) {
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(UNSHARED));
    }
    if let Some(vary) = gate.vary() {
        headers.append(VARY, vary.clone());
    }
}
