//! The error of a route without the middleware.

use tracing::error;

use crate::error::{Error, ErrorKind};

/// The error of a handler that takes a context on a route without the middleware.
pub(super) fn missing_middleware(fix: &str) -> Error {
    error!(
        "a handler takes a TenantContext, but its route has no middleware that resolves the tenant; add {fix}"
    );
    Error::new(ErrorKind::Misconfigured, "this route has no middleware that resolves the tenant")
}
