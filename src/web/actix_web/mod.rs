//! actix-web: the middleware, [`TenantContext`] as an extractor, [`Error`] as a response.

mod middleware;
mod plan;
mod view;
#[cfg(feature = "stripe")]
mod webhook;

use std::future::{Ready, ready};
#[cfg(feature = "quota")]
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
#[cfg(feature = "quota")]
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError};

pub use self::middleware::TenantMiddleware;
pub use self::plan::PlanMiddleware;
#[cfg(feature = "stripe")]
pub use self::webhook::stripe_webhook_route;
#[cfg(feature = "quota")]
use super::charged::{Charged, QuotaKey};
use super::extract::{FeatureKey, PlanKey, RequireActive, RequireFeature, RequirePlan};
use super::missing::missing_middleware;
use super::problem::Problem;
#[cfg(feature = "quota")]
use super::usage::UsageResponse;
use crate::context::TenantContext;
use crate::error::Error;
#[cfg(feature = "quota")]
use crate::quota::Quotas;

/// Extracts the context that the [`TenantMiddleware`] inserted into the request. A handler with this argument cannot
/// run without a tenant.
///
/// # Errors
/// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured), status 500, if the route is not behind the
/// middleware.
impl FromRequest for TenantContext {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(context(request))
    }
}

impl<F: FeatureKey + 'static> FromRequest for RequireFeature<F> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(context(request).and_then(Self::of))
    }
}

impl<P: PlanKey + 'static> FromRequest for RequirePlan<P> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(context(request).and_then(Self::of))
    }
}

impl FromRequest for RequireActive {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(context(request).and_then(Self::of))
    }
}

/// Charges the quota by the [`Quotas`] in the data of the application.
#[cfg(feature = "quota")]
impl<K: QuotaKey + 'static> FromRequest for Charged<K> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let ctx = context(request);
        let quotas = request.app_data::<Data<Quotas>>().cloned();
        Box::pin(async move { Self::of(ctx?, &*quotas.ok_or_else(missing_quotas)?).await })
    }
}

#[cfg(feature = "quota")]
fn missing_quotas() -> Error {
    let text = "a handler takes a `Charged`, but the application has no `Quotas`: add \
                `.app_data(web::Data::new(quotas))` to it";
    Error::new(crate::error::ErrorKind::Misconfigured, text)
}

fn context(request: &HttpRequest) -> Result<TenantContext, Error> {
    request.extensions().get::<TenantContext>().cloned().ok_or_else(|| {
        missing_middleware("`.wrap(TenantMiddleware::new(resolver))` to this route, or to the scope it is in")
    })
}

/// Responds with the JSON, or with 304.
#[cfg(feature = "quota")]
impl actix_web::Responder for UsageResponse {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        for header in self.headers() {
            response.insert_header(header);
        }
        response.body(self.into_json())
    }
}

/// Responds with the [`Problem`] of the error. Errors with status 500 and above are logged.
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        status(&Problem::from(self))
    }

    fn error_response(&self) -> HttpResponse {
        let problem = Problem::logged(self);
        let mut response = HttpResponse::build(status(&problem));
        for (name, value) in problem.headers() {
            response.insert_header((name, &*value));
        }
        response.body(problem.into_json())
    }
}

fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
