//! Limits that hold under concurrency: a [`Gauge`] counts what a tenant has, in the caller's own transaction.
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use tenancy::quota::Gauge;
//! use tenancy::scope::TenantDb;
//! use tenancy::TenantContext;
//!
//! const PROJECTS: Gauge = Gauge::new("projects");
//!
//! async fn create_project(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext) -> tenancy::Result<()> {
//!     let mut tx = db.begin(ctx).await?;
//!     PROJECTS.acquire(&mut tx, 1).await?; // fails with `LimitReached` when the plan is used up
//!     // .. insert the project ..
//!     tx.commit().await // the place and the project are there together, or neither is
//! }
//!
//! # use tenancy::TenantScoped;
//! # #[derive(TenantScoped, sqlx::FromRow)]
//! # #[tenant(table = "projects")]
//! # struct Project { #[tenant(id)] id: i64 }
//! async fn delete_project(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<()> {
//!     let mut tx = db.begin(ctx).await?;
//!     let deleted = Project::delete(&mut tx, id).await?;
//!     PROJECTS.release(&mut tx, deleted).await?; // nothing, if there was no such project
//!     tx.commit().await
//! }
//! # }
//! ```

use serde::Serialize;

use crate::database::{Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Limit;
use crate::scope::row::Deleted;
use crate::scope::{Backend, Run, Statement, TenantExecutor, Tx};

/// A count of things that exist now, kept within what the tenant's plan allows.
///
/// The count is a row per tenant and feature. Taking a place is one conditional statement on that row, so any
/// number of transactions on any number of machines never exceed the limit together; the row stays locked until
/// the transaction ends, so take the place late in a long one. It is a change: under
/// [`AuditPolicy::Required`](crate::audit::AuditPolicy::Required) the transaction records an event. Where one transaction takes several gauges, take
/// them in the same order everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gauge {
    feature: &'static str,
}

/// How much of a gauge is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// How much is used.
    pub used: u64,
    /// How much the plan allows.
    #[serde(rename = "limit")]
    pub limit: Limit,
}

impl Usage {
    /// How much is left; `None` for unlimited. A tenant that is over its limit, after a downgrade, has 0 left.
    pub fn remaining(&self) -> Option<u64> {
        self.limit.max().map(|most| most.saturating_sub(self.used))
    }
}

/// The most that a gauge counts: what every database and every JSON reader keeps exactly.
const MOST: i64 = (1 << 53) - 1;

impl Gauge {
    /// The gauge of a feature that the catalog declares as `{ kind = "gauge" }`.
    pub const fn new(feature: &'static str) -> Self {
        Self { feature }
    }

    /// The feature's key.
    pub const fn feature(&self) -> &'static str {
        self.feature
    }

    /// Takes `n` places, or fails and takes none.
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`] if they do not fit, with the numbers in
    /// [`plan_denial`](Error::plan_denial); [`ErrorKind::UnknownFeature`] if the catalog has no such gauge;
    /// [`ErrorKind::InvalidInput`] if `n` is 0 or over 2^53 − 1; [`ErrorKind::Retryable`] if the transaction's
    /// isolation level makes it lose.
    pub async fn acquire<DB: Backend>(&self, tx: &mut Tx<'_, DB>, n: u64) -> Result<Usage> {
        let limit = tx.context().entitlements().limit(self.feature)?;
        let n = places(n)?;
        let most = limit.max().map_or(MOST, |most| i64::try_from(most).unwrap_or(MOST).min(MOST));
        let statement = Statement::internal_table(
            tx.context(),
            "INSERT INTO tenancy_gauges (tenant_id, feature, used) SELECT $1, $2, $3 WHERE $3 <= $4 \
             ON CONFLICT (tenant_id, feature) DO UPDATE SET used = tenancy_gauges.used + excluded.used \
             WHERE tenancy_gauges.used + excluded.used <= $4 RETURNING used",
            &[Value::Text(self.feature), Value::Int(n), Value::Int(most)],
        )?
        .writing();
        if let Some(used) = number::<DB>(&tx.fetch(statement).await?)? {
            return Ok(Usage { used, limit });
        }
        let used = self.used(&mut *tx).await?;
        Err(tx.context().entitlements().limit_reached(self.feature, limit, used))
    }

    /// Gives back a place for each row that was deleted: none for a row that was not there.
    ///
    /// Of rows that are marked before they are removed, give back at `delete` or at `purge`, not at both, and take anew
    /// before a `restore`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the rows were another tenant's than the transaction; otherwise as
    /// [`release_places`](Self::release_places).
    pub async fn release<DB: Backend>(&self, tx: &mut Tx<'_, DB>, deleted: Deleted) -> Result<Usage> {
        if deleted.tenant() != tx.context().tenant_id() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "these rows were deleted for another tenant than the transaction; delete them in the same transaction",
            ));
        }
        match deleted.rows() {
            0 => self.usage(tx).await,
            rows => self.release_places(tx, rows).await,
        }
    }

    /// Gives back `n` places, for what is not deleted by the repository.
    ///
    /// Count what was really removed: for SQL of your own, the number of rows that the statement changed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if fewer are in use, which means that something was given back twice.
    pub async fn release_places<DB: Backend>(&self, tx: &mut Tx<'_, DB>, n: u64) -> Result<Usage> {
        let limit = tx.context().entitlements().limit(self.feature)?;
        let n = places(n)?;
        let statement = Statement::internal_table(
            tx.context(),
            "UPDATE tenancy_gauges SET used = used - $3 \
             WHERE tenant_id = $1 AND feature = $2 AND used >= $3 RETURNING used",
            &[Value::Text(self.feature), Value::Int(n)],
        )?
        .writing();
        match number::<DB>(&tx.fetch(statement).await?)? {
            Some(used) => Ok(Usage { used, limit }),
            None => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{n} `{}` given back, but fewer are in use; give back exactly what was taken",
                    self.feature
                ),
            )),
        }
    }

    /// How much is used now.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog has no such gauge, [`ErrorKind::StoreUnavailable`].
    pub async fn usage<S: TenantExecutor>(&self, scope: S) -> Result<Usage> {
        let limit = scope.context().entitlements().limit(self.feature)?;
        Ok(Usage { used: self.used(scope).await?, limit })
    }

    async fn used<S: TenantExecutor>(&self, scope: S) -> Result<u64> {
        let statement = Statement::internal_table(
            scope.context(),
            "SELECT used FROM tenancy_gauges WHERE tenant_id = $1 AND feature = $2",
            &[Value::Text(self.feature)],
        )?;
        Ok(number::<S::Database>(&scope.fetch(statement).await?)?.unwrap_or(0))
    }
}

fn places(n: u64) -> Result<i64> {
    match i64::try_from(n) {
        Ok(n @ 1..=MOST) => Ok(n),
        _ => Err(Error::new(ErrorKind::InvalidInput, "take or give back 1 to 2^53 - 1 places")),
    }
}

fn number<DB: Backend>(rows: &[DB::Row]) -> Result<Option<u64>> {
    let Some(row) = rows.first() else { return Ok(None) };
    let number = DB::int(row, 0).map_err(|e| database_error(&e))?;
    Ok(Some(u64::try_from(number).unwrap_or(0)))
}
