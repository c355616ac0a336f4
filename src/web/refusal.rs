use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use tracing::error;

use super::problem::Problem;
use crate::error::Error;

/// The response to a request that is refused; what is the program's own fault goes to the log.
pub(super) fn refusal<R: From<Vec<u8>>>(error: &Error) -> Response<R> {
    let problem = Problem::from(error);
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_server_error() {
        error!(kind = error.kind().code(), %error, cause = error.cause().map(tracing::field::display), "request failed");
    }
    let headers: HeaderMap = problem
        .headers()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let mut response = Response::new(R::from(problem.into_json()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
