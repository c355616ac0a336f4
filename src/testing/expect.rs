//! How the suites report a broken promise.

use crate::error::{ErrorKind, Result};

pub(super) fn assert_rejected<T>(result: Result<T>, kind: ErrorKind, promise: &str) {
    match result {
        Ok(_) => panic!("promise broken: {promise}; it was accepted"),
        Err(error) => assert_eq!(error.kind(), kind, "promise broken: {promise} with `{kind}`: {error}"),
    }
}

pub(super) fn expect_ok<T>(result: Result<T>, promise: &str) -> T {
    result.unwrap_or_else(|error| panic!("promise broken: {promise}: {error}"))
}
