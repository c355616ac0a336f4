//! [`ApiKeyStore`] in memory.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;

use super::{MemoryStore, poisoned};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::errors::{key_exists, no_such_key};
use crate::tenant::{ApiKey, ApiKeyStore, TenantId};

#[async_trait]
impl ApiKeyStore for MemoryStore {
    async fn insert_key(&self, key: &ApiKey) -> Result<()> {
        match self.api_keys.write().map_err(poisoned)?.entry(key.id().to_owned()) {
            Entry::Occupied(_) => Err(key_exists()),
            Entry::Vacant(entry) => {
                entry.insert(Arc::new(key.clone()));
                Ok(())
            }
        }
    }

    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>> {
        Ok(self.api_keys.read().map_err(poisoned)?.get(id).cloned())
    }

    async fn revoke_key(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Result<Arc<ApiKey>> {
        let mut rows = self.api_keys.write().map_err(poisoned)?;
        let key = rows.get_mut(id).filter(|key| key.tenant() == tenant).ok_or_else(no_such_key)?;
        *key = Arc::new(key.revoked_at(now));
        Ok(key.clone())
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>> {
        let rows = self.api_keys.read().map_err(poisoned)?;
        Ok(rows.values().filter(|key| key.tenant() == tenant).cloned().collect())
    }
}
