//! [`GaugeTransfer`]: moves what a gauge counts to another tenant, in two transactions.

use std::fmt::Display;

use super::gauge::{Gauge, Usage};
use super::gauge_resources::resource;
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::{Backend, Tx};
use crate::tenant::TenantId;

/// The first half of a transfer: the target counts what the source has not released yet.
///
/// [`Gauge::transfer_in`] and [`Gauge::transfer_in_for`] return it in the transaction of the target, and
/// [`Gauge::transfer_out`] takes it in the transaction of the source.
#[derive(Debug)]
#[must_use = "the source still counts what moved: commit the target's transaction, then call `Gauge::transfer_out` in one of the source"]
pub struct GaugeTransfer {
    gauge: Gauge,
    source: TenantId,
    moved: Moved,
    usage: Usage,
}

#[derive(Debug)]
enum Moved {
    Places(u64),
    Resource(String),
}

impl GaugeTransfer {
    /// The usage of the target.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }
}

impl Gauge {
    /// Counts `n` in the transaction of the target, for a transfer from another tenant. It changes nothing if the target
    /// is full.
    ///
    /// A transaction belongs to one tenant, so a transfer has two, one after the other. Neither waits for a lock of the
    /// other tenant, and the transfer needs one connection:
    ///
    /// 1. In the target's transaction: `transfer_in`, insert the rows, commit.
    /// 2. In the source's transaction: delete the rows, [`transfer_out`](Self::transfer_out), commit.
    ///
    /// If the program stops between the two, both tenants have the rows, and both count them: no row is lost, and no
    /// tenant counts less than it has. Complete such a transfer with the second step: delete the rows in the source, and
    /// release them. If the target is rejected, or its transaction is rolled back, do not begin the second step.
    ///
    /// The caller needs the context of both tenants. Check beforehand that the actor may act for both.
    ///
    /// ```
    /// # use tenancy::TenantScoped;
    /// # #[derive(TenantScoped, sqlx::FromRow)]
    /// # #[tenant(table = "projects")]
    /// # struct Project { #[tenant(id)] id: i64 }
    /// use tenancy::quota::Gauge;
    /// use tenancy::{TenantContext, TenantDb};
    ///
    /// const PROJECTS: Gauge = Gauge::new("projects");
    ///
    /// async fn transfer(
    ///     db: &TenantDb<sqlx::Sqlite>,
    ///     from: &TenantContext,
    ///     to: &TenantContext,
    ///     project: &Project,
    /// ) -> tenancy::Result<()> {
    ///     let mut target = db.begin(to).await?;
    ///     let transfer = PROJECTS.transfer_in(&mut target, from, 1).await?; // `LimitReached` if the target is full
    ///     Project::insert(&mut target, project).await?;
    ///     target.commit().await?;
    ///
    ///     let mut source = db.begin(from).await?;
    ///     Project::delete(&mut source, project.id).await?.or_not_found()?;
    ///     PROJECTS.transfer_out(&mut source, transfer).await?;
    ///     source.commit().await
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the source and the target are the same tenant; otherwise as
    /// [`acquire`](Self::acquire).
    pub async fn transfer_in<DB: Backend>(
        &self,
        target: &mut Tx<'_, DB>,
        source: &TenantContext,
        n: u64,
    ) -> Result<GaugeTransfer> {
        let source = self.source(target, source)?;
        let usage = self.acquire(target, n).await?;
        Ok(GaugeTransfer { gauge: *self, source, moved: Moved::Places(n), usage })
    }

    /// Counts a resource by its id in the transaction of the target, for a transfer from another tenant.
    ///
    /// As [`transfer_in`](Self::transfer_in), for a gauge that counts by id. After a stop between the two steps, both can
    /// run again: the same id counts once in the target, and is released once in the source. Write the row with `upsert`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the source and the target are the same tenant; otherwise as
    /// [`acquire_for`](Self::acquire_for).
    pub async fn transfer_in_for<DB: Backend>(
        &self,
        target: &mut Tx<'_, DB>,
        source: &TenantContext,
        id: impl Display,
    ) -> Result<GaugeTransfer> {
        let source = self.source(target, source)?;
        let id = resource(&id)?;
        let usage = self.acquire_for(target, &id).await?;
        Ok(GaugeTransfer { gauge: *self, source, moved: Moved::Resource(id), usage })
    }

    /// Releases in the transaction of the source what the target counts, and returns the usage of the source.
    ///
    /// Call it after the target's transaction is committed. See [`transfer_in`](Self::transfer_in).
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the transaction belongs to another tenant than the source, or the transfer to
    /// another gauge; otherwise as [`release_places`](Self::release_places) and [`release_for`](Self::release_for).
    pub async fn transfer_out<DB: Backend>(
        &self,
        source: &mut Tx<'_, DB>,
        transfer: GaugeTransfer,
    ) -> Result<Usage> {
        if transfer.gauge != *self || transfer.source != *source.context().tenant_id() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "this transfer belongs to another gauge, or its source is another tenant than that of the transaction; \
                 call `transfer_out` on the same gauge, in a transaction of the source",
            ));
        }
        match transfer.moved {
            Moved::Places(n) => self.release_places(source, n).await,
            Moved::Resource(id) => {
                self.release_for(source, id).await?;
                self.usage(source).await
            }
        }
    }

    /// The id of the source, if it is another tenant than the target.
    fn source<DB: Backend>(&self, target: &Tx<'_, DB>, source: &TenantContext) -> Result<TenantId> {
        self.rule(source.entitlements())?;
        if source.tenant_id() == target.context().tenant_id() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the source and the target of the transfer are the same tenant; name another target",
            ));
        }
        Ok(source.tenant_id().clone())
    }
}
