//! The publisher of `publisher.rs` without the feature `redis`: nothing is published.

use super::invalidation::Invalidation;

#[derive(Default)]
pub(super) struct Publisher(());

impl Publisher {
    #[expect(clippy::unused_async, reason = "as with the feature")]
    pub(super) async fn publish(&self, _: Invalidation) {}
}
