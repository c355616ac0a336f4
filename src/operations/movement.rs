//! [`Move`]: moves a tenant to another place while it is used. `move_plan.rs` has the plan, `sync.rs` the copy,
//! `move_end.rs` the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::fence;
use super::move_plan::{MovePlan, plan_of, refuse};
use super::move_step::{MoveProgress, MoveReport, MoveStep, UnfinishedMove};
use super::sync::{EVENTS, Side, differing, digest, sync};
use super::tenant_data::TenantData;
use crate::context::{Actor, unknown_tenant};
use crate::error::{Error, ErrorKind, Result};
use crate::placement::{Provisioner, Worker, applied};
use crate::store::{MoveRecord, went_on};
use crate::tenant::{Placement, TenantId, TenantStore};

/// How often the rows are copied while the tenant is used, before it is fenced.
const CATCH_UPS: u32 = 5;
/// With fewer changed rows than these, the rest is copied behind the fence.
const FEW: u64 = 200;
/// How often the rows are copied behind the fence, until nothing differs.
const PASSES: u32 = 4;

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
    actor: Actor,
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

/// What a move works with: both places, and what their tables are.
struct Both<DB: TenantData> {
    source: Side<DB>,
    target: Side<DB>,
    /// The tables that are moved, parents first.
    tables: Vec<String>,
}

/// Both places have the same migrations of the application.
async fn check_migrations<DB: TenantData>(source: &mut Side<DB>, target: &mut Side<DB>) -> Result<()> {
    let mut found = Vec::new();
    for side in [source, target] {
        let mut applied: Vec<_> = applied::list(&mut side.reader)
            .await?
            .into_iter()
            .map(|one| (one.version, one.checksum))
            .collect();
        applied.sort();
        found.push(applied);
    }
    if found[0] == found[1] { Ok(()) } else { Err(differing("the list of migrations")) }
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
    /// names; [`ErrorKind::Retryable`] if another process is at work in one of the places, or if a transaction stays open for
    /// too long. The tenant is served as before then, or refused if it was fenced already: repeat the move, or roll it back.
    pub async fn run(&self, mut progress: impl FnMut(&MoveProgress) + Send) -> Result<MoveReport> {
        let store = &self.provisioner.store;
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
        let moved = self.go_on(&record, &mut progress).await;
        if let Err(error) = &moved {
            let cause = error.cause().map_or_else(|| error.to_string(), |cause| format!("{error} ({cause})"));
            store.record_move_error(&record, &cause).await?;
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
        record: &MoveRecord,
        create: bool,
    ) -> Result<(Vec<Worker<DB>>, MoveRecord)> {
        let mut locks = Vec::new();
        for place in [&record.source, &record.target].into_iter().filter(|place| **place != Placement::Shared)
        {
            let new = create && *place == record.target && MoveStep::parse(&record.step)? < MoveStep::CleanUp;
            match self.provisioner.lock_place(place, new).await {
                // It was not created yet, or is dropped already.
                Err(error) if error.kind() == ErrorKind::PlacementMissing => {}
                lock => locks.push(lock?),
            }
        }
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

    async fn go_on(
        &self,
        record: &MoveRecord,
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<MoveReport> {
        let mut report = MoveReport::default();
        let (mut locks, mut record) = self.lock(record, true).await?;
        if MoveStep::parse(&record.step)? < MoveStep::CleanUp {
            report = self.copy_and_switch(&mut record, &mut locks, progress).await?;
        }
        progress(&MoveProgress::step(MoveStep::CleanUp));
        self.clean_up(&record).await?;
        self.provisioner.store.end_move(&record).await?;
        drop(locks);
        Ok(report)
    }

    /// Every step up to the switch.
    async fn copy_and_switch(
        &self,
        record: &mut MoveRecord,
        locks: &mut [Worker<DB>],
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<MoveReport> {
        let store = &self.provisioner.store;
        let mut report = MoveReport::default();
        let mut both = self.prepare(record, locks, progress).await?;
        if MoveStep::parse(&record.step)? < MoveStep::Fence {
            self.begin(record, MoveStep::Copy, progress).await?;
            for _ in 0..CATCH_UPS {
                let changed = self.copy(&mut both, MoveStep::Copy, progress).await?;
                report.copied += changed;
                if changed <= FEW {
                    break;
                }
            }
        }
        self.begin(record, MoveStep::Fence, progress).await?;
        let began = store.now_us();
        self.fence(&mut both.source, &record.source, record, true).await?;
        DB::wait_for_older(&mut both.source.writer, self.wait).await?;
        let mut passes = 0;
        while self.copy(&mut both, MoveStep::Fence, progress).await? > 0 {
            passes += 1;
            if passes > PASSES {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "the rows still differ after they were copied behind the fence: a trigger, or a default of the target \
                     changes them; drop it for the time of the move, or roll the move back",
                ));
            }
        }
        self.begin(record, MoveStep::Verify, progress).await?;
        report.tables = self.verify(&mut both, record).await?;
        progress(&MoveProgress::step(MoveStep::Switch));
        let (from, to) = (MoveStep::Verify.name(), MoveStep::CleanUp.name());
        let switched = store.switch_placement(record, from, to, &self.actor).await?;
        self.provisioner.tenants.committed(&switched).await;
        self.fence(&mut both.target, &record.target, record, false).await?;
        report.fenced_ms = u64::try_from((store.now_us() - began) / 1000).unwrap_or(0);
        Ok(report)
    }

    async fn begin(
        &self,
        record: &mut MoveRecord,
        step: MoveStep,
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<()> {
        self.provisioner.store.record_move_step(record, &record.step, step.name()).await?;
        step.name().clone_into(&mut record.step);
        progress(&MoveProgress::step(step));
        Ok(())
    }

    /// Fences and protects the target, which is created and migrated, and connects to both places.
    async fn prepare(
        &self,
        record: &MoveRecord,
        locks: &mut [Worker<DB>],
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<Both<DB>> {
        progress(&MoveProgress::step(MoveStep::Prepare));
        let (mut source, mut target) =
            (self.connect(&record.source).await?, self.connect(&record.target).await?);
        let tables = fence::moved(&source.tables, &record.source, &record.target);
        for name in &tables {
            target.table(name)?;
        }
        let unknown = fence::moved(&target.tables, &record.source, &record.target)
            .into_iter()
            .find(|name| !tables.contains(name));
        if let Some(name) = unknown {
            return Err(differing(&name));
        }
        check_migrations(&mut source, &mut target).await?;
        fence::prepare(&mut target, &record.target, self.wait).await?;
        self.fence(&mut target, &record.target, record, true).await?;
        if let Some(lock) = locks.last_mut().filter(|_| record.target != Placement::Shared) {
            self.provisioner.protect_place(lock, &record.target, &self.tenant).await?;
        }
        let places = &self.provisioner.places;
        if let Some(why) = DB::unfenceable(places, &mut target.reader, &record.target, &target.tables).await?
        {
            return Err(Error::new(ErrorKind::Misconfigured, format!("the tenant cannot be moved: {why}")));
        }
        fence::prepare(&mut source, &record.source, self.wait).await?;
        Ok(Both { source, target, tables })
    }

    pub(super) async fn connect(&self, placement: &Placement) -> Result<Side<DB>> {
        let places = &self.provisioner.places;
        let mut reader = DB::connect_to(places, placement).await?;
        let mut writer = DB::connect_to(places, placement).await?;
        let tables = DB::data_tables(&mut reader, placement, &self.provisioner.schema).await?;
        for conn in [&mut reader, &mut writer] {
            DB::set_tenant(conn, Some(&self.tenant)).await?;
            DB::pass_fences(conn).await?;
        }
        Ok(Side { tables, reader, writer })
    }

    /// Refuses the tenant in a place, or admits it again.
    pub(super) async fn fence(
        &self,
        side: &mut Side<DB>,
        placement: &Placement,
        record: &MoveRecord,
        refused: bool,
    ) -> Result<()> {
        let own = fence::moves_own(&record.source, &record.target);
        fence::set(side, &self.tenant, placement, own, refused).await
    }

    async fn copy(
        &self,
        both: &mut Both<DB>,
        step: MoveStep,
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<u64> {
        let Both { source, target, tables } = both;
        sync(source, target, &self.tenant, tables, |table, rows| {
            progress(&MoveProgress { step, table: Some(table.to_owned()), rows });
        })
        .await
    }

    /// Compares the number of rows and a hash over all rows of each table.
    async fn verify(&self, both: &mut Both<DB>, record: &MoveRecord) -> Result<BTreeMap<String, u64>> {
        let mut rows = BTreeMap::new();
        // A migration of the shared tables may have run since the tables were read.
        for (side, placement) in [(&mut both.source, &record.source), (&mut both.target, &record.target)] {
            let now = DB::data_tables(&mut side.reader, placement, &self.provisioner.schema).await?;
            if now != side.tables {
                return Err(differing("a table that was migrated meanwhile"));
            }
        }
        check_migrations(&mut both.source, &mut both.target).await?;
        let shared = record.target == Placement::Shared;
        for name in &both.tables {
            let (from, to) = (both.source.table(name)?, both.target.table(name)?);
            let source = digest::<DB>(&mut both.source.reader, &from, &self.tenant).await?;
            let target = digest::<DB>(&mut both.target.reader, &to, &self.tenant).await?;
            if source != target && name != EVENTS {
                return Err(Error::new(
                    ErrorKind::Database,
                    format!(
                        "`{name}` is not the same in both places after the copy; roll the move back, and report this"
                    ),
                ));
            }
            DB::advance_numbers(&mut both.target.writer, &to, &self.tenant, shared).await?;
            rows.insert(name.clone(), source.0);
        }
        Ok(rows)
    }
}
