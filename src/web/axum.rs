//! axum: [`TenantContext`] as an extractor, [`Error`] as a response.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;

use super::extract::{FeatureKey, RequireActive, RequireFeature, forgotten};
use super::refusal::refusal;
use crate::context::TenantContext;
use crate::error::Error;

/// The context that the [`TenantLayer`](crate::web::TenantLayer) left in the request. A handler that takes one
/// cannot run without a tenant.
///
/// # Errors
/// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured), status 500, if the route is not behind the layer.
impl<S: Send + Sync> FromRequestParts<S> for TenantContext {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| forgotten("`.layer(TenantLayer::new(resolver))` to the router after this route"))
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

/// The [`Problem`](crate::web::Problem) of the error; what is the program's own fault goes to the log.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        refusal::<Body>(&self)
    }
}
