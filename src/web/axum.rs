//! axum: [`TenantContext`] as an extractor, [`Error`] as a response. The middleware is in `tower.rs`.

use axum::body::Body;
#[cfg(feature = "quota")]
use axum::extract::FromRef;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
#[cfg(feature = "quota")]
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

#[cfg(feature = "quota")]
use super::charged::{Charged, QuotaKey};
use super::extract::{FeatureKey, PlanKey, RequireActive, RequireFeature, RequirePlan};
use super::missing::missing_middleware;
use super::response::problem_response;
#[cfg(feature = "quota")]
use super::usage::UsageResponse;
use crate::context::TenantContext;
use crate::error::Error;
#[cfg(feature = "quota")]
use crate::quota::Quotas;

/// Extracts the context that the [`TenantLayer`](crate::web::TenantLayer) inserted into the request. A handler with
/// this argument cannot run without a tenant.
///
/// # Errors
/// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured), status 500, if the route is not behind the layer.
impl<S: Send + Sync> FromRequestParts<S> for TenantContext {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            missing_middleware("`.layer(TenantLayer::new(resolver))` to the router after this route")
        })
    }
}

impl<S: Send + Sync, F: FeatureKey> FromRequestParts<S> for RequireFeature<F> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Self::of(TenantContext::from_request_parts(parts, state).await?)
    }
}

impl<S: Send + Sync, P: PlanKey> FromRequestParts<S> for RequirePlan<P> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Self::of(TenantContext::from_request_parts(parts, state).await?)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequireActive {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Self::of(TenantContext::from_request_parts(parts, state).await?)
    }
}

/// Charges the quota by the [`Quotas`] in the state of the router.
#[cfg(feature = "quota")]
impl<S: Send + Sync, K: QuotaKey> FromRequestParts<S> for Charged<K>
where
    Quotas: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Self::of(TenantContext::from_request_parts(parts, state).await?, &Quotas::from_ref(state)).await
    }
}

/// Responds with the JSON, or with 304.
#[cfg(feature = "quota")]
impl IntoResponse for UsageResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let value = |(name, value): (&'static str, &str)| {
            Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
        };
        let headers: HeaderMap = self.headers().filter_map(value).collect();
        let mut response = Response::new(Body::from(self.into_json()));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        response
    }
}

/// Responds with the [`Problem`](crate::web::Problem) of the error. Errors with status 500 and above are logged.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        problem_response::<Body>(&self)
    }
}
