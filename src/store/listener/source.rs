//! [`Source`]: where a listener gets its messages from.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::error::{Error, ErrorKind, Result};

/// After how much silence the connection is tested.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// How long a server may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A server that sends messages.
#[async_trait]
pub(super) trait Source: Send + Sync {
    /// Connects. The stream ends, or yields an error as its last item, when the connection is lost. It has every message
    /// that was sent after this function returned.
    async fn subscribe(&self) -> Result<BoxStream<'static, Result<String>>>;
}

/// Waits for an answer of the server.
pub(super) async fn answer<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::StoreUnavailable,
            "the server does not answer on the listener's connection",
        ))
    })
}

/// The server closed the connection.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::StoreUnavailable, "the server closed the listener's connection")
}
