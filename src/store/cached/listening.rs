//! The caches of an [`InvalidationListener`].

use std::sync::Arc;

use super::{CachedMembership, CachedStore};
use crate::store::listener::InvalidationListener;

impl InvalidationListener {
    /// Notifies this cache of tenants, domains and API keys.
    pub fn cache<S: Send + Sync + 'static>(self, cache: &Arc<CachedStore<S>>) -> Self {
        let cache = cache.clone();
        self.on_change(move |change| cache.invalidate(change))
    }

    /// Notifies this cache of members. The application publishes
    /// [`Invalidation::Members`](crate::store::Invalidation::Members), because it stores them.
    pub fn members(self, members: &CachedMembership) -> Self {
        let members = members.clone();
        self.on_change(move |change| members.invalidate(change))
    }
}
