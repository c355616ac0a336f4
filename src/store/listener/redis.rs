//! Messages of Redis: a cache publishes after the commit of a change.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use redis::aio::{PubSubSink, PubSubStream};
use redis::{RedisError, Value};

use super::InvalidationListener;
use super::source::{SILENCE, Source, answer, closed};
use crate::error::{Error, ErrorKind, Result};
use crate::store::publisher::RedisInvalidation;

impl InvalidationListener {
    /// Listens to the changes that [`CachedStore::publish_to`](crate::store::CachedStore::publish_to) publishes on this
    /// channel. Does not connect yet.
    pub fn redis(channel: RedisInvalidation) -> Self {
        Self::new(Redis(channel))
    }
}

struct Redis(RedisInvalidation);

#[async_trait]
impl Source for Redis {
    async fn subscribe(&self) -> Result<BoxStream<'static, Result<String>>> {
        let subscription = answer(async {
            let (mut sink, stream) = self.0.client().get_async_pubsub().await.map_err(redis_error)?.split();
            sink.subscribe(self.0.channel()).await.map_err(redis_error)?;
            Ok((sink, stream))
        });
        let messages = stream::unfold(Some(subscription.await?), |subscription| async {
            let (mut sink, mut stream) = subscription?;
            match next(&mut sink, &mut stream).await {
                Ok(message) => Some((Ok(message), Some((sink, stream)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(messages.boxed())
    }
}

/// The next message. A connection on which nothing arrives is tested.
async fn next(sink: &mut PubSubSink, stream: &mut PubSubStream) -> Result<String> {
    loop {
        match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Some(message)) => {
                return Ok(String::from_utf8_lossy(message.get_payload_bytes()).into_owned());
            }
            Ok(None) => return Err(closed()),
            Err(_) => {
                answer(async { sink.ping::<Value>().await.map_err(redis_error) }).await?;
            }
        }
    }
}

fn redis_error(error: RedisError) -> Error {
    Error::new(ErrorKind::StoreUnavailable, "the listener cannot reach Redis").with_source(error)
}
