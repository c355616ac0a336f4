//! The middleware of actix-web that applies [`PlanRules`].

use std::future::{Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BoxBody, EitherBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpMessage, ResponseError};

use super::super::missing::missing_middleware;
use super::super::plan_rules::PlanRules;
use crate::context::TenantContext;

/// Middleware for actix-web that checks the tenant's plan and charges its quotas before the route runs.
///
/// Wrap it before the [`TenantMiddleware`](crate::web::TenantMiddleware), which finds the tenant: the last `wrap` is the
/// outermost. The same for tower and axum is
/// [`PlanLayer`](https://docs.rs/tenancy/latest/tenancy/web/struct.PlanLayer.html).
///
/// ```
/// use actix_web::web;
/// use tenancy::plan::Flag;
/// use tenancy::web::{PlanMiddleware, PlanRules, TenantMiddleware};
///
/// const EXPORT: Flag = Flag::new("export");
///
/// # fn wire(tenants: TenantMiddleware) {
/// let rules = PlanMiddleware::new(PlanRules::new().require_feature(EXPORT));
/// let app = actix_web::App::new().service(web::resource("/export").wrap(rules).wrap(tenants));
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct PlanMiddleware(Arc<PlanRules>);

impl PlanMiddleware {
    /// Applies these rules to every request.
    pub fn new(rules: PlanRules) -> Self {
        Self(Arc::new(rules))
    }
}

impl<S, B> Transform<S, ServiceRequest> for PlanMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = PlanService<S>;
    type InitError = ();
    type Future = Ready<Result<PlanService<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(PlanService { inner: Rc::new(service), rules: self.0.clone() }))
    }
}

/// The service that a [`PlanMiddleware`] creates.
#[derive(Debug)]
pub struct PlanService<S> {
    inner: Rc<S>,
    rules: Arc<PlanRules>,
}

impl<S, B> Service<ServiceRequest> for PlanService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, actix_web::Error>>>>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (inner, rules) = (self.inner.clone(), self.rules.clone());
        Box::pin(async move {
            let ctx = request.extensions().get::<TenantContext>().cloned();
            let applied = match &ctx {
                Some(ctx) => rules.apply(ctx).await,
                None => Err(missing_middleware("`TenantMiddleware` around `PlanMiddleware`")),
            };
            let decisions = match applied {
                Ok(decisions) => decisions,
                Err(error) => {
                    let rejected: ServiceResponse<BoxBody> = request.into_response(error.error_response());
                    return Ok(rejected.map_into_right_body());
                }
            };
            let headers = decisions.headers().to_vec();
            request.extensions_mut().insert(decisions);
            let mut response = inner.call(request).await?;
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::try_from(&*value) {
                    response.headers_mut().append(HeaderName::from_static(name), value);
                }
            }
            Ok(response.map_into_left_body())
        })
    }
}
