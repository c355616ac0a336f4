//! [`ApiKeyStore`] on SQL.

use std::sync::Arc;

use async_trait::async_trait;

use super::SqlStore;
use super::query::{execute, fetch, notify, stored, text, time};
use crate::clock::Timestamp;
use crate::database::{TxMode, Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::store::errors::{key_exists, no_such_key};
use crate::store::invalidation::Invalidation;
use crate::tenant::{ApiKey, ApiKeyParts, ApiKeyStore, TenantId};

#[async_trait]
impl<DB: Backend> ApiKeyStore for SqlStore<DB> {
    async fn insert_key(&self, key: &ApiKey) -> Result<()> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        execute::<DB>(
            tx.conn(),
            "INSERT INTO tenancy_api_keys (id, tenant_id, name, hash, created_us, expires_us, revoked_us) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                Value::Text(key.id()),
                Value::Text(&key.tenant().to_string()),
                Value::Text(key.name()),
                Value::Bytes(key.hash()),
                Value::Int(key.created().micros()),
                Value::OptionalInt(key.expires().map(Timestamp::micros)),
                Value::OptionalInt(key.revoked().map(Timestamp::micros)),
            ],
        )
        .await
        .map_err(|error| if error.kind() == ErrorKind::Conflict { key_exists() } else { error })?;
        notify::<DB>(tx.conn(), &Invalidation::ApiKey(key.id().to_owned())).await?;
        tx.commit().await
    }

    async fn key(&self, id: &str) -> Result<Option<Arc<ApiKey>>> {
        let mut reader = self.reader().await?;
        let rows = fetch::<DB>(
            reader.conn(),
            "SELECT id, tenant_id, name, hash, created_us, expires_us, revoked_us FROM tenancy_api_keys \
             WHERE id = $1",
            &[Value::Text(id)],
        )
        .await?;
        rows.first().map(read_key::<DB>).transpose()
    }

    async fn revoke_key(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Result<Arc<ApiKey>> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let rows = fetch::<DB>(
            tx.conn(),
            "UPDATE tenancy_api_keys SET revoked_us = coalesce(revoked_us, $3) WHERE id = $1 AND tenant_id = $2 \
             RETURNING id, tenant_id, name, hash, created_us, expires_us, revoked_us",
            &[Value::Text(id), Value::Text(&tenant.to_string()), Value::Int(now.micros())],
        )
        .await?;
        let revoked = rows.first().map(read_key::<DB>).transpose()?.ok_or_else(no_such_key)?;
        notify::<DB>(tx.conn(), &Invalidation::ApiKey(id.to_owned())).await?;
        tx.commit().await?;
        Ok(revoked)
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<Arc<ApiKey>>> {
        let mut reader = self.reader().await?;
        let rows = fetch::<DB>(
            reader.conn(),
            "SELECT id, tenant_id, name, hash, created_us, expires_us, revoked_us FROM tenancy_api_keys \
             WHERE tenant_id = $1 ORDER BY id",
            &[Value::Text(&tenant.to_string())],
        )
        .await?;
        rows.iter().map(read_key::<DB>).collect()
    }
}

fn read_key<DB: Backend>(row: &DB::Row) -> Result<Arc<ApiKey>> {
    let optional = |column| {
        let time = DB::optional_int(row, column).map_err(|e| database_error(&e))?;
        Ok::<_, Error>(time.map(Timestamp::from_micros))
    };
    let hash = DB::bytes(row, 3).map_err(|e| database_error(&e))?;
    Ok(Arc::new(ApiKey::from_stored(ApiKeyParts {
        id: text::<DB>(row, 0)?,
        tenant: stored(TenantId::parse(&text::<DB>(row, 1)?))?,
        name: text::<DB>(row, 2)?,
        hash: hash
            .try_into()
            .map_err(|_| Error::new(ErrorKind::Database, "the stored hash of an API key is malformed"))?,
        created: time::<DB>(row, 4)?,
        expires: optional(5)?,
        revoked: optional(6)?,
    })))
}
