//! The middleware of tower and axum that applies [`PlanRules`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::missing::missing_middleware;
use super::plan_rules::PlanRules;
use super::response::{grpc_response, is_grpc, problem_response};
use crate::context::TenantContext;

/// Middleware for tower and axum that checks the tenant's plan and charges its quotas before the route runs.
///
/// It belongs inside the [`TenantLayer`](crate::web::TenantLayer), which finds the tenant. The same for actix-web is
/// [`PlanMiddleware`](https://docs.rs/tenancy/latest/tenancy/web/struct.PlanMiddleware.html).
///
/// ```
/// # #[cfg(all(feature = "axum", feature = "quota"))] {
/// use axum::{Router, routing::get};
/// use tenancy::quota::{Quota, Quotas};
/// use tenancy::web::{PlanLayer, PlanRules, TenantLayer};
///
/// const API_CALLS: Quota = Quota::new("api_calls");
///
/// fn routes(quotas: &Quotas, tenants: TenantLayer) -> Router {
///     let rules = PlanRules::new().charge(quotas, API_CALLS, 1);
///     Router::new().route("/orders", get(|| async { "orders" })).layer(PlanLayer::new(rules)).layer(tenants)
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct PlanLayer {
    rules: Arc<PlanRules>,
    grpc: bool,
}

impl PlanLayer {
    /// Applies these rules to every request.
    pub fn new(rules: PlanRules) -> Self {
        Self { rules: Arc::new(rules), grpc: false }
    }

    /// Responds to a rejected gRPC call with a gRPC status, as [`TenantLayer::grpc`](crate::web::TenantLayer::grpc).
    pub fn grpc(self) -> Self {
        Self { grpc: true, ..self }
    }
}

impl<S> Layer<S> for PlanLayer {
    type Service = PlanService<S>;

    fn layer(&self, inner: S) -> PlanService<S> {
        PlanService { inner, layer: self.clone() }
    }
}

/// The service that a [`PlanLayer`] creates.
#[derive(Debug, Clone)]
pub struct PlanService<S> {
    inner: S,
    layer: PlanLayer,
}

impl<S, B, R> Service<Request<B>> for PlanService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Vec<u8>> + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // `self.inner` was polled ready, so it is called, and its clone takes its place.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let rules = self.layer.rules.clone();
        let respond = if self.layer.grpc && is_grpc(&request) { grpc_response } else { problem_response };
        Box::pin(async move {
            let Some(ctx) = request.extensions().get::<TenantContext>().cloned() else {
                return Ok(respond(&missing_middleware("`TenantLayer` around `PlanLayer`")));
            };
            let decisions = match rules.apply(&ctx).await {
                Ok(decisions) => decisions,
                Err(error) => return Ok(respond(&error)),
            };
            let headers = decisions.headers().to_vec();
            request.extensions_mut().insert(decisions);
            let mut response = inner.call(request).await?;
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::try_from(&*value) {
                    response.headers_mut().append(HeaderName::from_static(name), value);
                }
            }
            Ok(response)
        })
    }
}
