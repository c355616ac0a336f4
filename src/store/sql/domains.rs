//! [`DomainStore`] on SQL.

use async_trait::async_trait;

use super::SqlStore;
use super::query::{execute, fetch, notify, stored, text, time};
use crate::clock::Timestamp;
use crate::database::{OpenTransaction, TxMode, Value, database_error};
use crate::error::Result;
use crate::scope::Backend;
use crate::store::errors::{domain_taken, no_such_domain};
use crate::store::invalidation::Invalidation;
use crate::store::timing::Timing;
use crate::tenant::{Challenge, Domain, DomainState, DomainStore, TenantDomain, TenantId};

/// A transaction about one domain and one tenant. It holds an advisory lock on the domain, so that such transactions
/// run one after the other on all nodes.
struct DomainTx<'a, DB: Backend> {
    tx: OpenTransaction<DB>,
    tenant: &'a TenantId,
    tenant_text: String,
    domain: &'a Domain,
    now: Timestamp,
}

impl<DB: Backend> DomainTx<'_, DB> {
    /// Runs a statement whose first two binds are the domain and the tenant.
    async fn execute(&mut self, sql: &'static str, more: &[Value<'_>]) -> Result<u64> {
        let mut values = vec![Value::Text(self.domain.as_str()), Value::Text(&self.tenant_text)];
        values.extend_from_slice(more);
        execute::<DB>(self.tx.conn(), sql, &values).await
    }

    /// Returns the first row of a query whose first two binds are the domain and the tenant.
    async fn fetch(&mut self, sql: &'static str, more: &[Value<'_>]) -> Result<Option<DB::Row>> {
        let mut values = vec![Value::Text(self.domain.as_str()), Value::Text(&self.tenant_text)];
        values.extend_from_slice(more);
        Ok(fetch::<DB>(self.tx.conn(), sql, &values).await?.into_iter().next())
    }

    fn with(&self, state: DomainState) -> TenantDomain {
        TenantDomain { domain: self.domain.clone(), tenant: self.tenant.clone(), state }
    }

    /// Returns the domain if this tenant has verified it.
    async fn verified(&mut self) -> Result<Option<TenantDomain>> {
        let row = self
            .fetch(
                "SELECT verified_us FROM tenancy_domains \
                 WHERE domain = $1 AND tenant_id = $2 AND until_us IS NULL",
                &[],
            )
            .await?;
        let since = row.map(|row| time::<DB>(&row, 0)).transpose()?;
        Ok(since.map(|since| self.with(DomainState::Verified { since })))
    }

    /// Fails if the domain belongs to another tenant or is reserved for one.
    async fn check_free(&mut self) -> Result<()> {
        let now = Value::Int(self.now.micros());
        let owner = self
            .fetch(
                "SELECT 1 FROM tenancy_domains WHERE domain = $1 AND tenant_id <> $2 \
                 AND (until_us IS NULL OR until_us > $3)",
                &[now],
            )
            .await?;
        if owner.is_some() { Err(domain_taken()) } else { Ok(()) }
    }

    /// Returns the tenant's claim and when it expires, unless it has expired.
    async fn pending(&mut self) -> Result<Option<(Challenge, Timestamp)>> {
        let now = Value::Int(self.now.micros());
        let row = self
            .fetch(
                "SELECT token, expires_us FROM tenancy_domain_claims \
                 WHERE domain = $1 AND tenant_id = $2 AND expires_us > $3",
                &[now],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let challenge = Challenge::from_stored(self.domain.clone(), text::<DB>(&row, 0)?);
        Ok(Some((challenge, time::<DB>(&row, 1)?)))
    }

    async fn claim(&mut self) -> Result<TenantDomain> {
        if let Some(verified) = self.verified().await? {
            return Ok(verified);
        }
        self.check_free().await?;
        if let Some((challenge, expires)) = self.pending().await? {
            return Ok(self.with(DomainState::Pending { challenge, expires }));
        }
        let delete_expired = "DELETE FROM tenancy_domain_claims WHERE tenant_id = $1 AND expires_us <= $2";
        let values = [Value::Text(&self.tenant_text), Value::Int(self.now.micros())];
        execute::<DB>(self.tx.conn(), delete_expired, &values).await?;
        let (challenge, expires) =
            (Challenge::random(self.domain.clone()), self.now.after(Timing::CLAIM_TTL));
        self.execute(
            "INSERT INTO tenancy_domain_claims (domain, tenant_id, token, expires_us) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (domain, tenant_id) DO UPDATE SET token = excluded.token, expires_us = excluded.expires_us",
            &[Value::Text(challenge.token()), Value::Int(expires.micros())],
        )
        .await?;
        Ok(self.with(DomainState::Pending { challenge, expires }))
    }

    async fn verify(&mut self, seen: &[String]) -> Result<TenantDomain> {
        if let Some(verified) = self.verified().await? {
            return Ok(verified);
        }
        let (challenge, expires) = self.pending().await?.ok_or_else(no_such_domain)?;
        self.check_free().await?;
        if !challenge.is_met_by(seen) {
            return Ok(self.with(DomainState::Pending { challenge, expires }));
        }
        let now = self.now;
        let written = self
            .execute(
                "INSERT INTO tenancy_domains (domain, tenant_id, verified_us) VALUES ($1, $2, $3) \
                 ON CONFLICT (domain) DO UPDATE \
                 SET tenant_id = excluded.tenant_id, verified_us = excluded.verified_us, until_us = NULL \
                 WHERE tenancy_domains.tenant_id = excluded.tenant_id OR tenancy_domains.until_us <= $3",
                &[Value::Int(now.micros())],
            )
            .await?;
        if written == 0 {
            return Err(domain_taken());
        }
        self.delete_claims().await?;
        self.notify().await?;
        Ok(self.with(DomainState::Verified { since: now }))
    }

    async fn remove(&mut self, timing: &Timing) -> Result<()> {
        let until = self.now.after(timing.domain_cooldown);
        let removed = self
            .execute(
                "UPDATE tenancy_domains SET until_us = $3 WHERE domain = $1 AND tenant_id = $2 AND until_us IS NULL",
                &[Value::Int(until.micros())],
            )
            .await?;
        if removed == 1 {
            self.notify().await?;
            return self.delete_claims().await;
        }
        let now = Value::Int(self.now.micros());
        let claims = self
            .execute(
                "DELETE FROM tenancy_domain_claims WHERE domain = $1 AND tenant_id = $2 AND expires_us > $3",
                &[now],
            )
            .await?;
        if claims == 1 { Ok(()) } else { Err(no_such_domain()) }
    }

    /// Deletes all tenants' claims to the domain.
    async fn delete_claims(&mut self) -> Result<()> {
        let sql = "DELETE FROM tenancy_domain_claims WHERE domain = $1";
        execute::<DB>(self.tx.conn(), sql, &[Value::Text(self.domain.as_str())]).await.map(|_| ())
    }

    /// Notifies the caches of other processes that the domain has another owner, or none.
    async fn notify(&mut self) -> Result<()> {
        notify::<DB>(self.tx.conn(), &Invalidation::Domain(self.domain.as_str().to_owned())).await
    }

    async fn commit(self) -> Result<()> {
        self.tx.commit().await
    }
}

impl<DB: Backend> SqlStore<DB> {
    async fn domain_tx<'a>(&self, tenant: &'a TenantId, domain: &'a Domain) -> Result<DomainTx<'a, DB>> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        DB::advisory_lock(tx.conn(), &format!("tenancy.domain:{domain}"))
            .await
            .map_err(|e| database_error(&e))?;
        Ok(DomainTx { tx, tenant, tenant_text: tenant.to_string(), domain, now: self.timing.now() })
    }
}

#[async_trait]
impl<DB: Backend> DomainStore for SqlStore<DB> {
    async fn claim_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<TenantDomain> {
        let mut tx = self.domain_tx(tenant, domain).await?;
        let claimed = tx.claim().await?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn verify_domain(
        &self,
        tenant: &TenantId,
        domain: &Domain,
        seen: &[String],
    ) -> Result<TenantDomain> {
        let mut tx = self.domain_tx(tenant, domain).await?;
        let verified = tx.verify(seen).await?;
        tx.commit().await?;
        Ok(verified)
    }

    async fn remove_domain(&self, tenant: &TenantId, domain: &Domain) -> Result<()> {
        let mut tx = self.domain_tx(tenant, domain).await?;
        tx.remove(&self.timing).await?;
        tx.commit().await
    }

    async fn domains(&self, tenant: &TenantId) -> Result<Vec<TenantDomain>> {
        let mut reader = self.reader().await?;
        let rows = fetch::<DB>(
            reader.conn(),
            "SELECT domain, verified_us AS at_us, NULL AS token FROM tenancy_domains \
             WHERE tenant_id = $1 AND until_us IS NULL \
             UNION ALL SELECT domain, expires_us, token FROM tenancy_domain_claims \
             WHERE tenant_id = $1 AND expires_us > $2 ORDER BY 1",
            &[Value::Text(&tenant.to_string()), Value::Int(self.timing.now().micros())],
        )
        .await?;
        let read = |row: &DB::Row| {
            let domain = stored(Domain::parse(&text::<DB>(row, 0)?))?;
            let at = time::<DB>(row, 1)?;
            let state = match DB::text(row, 2).map_err(|e| database_error(&e))? {
                None => DomainState::Verified { since: at },
                Some(token) => {
                    let challenge = Challenge::from_stored(domain.clone(), token);
                    DomainState::Pending { challenge, expires: at }
                }
            };
            Ok(TenantDomain { domain, tenant: tenant.clone(), state })
        };
        rows.iter().map(read).collect()
    }

    async fn by_domain(&self, domain: &Domain) -> Result<Option<TenantId>> {
        let mut reader = self.reader().await?;
        let rows = fetch::<DB>(
            reader.conn(),
            "SELECT tenant_id FROM tenancy_domains WHERE domain = $1 AND until_us IS NULL",
            &[Value::Text(domain.as_str())],
        )
        .await?;
        rows.first().map(|row| stored(TenantId::parse(&text::<DB>(row, 0)?))).transpose()
    }
}
