//! [`Revalidator::guard_stream`]: a tenant check before each item of a stream (feature `streaming`).

use async_stream::stream;
use futures_util::stream::{BoxStream, Stream, StreamExt};

use super::Revalidator;
use crate::error::Result;

impl Revalidator {
    /// Yields the items of a stream, with a [`check`](Self::check) before each item. The first failed check ends the
    /// stream with its error, and its item is dropped.
    ///
    /// There is no timer: a stream without items is not checked. For server-sent events, put the heartbeats into the
    /// guarded stream, not around it; axum's `keep_alive` is around it. If the items are results,
    /// `.map(Result::flatten)` makes a stream of plain results again.
    ///
    /// ```
    /// use futures_util::stream::{Stream, StreamExt};
    /// use tenancy::context::Revalidator;
    ///
    /// fn body(
    ///     revalidator: Revalidator,
    ///     events: impl Stream<Item = String> + Send + 'static,
    ///     heartbeats: impl Stream<Item = String> + Send + 'static,
    /// ) -> axum::body::Body {
    ///     axum::body::Body::from_stream(revalidator.guard_stream(futures_util::stream::select(events, heartbeats)))
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
