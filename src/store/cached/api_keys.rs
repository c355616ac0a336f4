//! API keys in a [`CachedStore`].

use std::sync::Arc;

use async_trait::async_trait;

use super::CachedStore;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::invalidation::Invalidation;
use crate::tenant::{ApiKey, ApiKeyStore, TenantId};

impl<S> CachedStore<S> {
    async fn api_key_changed(&self, id: &str) {
        self.api_keys.invalidate(&id.to_owned());
        self.publisher.publish(Invalidation::ApiKey(id.to_owned())).await;
    }
}

/// A change invalidates its key even if the store returned an error: the change may have been made.
#[async_trait]
impl<S: ApiKeyStore> ApiKeyStore for CachedStore<S> {
    async fn insert_key(&self, key: &ApiKey) -> Result<()> {
        let inserted = self.store.insert_key(key).await;
        self.api_key_changed(key.id()).await;
        inserted
    }

    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>> {
        self.api_keys.get(&id.to_owned(), self.store.key(id)).await
    }

    async fn revoke_key(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Result<Arc<ApiKey>> {
        let revoked = self.store.revoke_key(tenant, id, now).await;
        self.api_key_changed(id).await;
        revoked
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>> {
        self.store.keys(tenant).await
    }
}
