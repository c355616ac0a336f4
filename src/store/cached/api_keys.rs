//! API keys in a [`CachedStore`].

use std::sync::Arc;

use async_trait::async_trait;

use super::CachedStore;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::tenant::{ApiKey, ApiKeyStore, TenantId};

/// A change evicts its key even if the store returned an error: the change may have been made.
#[async_trait]
impl<S: ApiKeyStore> ApiKeyStore for CachedStore<S> {
    async fn insert_key(&self, key: &ApiKey) -> Result<()> {
        let inserted = self.store.insert_key(key).await;
        self.api_keys.evict(&key.id().to_owned()).await;
        inserted
    }

    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>> {
        self.api_keys.get(&id.to_owned(), self.store.key(id)).await
    }

    async fn revoke_key(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Result<Arc<ApiKey>> {
        let revoked = self.store.revoke_key(tenant, id, now).await;
        self.api_keys.evict(&id.to_owned()).await;
        revoked
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>> {
        self.store.keys(tenant).await
    }
}
