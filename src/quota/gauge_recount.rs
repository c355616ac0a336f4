//! [`GaugeRecount`]: compares a gauge with what exists of one tenant after another, whatever their status.

use std::fmt;
use std::sync::Arc;

use super::gauge::Gauge;
use super::gauge_drift::GaugeDrift;
use crate::context::{Actor, TenantContext, TenantDirectory};
use crate::database::TxMode;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::{Backend, TenantDb, Tx};
use crate::tenant::Tenant;

/// What exists of a tenant, as the caller counted it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Existing {
    /// The number of rows, for a gauge that counts by number.
    Number(u64),
    /// The ids of the rows, for a gauge that counts by id. An id that is there twice counts once.
    Ids(Vec<String>),
}

/// Compares a gauge with what exists of one tenant after another, and recounts it where you ask for that.
///
/// It is for a job or a migration over all tenants: it works for a tenant of every status, because the gauge of a
/// suspended tenant has to be right when the tenant is opened again. The [limits](crate::plan::DatabaseLimits) of the
/// tenants' plans do not apply. `tenancy recount` does the same from the command line.
///
/// ```
/// use tenancy::context::{Actor, TenantDirectory};
/// use tenancy::quota::{Existing, Gauge, GaugeRecount};
/// use tenancy::{TenantDb, TenantScoped};
/// # #[derive(TenantScoped, sqlx::FromRow)]
/// # #[tenant(table = "projects")]
/// # struct Project { #[tenant(id)] id: i64 }
///
/// async fn take_over(db: &TenantDb<sqlx::Sqlite>, directory: &TenantDirectory) -> tenancy::Result<()> {
///     let recount = GaugeRecount::new(Gauge::new("projects"), db, directory, Actor::system("deploy"))?;
///     for tenant in directory.store().list(None, 200).await? { // the next page: after the last id
///         let old = recount
///             .recount(&tenant, "the gauge is new", async |tx| Ok(Existing::Number(Project::count(tx).await?)))
///             .await?;
///         println!("{}: {} counted, {} exist", tenant.slug(), old.used, old.counted);
///     }
///     Ok(())
/// }
/// ```
///
/// # Security
/// Each transaction belongs to one tenant, and what a closure reads is that tenant's. A recount is recorded in the
/// tenant's audit log, with the actor and the reason. A comparison writes nothing, and is not recorded. Which tenants it
/// may be done for is the decision of the caller.
pub struct GaugeRecount<'a, DB: Backend> {
    gauge: Gauge,
    db: &'a TenantDb<DB>,
    directory: &'a TenantDirectory,
    actor: Actor,
}

impl<DB: Backend> fmt::Debug for GaugeRecount<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GaugeRecount")
            .field("gauge", &self.gauge)
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

impl<'a, DB: Backend> GaugeRecount<'a, DB> {
    /// Prepares to compare a gauge. The audit log names `actor`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for [`Actor::Anonymous`], or an actor whose name is blank.
    pub fn new(
        gauge: Gauge,
        db: &'a TenantDb<DB>,
        directory: &'a TenantDirectory,
        actor: Actor,
    ) -> Result<Self> {
        if !actor.is_named() {
            return Err(Error::new(ErrorKind::InvalidInput, "a recount needs an actor with a name"));
        }
        Ok(Self { gauge, db, directory, actor })
    }

    /// Compares the gauge with what exists. It changes nothing.
    ///
    /// `count` and the gauge are read from one snapshot, so no lock is needed, and nobody waits.
    ///
    /// # Errors
    /// As [`Gauge::reconcile`]; [`ErrorKind::SqlRejected`] for a statement of `count` that would change rows;
    /// [`ErrorKind::UnknownPlan`]; [`ErrorKind::WrongRegion`] for a tenant of another region than the directory's;
    /// [`ErrorKind::UnsupportedPlacement`] or [`ErrorKind::PlacementMissing`] if the tenant's rows cannot be reached; any
    /// error of `count`.
    pub async fn compare<F>(&self, tenant: &Arc<Tenant>, count: F) -> Result<GaugeDrift>
    where
        F: AsyncFnOnce(&mut Tx<'_, DB>) -> Result<Existing>,
    {
        let ctx = self.context(tenant)?;
        let mut tx = self.db.begin_unlimited(&ctx, TxMode::Snapshot).await?;
        let existing = count(&mut tx).await?;
        let drift = self.drift(&mut tx, &existing).await?;
        tx.rollback().await?;
        Ok(drift)
    }

    /// Sets the gauge to what exists, and returns the drift that was there before. A gauge that is exact does not change.
    ///
    /// The gauge is locked before `count` reads, until the transaction ends: who creates or deletes such a resource waits.
    /// A change writes the audit event `tenancy.gauge_recount` in the same transaction, as [`Gauge::recount`] and
    /// [`Gauge::recount_for`].
    ///
    /// # Errors
    /// As [`compare`](Self::compare), [`Gauge::recount`] and [`Gauge::recount_for`]. After an error nothing changed, except
    /// after [`ErrorKind::OutcomeUnknown`].
    pub async fn recount<F>(&self, tenant: &Arc<Tenant>, reason: &str, count: F) -> Result<GaugeDrift>
    where
        F: AsyncFnOnce(&mut Tx<'_, DB>) -> Result<Existing>,
    {
        let ctx = self.context(tenant)?;
        let mut tx = self.db.begin_unlimited(&ctx, TxMode::Write).await?;
        self.gauge.lock(&mut tx).await?;
        let existing = count(&mut tx).await?;
        if tx.has_changes() {
            return Err(Error::new(
                ErrorKind::SqlRejected,
                "the closure of a recount only counts, and this one changed rows; change them in a transaction of \
                 `TenantDb::begin`",
            ));
        }
        let drift = self.drift(&mut tx, &existing).await?;
        if drift.is_exact() {
            tx.rollback().await?;
            return Ok(drift);
        }
        match existing {
            Existing::Number(counted) => self.gauge.recount(&mut tx, counted, reason).await?,
            Existing::Ids(ids) => self.gauge.recount_for(&mut tx, ids, reason).await?,
        };
        tx.commit().await?;
        Ok(drift)
    }

    fn context(&self, tenant: &Arc<Tenant>) -> Result<TenantContext> {
        self.directory.unchecked_context(tenant.clone(), self.actor.clone())
    }

    async fn drift(&self, tx: &mut Tx<'_, DB>, existing: &Existing) -> Result<GaugeDrift> {
        match existing {
            Existing::Number(counted) => self.gauge.reconcile(tx, *counted).await,
            Existing::Ids(ids) => self.gauge.reconcile_for(tx, ids).await,
        }
    }
}
