//! [`repeat`]: runs a transaction again that lost a conflict with another one.

use crate::error::{Error, ErrorKind, Result};

/// How often a transaction that conflicts with others is run, the first run included.
pub(super) const MAX_ATTEMPTS: usize = 5;

/// Runs a transaction, and repeats it if it conflicts with another one.
pub(super) async fn repeat<T, F: Future<Output = Result<T>>>(run: impl Fn() -> F) -> Result<T> {
    repeat_up_to(MAX_ATTEMPTS, run).await
}

/// As [`repeat`], with another number of attempts.
pub(super) async fn repeat_up_to<T, F: Future<Output = Result<T>>>(
    attempts: usize,
    run: impl Fn() -> F,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        match run().await {
            Err(error) if attempt < attempts && is_conflict(&error) => attempt += 1,
            result => return result,
        }
    }
}

/// Whether the transaction lost against another one. The next delivery can succeed.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Retryable | ErrorKind::StaleVersion)
}
