//! axum: [`TenantContext`] as an extractor, [`Error`] as a response. The middleware is in `tower.rs`.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;

use super::extract::{FeatureKey, RequireActive, RequireFeature, missing_middleware};
use super::response::problem_response;
use crate::context::TenantContext;
use crate::error::Error;

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

impl<S: Send + Sync> FromRequestParts<S> for RequireActive {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Self::of(TenantContext::from_request_parts(parts, state).await?)
    }
}

/// Responds with the [`Problem`](crate::web::Problem) of the error. Errors with status 500 and above are logged.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        problem_response::<Body>(&self)
    }
}
