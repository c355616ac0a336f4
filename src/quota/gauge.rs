//! [`Gauge`]: a counter of existing things in the caller's transaction.

use serde::Serialize;

use crate::database::{Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Entitlements, Feature, FeatureId, FeatureKind, Limit, catalog_key, wrong_kind};
use crate::scope::row::Deleted;
use crate::scope::{Backend, Run, Statement, TenantExecutor, Tx};

/// A counter of existing things, such as projects or seats, with the limit of the tenant's plan.
///
/// The count is a row per tenant and feature. [`acquire`](Self::acquire) is one conditional statement on that row, so
/// concurrent transactions, also on several machines, never exceed the limit together.
///
/// The row stays locked until the transaction ends: in a long transaction, acquire late. To avoid deadlocks, acquire
/// several gauges in the same order everywhere. A changed count is a change: under
/// [`AuditPolicy::Required`](crate::audit::AuditPolicy::Required) the transaction must record an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gauge {
    id: FeatureId,
}

catalog_key!(Gauge, Gauge);

/// The used amount and the limit of a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The used amount.
    pub used: u64,
    /// The limit of the tenant's plan.
    #[serde(rename = "limit")]
    pub limit: Limit,
}

impl Usage {
    /// The remaining amount; `None` for unlimited. It is 0 for a tenant over its limit, such as after a downgrade.
    pub fn remaining(&self) -> Option<u64> {
        self.limit.max().map(|max| max.saturating_sub(self.used))
    }
}

/// The highest count, 2^53 − 1: every database and every JSON parser represents it exactly.
const MAX_COUNT: i64 = (1 << 53) - 1;

impl Gauge {
    /// Creates the gauge of a feature that the catalog declares as `{ kind = "gauge" }`.
    pub const fn new(feature: &'static str) -> Self {
        Self { id: FeatureId::new(feature) }
    }

    /// The feature's key.
    pub const fn feature(&self) -> &'static str {
        self.id.name
    }

    /// Adds `n` to the count if the limit allows it; otherwise changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`] if the count would exceed the limit, with the numbers in
    /// [`plan_denial`](Error::plan_denial); [`ErrorKind::UnknownFeature`] if the catalog has no such gauge;
    /// [`ErrorKind::InvalidInput`] if `n` is 0 or over 2^53 − 1; [`ErrorKind::Retryable`] after a conflict with
    /// another transaction, under an isolation level that reports one.
    pub async fn acquire<DB: Backend>(&self, tx: &mut Tx<'_, DB>, n: u64) -> Result<Usage> {
        let (limit, hard) = self.rule(tx.context().entitlements())?;
        let n = checked_amount(n)?;
        let max = hard.max().map_or(MAX_COUNT, |max| i64::try_from(max).unwrap_or(MAX_COUNT).min(MAX_COUNT));
        if n > max {
            let used = self.used(&mut *tx).await?;
            return Err(tx.context().entitlements().limit_reached(self.id.name, limit, used));
        }
        // `VALUES`, because Citus cannot tell the types of parameters in a SELECT without a table.
        let statement = Statement::internal_table(
            &tx.bound_internal(),
            "INSERT INTO @tenancy_gauges AS g (tenant_id, feature, used) VALUES ($1, $2, $3) \
             ON CONFLICT (tenant_id, feature) DO UPDATE SET used = g.used + excluded.used \
             WHERE g.used + excluded.used <= $4 RETURNING used",
            &[Value::Text(self.id.name), Value::Int(n), Value::Int(max)],
        )?
        .writing();
        if let Some(used) = first_int::<DB>(&tx.fetch(statement).await?)? {
            return Ok(Usage { used, limit });
        }
        let used = self.used(&mut *tx).await?;
        Err(tx.context().entitlements().limit_reached(self.id.name, limit, used))
    }

    /// Subtracts the number of deleted rows from the count. A row that did not exist subtracts nothing.
    ///
    /// With soft deletes, release either at `delete` or at `purge`, not at both, and acquire again before a
    /// `restore`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the rows belong to another tenant than the transaction; otherwise as
    /// [`release_places`](Self::release_places).
    pub async fn release<DB: Backend>(&self, tx: &mut Tx<'_, DB>, deleted: Deleted) -> Result<Usage> {
        if deleted.tenant() != tx.context().tenant_id() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "these rows belong to another tenant than the transaction; delete and release in the same transaction",
            ));
        }
        match deleted.rows() {
            0 => self.usage(tx).await,
            rows => self.release_places(tx, rows).await,
        }
    }

    /// Subtracts `n` from the count, for deletes by SQL of your own.
    ///
    /// `n` is the number of rows that the statement deleted. For deletes by the repository use
    /// [`release`](Self::release).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the count is lower than `n`, which means that something was released twice.
    pub async fn release_places<DB: Backend>(&self, tx: &mut Tx<'_, DB>, n: u64) -> Result<Usage> {
        let (limit, _) = self.rule(tx.context().entitlements())?;
        let n = checked_amount(n)?;
        let statement = Statement::internal_table(
            &tx.bound_internal(),
            "UPDATE @tenancy_gauges SET used = used - $3 \
             WHERE tenant_id = $1 AND feature = $2 AND used >= $3 RETURNING used",
            &[Value::Text(self.id.name), Value::Int(n)],
        )?
        .writing();
        match first_int::<DB>(&tx.fetch(statement).await?)? {
            Some(used) => Ok(Usage { used, limit }),
            None => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{n} `{}` released, but fewer are in use; release exactly what was acquired",
                    self.id.name
                ),
            )),
        }
    }

    /// Reads the used amount and the limit.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog has no such gauge, [`ErrorKind::StoreUnavailable`].
    pub async fn usage<S: TenantExecutor>(&self, scope: S) -> Result<Usage> {
        let (limit, _) = self.rule(scope.context().entitlements())?;
        Ok(Usage { used: self.used(scope).await?, limit })
    }

    /// The limit of the plan, and the limit that is enforced.
    fn rule(&self, entitlements: &Entitlements) -> Result<(Limit, Limit)> {
        match entitlements.get(&self.id) {
            Some(Feature::Gauge(rule)) => Ok((rule.limit(), rule.hard_limit())),
            found => Err(wrong_kind(self.id.name, FeatureKind::Gauge, found)),
        }
    }

    async fn used<S: TenantExecutor>(&self, scope: S) -> Result<u64> {
        let statement = Statement::internal_table(
            &scope.bound_internal(),
            "SELECT used FROM @tenancy_gauges WHERE tenant_id = $1 AND feature = $2",
            &[Value::Text(self.id.name)],
        )?;
        Ok(first_int::<S::Database>(&scope.fetch(statement).await?)?.unwrap_or(0))
    }
}

fn checked_amount(n: u64) -> Result<i64> {
    match i64::try_from(n) {
        Ok(n @ 1..=MAX_COUNT) => Ok(n),
        _ => Err(Error::new(ErrorKind::InvalidInput, "the amount must be 1 to 2^53 - 1")),
    }
}

fn first_int<DB: Backend>(rows: &[DB::Row]) -> Result<Option<u64>> {
    let Some(row) = rows.first() else { return Ok(None) };
    let number = DB::int(row, 0).map_err(|e| database_error(&e))?;
    Ok(Some(u64::try_from(number).unwrap_or(0)))
}
