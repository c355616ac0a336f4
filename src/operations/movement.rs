//! [`Move`]: moves a tenant to another place while it is used. `move_plan.rs` has the plan,
//! `move_run.rs` the steps, `sync.rs` the copy, `move_end.rs` the end.

use std::fmt;
use std::time::Duration;

use super::move_plan::{MovePlan, plan_of, refuse};
use super::move_step::{MoveProgress, MoveReport, MoveStep, UnfinishedMove};
use super::observed::{self, Operation};
use super::tenant_data::TenantData;
use crate::context::{Actor, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::placement::{Provisioner, TenantLock, Worker};
use crate::store::{MoveRecord, went_on};
use crate::tenant::{Placement, TenantId, TenantStore};

/// Moves a tenant to another place while it is used. [`Provisioner::move_to`] creates it.
///
/// 1. *Prepare*: the target is created, migrated and fenced: nobody can use it yet.
/// 2. *Copy*: the rows are copied while the tenant is used, and copied again until little differs.
/// 3. *Fence*: the source refuses the tenant, with [`ErrorKind::TenantMoving`], a 503 with `Retry-After`. Transactions that
///    began before are waited for. What still differs is copied.
/// 4. *Verify*: the number of rows and a hash over all rows of each table are the same in both places.
/// 5. *Switch*: the tenant gets its new placement, with the audit event `tenant.move`, in one transaction; the target is
///    opened. A process with the old placement is still refused.
/// 6. *Clean up*: after the grace period, the rows of the source are deleted, or its schema, database or file is dropped.
///
/// Each step is recorded. A move that was interrupted is repeated, and goes on. Before the switch it can be
/// [rolled back](Self::roll_back). Every write is in the target, or was refused.
///
/// ```
/// use tenancy::context::Actor;
/// use tenancy::operations::TenantData;
/// use tenancy::placement::Provisioner;
/// use tenancy::tenant::{Placement, Tenant};
///
/// async fn give_a_database<DB: TenantData>(provisioner: &Provisioner<DB>, acme: &Tenant) -> tenancy::Result<()> {
///     let target = Placement::database_of(acme.id());
///     let movement = provisioner.move_to(acme.id(), target, &Actor::user("ada"));
///     println!("{}", movement.plan().await?); // changes nothing
///     let report = movement.run(|progress| println!("{progress}")).await?;
///     println!("refused for {} ms", report.fenced_ms);
///     Ok(())
/// }
/// ```
#[must_use = "call `plan` or `run`"]
pub struct Move<DB: TenantData> {
    pub(super) provisioner: Provisioner<DB>,
    pub(super) tenant: TenantId,
    pub(super) target: Placement,
    pub(super) actor: Actor,
    pub(super) wait: Duration,
    pub(super) grace: Duration,
}

impl<DB: TenantData> fmt::Debug for Move<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Move")
            .field("tenant", &self.tenant)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<DB: TenantData> Provisioner<DB> {
    /// Moves a tenant to another place. Nothing happens before [`Move::run`].
    pub fn move_to(&self, tenant: &TenantId, target: Placement, actor: &Actor) -> Move<DB> {
        Move {
            provisioner: self.clone(),
            tenant: tenant.clone(),
            target,
            actor: actor.clone(),
            wait: Duration::from_secs(30),
            grace: Duration::from_mins(1),
        }
    }

    /// The moves that are not finished, also those that another process runs now.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`].
    pub async fn unfinished_moves(&self) -> Result<Vec<UnfinishedMove>> {
        self.store.move_records().await?.into_iter().map(UnfinishedMove::new).collect()
    }
}

impl<DB: TenantData> Provisioner<DB> {
    /// Fails if the rows of a tenant are in two places.
    pub(super) async fn check_not_moving(&self, tenant: &TenantId) -> Result<()> {
        if self.store.move_records().await?.iter().any(|record| record.tenant == *tenant) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "a move of this tenant is not finished, so its rows are in two places; finish the move or roll it back first",
            ));
        }
        Ok(())
    }
}

/// The locks of the tenant and of both places. The shared tables have none.
pub(super) struct Locks<DB: TenantData> {
    pub(super) tenant: TenantLock,
    _source: Option<Worker<DB>>,
    pub(super) target: Option<Worker<DB>>,
}

impl<DB: TenantData> Move<DB> {
    /// Sets how long to wait for a lock, and for transactions that began before the fence. The default is 30 seconds.
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Sets how long the source is kept, empty, after the switch. The default is 60 seconds.
    ///
    /// Until then a process that still has the old placement gets [`ErrorKind::TenantMoving`]; afterwards the error of a
    /// schema or a database that does not exist. Use at least the time to live of your caches.
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// What would be moved, and what forbids the move. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`]; [`ErrorKind::StoreUnavailable`].
    pub async fn plan(&self) -> Result<MovePlan> {
        let tenant = self.provisioner.store.by_id(&self.tenant).await?.ok_or_else(unknown_tenant)?;
        plan_of(&self.provisioner, &self.target, &tenant).await
    }

    /// Moves the tenant, or goes on with a move to the same place.
    ///
    /// `progress` is called when a step begins, and while rows are copied.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`]; [`ErrorKind::Conflict`] if a move to another place is not finished, if the target
    /// exists already, or if a row conflicts with one of another tenant there; [`ErrorKind::Misconfigured`] for what the plan
    /// names; [`ErrorKind::Retryable`] if another process works on the data of the tenant, or in one of the places, or if a transaction stays open for
    /// too long. The tenant is served as before then, or refused if it was fenced already: repeat the move, or roll it back.
    pub async fn run(&self, mut progress: impl FnMut(&MoveProgress) + Send) -> Result<MoveReport> {
        let work = Box::pin(self.run_steps(&mut progress));
        observed::operation(Operation::Move, &self.tenant, Some(&self.target), work).await
    }

    async fn run_steps(&self, progress: &mut (impl FnMut(&MoveProgress) + Send)) -> Result<MoveReport> {
        let store = &self.provisioner.store;
        let tenant_lock = DB::lock_tenant(&self.provisioner.places, &self.tenant).await?;
        let tenant = store.by_id(&self.tenant).await?.ok_or_else(unknown_tenant)?;
        let record = match self.record().await? {
            Some(record) if record.target == self.target => record,
            Some(record) => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "a move of this tenant to the {} is not finished; finish it, or roll it back",
                        record.target
                    ),
                ));
            }
            None => {
                let plan = plan_of(&self.provisioner, &self.target, &tenant).await?;
                refuse(&plan)?;
                self.provisioner.check_new_place(&self.target).await?;
                store.begin_move(&tenant, &self.target, MoveStep::Prepare.name()).await?;
                self.record().await?.ok_or_else(unknown_tenant)?
            }
        };
        let moved = match self.lock(tenant_lock, &record, true).await {
            // Migrations run in one of the places.
            Err(error) if error.kind() == ErrorKind::Retryable => return Err(error),
            Err(error) => Err(error),
            Ok(locked) => self.go_on(locked, progress).await,
        };
        if let Err(error) = &moved {
            let cause = error.cause().map_or_else(|| error.to_string(), |cause| format!("{error} ({cause})"));
            // If this cannot be recorded, the store is down, and the first error says more.
            let _ = store.record_move_error(&record, &cause).await;
        }
        moved
    }

    pub(super) async fn record(&self) -> Result<Option<MoveRecord>> {
        let records = self.provisioner.store.move_records().await?;
        Ok(records.into_iter().find(|record| record.tenant == self.tenant))
    }

    /// Locks the places of the tenant, and reads the record again: its step is right until the locks end.
    pub(super) async fn lock(
        &self,
        tenant_lock: TenantLock,
        record: &MoveRecord,
        create: bool,
    ) -> Result<(Locks<DB>, MoveRecord)> {
        let new = create && MoveStep::parse(&record.step)? < MoveStep::CleanUp;
        let source = self.lock_place(&record.source, false).await?;
        let locks = Locks {
            tenant: tenant_lock,
            _source: source,
            target: self.lock_place(&record.target, new).await?,
        };
        let now =
            self.record().await?.filter(|now| now.started_us == record.started_us).ok_or_else(went_on)?;
        let tenant = self.provisioner.store.by_id(&self.tenant).await?.ok_or_else(unknown_tenant)?;
        let switched = MoveStep::parse(&now.step)? >= MoveStep::CleanUp;
        let place = if switched { &now.target } else { &now.source };
        let was_switched = MoveStep::parse(&record.step)? >= MoveStep::CleanUp;
        if tenant.placement() == place && switched == was_switched {
            Ok((locks, now))
        } else {
            Err(went_on())
        }
    }

    /// Locks a place, unless it was not created yet, or is dropped already.
    async fn lock_place(&self, place: &Placement, new: bool) -> Result<Option<Worker<DB>>> {
        if *place == Placement::Shared {
            return Ok(None);
        }
        match self.provisioner.lock_place(place, new).await {
            Err(error) if error.kind() == ErrorKind::PlacementMissing => Ok(None),
            lock => lock.map(Some),
        }
    }
}
