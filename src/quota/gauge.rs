//! [`Gauge`]: a counter of existing things in the caller's transaction.

use serde::Serialize;

use super::amount::checked_amount;
use crate::database::{Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{
    Entitlements, Feature, FeatureId, FeatureKind, Limit, MAX_NUMBER, Rule, catalog_key, wrong_kind,
};
use crate::scope::row::{Deleted, Restored};
use crate::scope::{Backend, Run, Statement, TenantExecutor, Tx};
use crate::tenant::TenantId;

/// A counter of existing things, such as projects or seats, with the limit of the tenant's plan.
///
/// The count is a row per tenant and feature. [`acquire`](Self::acquire) is one conditional statement on that row, so
/// concurrent transactions, also on several machines, never exceed the limit together.
///
/// The row stays locked until the transaction ends: in a long transaction, acquire late. To avoid deadlocks, acquire
/// several gauges in the same order everywhere. A changed count is a change: under
/// [`AuditPolicy::Required`](crate::audit::AuditPolicy::Required) the transaction must record an event.
///
/// A gauge counts in one of two ways, and all code of a gauge uses the same one:
///
/// | | by number | by id |
/// |---|---|---|
/// | create | [`acquire`](Self::acquire) | [`acquire_for`](Self::acquire_for): the same id twice counts once |
/// | delete | [`release`](Self::release), [`release_places`](Self::release_places) | [`release_for`](Self::release_for) |
/// | restore after a soft deletion | [`acquire_restored`](Self::acquire_restored) | [`acquire_for`](Self::acquire_for) |
/// | move to another tenant | [`transfer_in`](Self::transfer_in), [`transfer_out`](Self::transfer_out) | [`transfer_in_for`](Self::transfer_in_for), [`transfer_out`](Self::transfer_out) |
/// | compare with the rows | [`reconcile`](Self::reconcile) | [`reconcile_for`](Self::reconcile_for) |
/// | set to what exists | [`recount`](Self::recount) | [`recount_for`](Self::recount_for) |
///
/// [`GaugeRecount`](super::GaugeRecount) does the last two for all tenants.
///
/// A gauge that counts by id rejects a release by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gauge {
    id: FeatureId,
}

catalog_key!(Gauge, Gauge);

/// The used amount and the limit of a gauge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The used amount.
    pub used: u64,
    /// The limit of the tenant's plan.
    pub limit: Limit,
    /// The warning levels of the plan that this call reached, in percent of the limit, ascending. It is empty for a call
    /// that does not raise the count.
    ///
    /// The row of the gauge is locked until the transaction ends, so of all transactions that commit, one reaches each
    /// level, until the count falls below the level again. Notify people after the commit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reached: Vec<u16>,
}

impl Usage {
    /// The remaining amount; `None` for unlimited. It is 0 for a tenant over its limit, such as after a downgrade.
    pub fn remaining(&self) -> Option<u64> {
        self.limit.max().map(|max| max.saturating_sub(self.used))
    }

    /// By how much the used amount is over the limit: after a downgrade, after a recount, or because the plan allows
    /// overage. It is 0 within the limit and for unlimited.
    pub fn over_by(&self) -> u64 {
        self.limit.max().map_or(0, |max| self.used.saturating_sub(max))
    }

    /// The usage after a call that did not raise the count.
    pub(super) fn unraised(rule: &Rule, used: u64) -> Self {
        Self::changed(rule, used, used)
    }

    /// The usage after a call that changed the count from `old` to `used`.
    pub(super) fn changed(rule: &Rule, old: u64, used: u64) -> Self {
        Self { used, limit: rule.limit(), reached: rule.crossed(old, used) }
    }
}

/// The highest count, 2^53 − 1: every database and every JSON parser represents it exactly.
pub(super) const MAX_COUNT: i64 = MAX_NUMBER.cast_signed();

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
    /// [`Usage::reached`] has the warning levels of the plan that this reached. If the plan allows overage, the count can
    /// rise above the limit: [`Usage::over_by`].
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`] if the count would exceed the limit, with the numbers in
    /// [`plan_denial`](Error::plan_denial); [`ErrorKind::UnknownFeature`] if the catalog has no such gauge;
    /// [`ErrorKind::InvalidInput`] if `n` is 0 or over 2^53 − 1; [`ErrorKind::Retryable`] after a conflict with
    /// another transaction, under an isolation level that reports one.
    pub async fn acquire<DB: Backend>(&self, tx: &mut Tx<'_, DB>, n: u64) -> Result<Usage> {
        let rule = self.rule_in(tx)?;
        let (added, n) = (n, checked_amount(n)?.cast_signed());
        let max = rule
            .hard_limit()
            .max()
            .map_or(MAX_COUNT, |max| i64::try_from(max).unwrap_or(MAX_COUNT).min(MAX_COUNT));
        if n > max {
            let used = self.used(&mut *tx).await?;
            return Err(tx.context().entitlements().limit_reached(self.id.name, rule.limit(), used));
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
            return Ok(Usage::changed(rule, used.saturating_sub(added), used));
        }
        let used = self.used(&mut *tx).await?;
        Err(tx.context().entitlements().limit_reached(self.id.name, rule.limit(), used))
    }

    /// Subtracts the number of deleted rows from the count. A row that did not exist subtracts nothing.
    ///
    /// With soft deletes, release either at `delete` or at `purge`, not at both. After a release at `delete`, count
    /// restored rows with [`acquire_restored`](Self::acquire_restored).
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the rows belong to another tenant than the transaction; otherwise as
    /// [`release_places`](Self::release_places).
    pub async fn release<DB: Backend>(&self, tx: &mut Tx<'_, DB>, deleted: Deleted) -> Result<Usage> {
        check_tenant(tx, deleted.tenant())?;
        match deleted.rows() {
            0 => self.usage(tx).await,
            rows => self.release_places(tx, rows).await,
        }
    }

    /// Counts restored rows again, if the limit allows it. A row that was not marked as deleted adds nothing.
    ///
    /// Use it where the gauge was released at `delete`. Restore and acquire in the same transaction, and do not commit it
    /// after an error: the rows would be restored and not counted.
    ///
    /// ```
    /// # use tenancy::TenantScoped;
    /// # #[derive(TenantScoped, sqlx::FromRow)]
    /// # #[tenant(table = "projects")]
    /// # struct Project { #[tenant(id)] id: i64, #[tenant(soft_delete)] deleted_at: Option<Seconds> }
    /// # #[derive(sqlx::Type)] #[sqlx(transparent)] struct Seconds(i64);
    /// # impl From<std::time::SystemTime> for Seconds { fn from(_: std::time::SystemTime) -> Self { Self(0) } }
    /// use tenancy::quota::Gauge;
    /// use tenancy::{TenantContext, TenantDb};
    ///
    /// const PROJECTS: Gauge = Gauge::new("projects");
    ///
    /// async fn restore(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<()> {
    ///     let mut tx = db.begin(ctx).await?;
    ///     let restored = Project::restore(&mut tx, id).await?;
    ///     PROJECTS.acquire_restored(&mut tx, restored).await?;
    ///     tx.commit().await
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the rows belong to another tenant than the transaction; otherwise as
    /// [`acquire`](Self::acquire).
    pub async fn acquire_restored<DB: Backend>(
        &self,
        tx: &mut Tx<'_, DB>,
        restored: Restored,
    ) -> Result<Usage> {
        check_tenant(tx, restored.tenant())?;
        match restored.rows() {
            0 => self.usage(tx).await,
            rows => self.acquire(tx, rows).await,
        }
    }

    /// Subtracts `n` from the count, for deletes by SQL of your own.
    ///
    /// `n` is the number of rows that the statement deleted. For deletes by the repository use
    /// [`release`](Self::release).
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the count is lower than `n`: rows were never counted, or something was released
    /// twice. Nothing changes, and [`recount`](Self::recount) fixes the count. Also if the gauge counts by id, so that
    /// [`release_for`](Self::release_for) has to release. [`ErrorKind::InvalidInput`] if `n` is 0 or over 2^53 − 1.
    pub async fn release_places<DB: Backend>(&self, tx: &mut Tx<'_, DB>, n: u64) -> Result<Usage> {
        let rule = self.rule_in(tx)?;
        let n = checked_amount(n)?.cast_signed();
        // What is counted by id is released by id only: otherwise the id would stay, and not count when it comes back.
        let statement = Statement::internal_table(
            &tx.bound_internal(),
            "UPDATE @tenancy_gauges SET used = used - $3 WHERE tenant_id = $1 AND feature = $2 AND used - $3 >= \
             (SELECT count(*) FROM @tenancy_gauge_resources WHERE tenant_id = $1 AND feature = $2) RETURNING used",
            &[Value::Text(self.id.name), Value::Int(n)],
        )?
        .writing();
        if let Some(used) = first_int::<DB>(&tx.fetch(statement).await?)? {
            return Ok(Usage::unraised(rule, used));
        }
        let used = self.used(&mut *tx).await?;
        Err(self.not_released(n, used))
    }

    /// The error of a release of more than is counted.
    pub(super) fn not_released(&self, n: i64, used: u64) -> Error {
        let name = self.id.name;
        let text = if used >= n.unsigned_abs() {
            format!("`{name}` counts by id; release with `Gauge::release_for`")
        } else {
            format!(
                "{n} `{name}` released, but the gauge counts {used}: rows were never acquired, or released twice; \
                 count the rows of the tenant and call `Gauge::recount`"
            )
        };
        Error::new(ErrorKind::Misconfigured, text)
    }

    /// Reads the used amount and the limit.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog has no such gauge, [`ErrorKind::StoreUnavailable`].
    pub async fn usage<S: TenantExecutor>(&self, scope: S) -> Result<Usage> {
        // The rule must exist before the store is queried, and a context is not borrowed longer than that.
        let rule = self.rule(scope.context().entitlements())?.clone();
        Ok(Usage::unraised(&rule, self.used(scope).await?))
    }

    /// Locks the count until the transaction ends, and returns the usage: others that change the gauge wait.
    ///
    /// Call it before you count rows for [`recount`](Self::recount) or [`reconcile`](Self::reconcile). A lock is no
    /// change, so it needs no audit event.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog has no such gauge; otherwise as any write.
    pub async fn lock<DB: Backend>(&self, tx: &mut Tx<'_, DB>) -> Result<Usage> {
        let rule = self.rule_in(tx)?;
        Ok(Usage::unraised(rule, self.locked(tx).await?))
    }

    /// Locks the row of the gauge, which it creates if there is none, and returns the count.
    pub(super) async fn locked<DB: Backend>(&self, tx: &mut Tx<'_, DB>) -> Result<u64> {
        let statement = Statement::internal_table(
            &tx.bound_internal(),
            "INSERT INTO @tenancy_gauges AS g (tenant_id, feature, used) VALUES ($1, $2, 0) \
             ON CONFLICT (tenant_id, feature) DO UPDATE SET used = g.used RETURNING used",
            &[Value::Text(self.id.name)],
        )?
        .locking();
        Ok(first_int::<DB>(&tx.fetch(statement).await?)?.unwrap_or(0))
    }

    /// The rule of the plan of the transaction's tenant.
    pub(super) fn rule_in<'a, DB: Backend>(&self, tx: &Tx<'a, DB>) -> Result<&'a Rule> {
        self.rule(tx.context().entitlements())
    }

    /// The rule of the tenant's plan.
    pub(super) fn rule<'e>(&self, entitlements: &'e Entitlements) -> Result<&'e Rule> {
        match entitlements.get(&self.id) {
            Some(Feature::Gauge(rule)) => Ok(rule),
            found => Err(wrong_kind(self.id.name, FeatureKind::Gauge, found)),
        }
    }

    pub(super) async fn used<S: TenantExecutor>(&self, scope: S) -> Result<u64> {
        let statement = Statement::internal_table(
            &scope.bound_internal(),
            "SELECT used FROM @tenancy_gauges WHERE tenant_id = $1 AND feature = $2",
            &[Value::Text(self.id.name)],
        )?;
        Ok(first_int::<S::Database>(&scope.fetch(statement).await?)?.unwrap_or(0))
    }
}

fn check_tenant<DB: Backend>(tx: &Tx<'_, DB>, rows_of: &TenantId) -> Result<()> {
    if rows_of == tx.context().tenant_id() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Misconfigured,
        "these rows belong to another tenant than the transaction; change the rows and the gauge in the same transaction",
    ))
}

pub(super) fn first_int<DB: Backend>(rows: &[DB::Row]) -> Result<Option<u64>> {
    let Some(row) = rows.first() else { return Ok(None) };
    let number = DB::int(row, 0).map_err(|e| database_error(&e))?;
    Ok(Some(u64::try_from(number).unwrap_or(0)))
}
