use async_stream::stream;
use futures_util::stream::{BoxStream, Stream, StreamExt};

use super::Revalidator;
use crate::error::Result;

impl Revalidator {
    /// The stream's items, each handed out only after a [`check`](Self::check): the first that fails ends the stream
    /// with its error.
    ///
    /// An item that has come is not handed out if the check says no. A stream that stands still is not looked at: for
    /// server-sent events, put the heartbeats into the stream that is guarded, not around it (axum's `keep_alive` is
    /// around it). Of a stream of results, `.map(Result::flatten)` makes one again.
    ///
    /// ```
    /// use futures_util::stream::{Stream, StreamExt};
    /// use tenancy::context::Revalidator;
    ///
    /// fn body(
    ///     recheck: Revalidator,
    ///     events: impl Stream<Item = String> + Send + 'static,
    ///     heartbeats: impl Stream<Item = String> + Send + 'static,
    /// ) -> axum::body::Body {
    ///     axum::body::Body::from_stream(recheck.guard_stream(futures_util::stream::select(events, heartbeats)))
    /// }
    /// ```
    pub fn guard_stream<'s, S>(mut self, items: S) -> BoxStream<'s, Result<S::Item>>
    where
        S: Stream + Send + 's,
        S::Item: Send,
    {
        Box::pin(stream! {
            let mut items = std::pin::pin!(items);
            while let Some(item) = items.next().await {
                if let Err(error) = self.check().await {
                    yield Err(error);
                    return;
                }
                yield Ok(item);
            }
        })
    }
}
