//! The end of a move: the rows of the source are deleted, or those of the target if it is rolled back.

use std::time::Duration;

use super::circle::{delete_group, groups};
use super::fence;
use super::move_step::MoveStep;
use super::movement::{Locks, Move};
use super::observed::{self, Operation};
use super::reach::check_children;
use super::statement::rows_of;
use super::sync::{EVENTS, Side, delete_copied, sync};
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::context::unknown_tenant;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::Provisioner;
use crate::store::{MoveRecord, went_on};
use crate::tenant::{Placement, TenantStore};

/// How many rows one transaction deletes.
const BATCH: u32 = 1000;

impl<DB: TenantData> Move<DB> {
    /// Deletes the rows of the source, or drops it after the grace period.
    pub(super) async fn clean_up(&self, record: &MoveRecord, locks: &mut Locks<DB>) -> Result<()> {
        let store = &self.provisioner.store;
        // A process ended between the switch and this.
        let mut target = self.connect(&self.target, record).await?;
        self.fence(&mut target, &self.target, record, false).await?;
        let mut source = match self.connect(&record.source, record).await {
            Err(error) if error.kind() == ErrorKind::PlacementMissing => return Ok(()),
            source => source?,
        };
        let moved = fence::moved(&source.tables, &record.source, &self.target);
        if moved.iter().any(|name| name == EVENTS) {
            // Events that were written after the copy.
            sync(&mut source, &mut target, &self.tenant, &[EVENTS.to_owned()], |_, _| {}).await?;
            delete_copied(&mut source, &mut target, EVENTS, &self.tenant).await?;
        }
        self.delete_rows(&mut source, &moved).await?;
        if record.source == Placement::Shared {
            return Ok(());
        }
        // Migrations may run in the new place.
        locks.target = None;
        let grace = i64::try_from(self.grace.as_micros()).unwrap_or(i64::MAX);
        let until = self.record().await?.map_or(0, |record| record.changed_us).saturating_add(grace);
        while store.now_us() < until {
            sqlx_core::rt::sleep(Duration::from_millis(200).min(self.grace)).await;
        }
        drop(source);
        self.check_empty(&record.source).await?;
        // The tenant and the place are locked: what is true now is true until it is dropped.
        locks.tenant.check().await?;
        let record_now = self.record().await?.filter(|now| now.started_us == record.started_us);
        let tenant = store.by_id(&self.tenant).await?.ok_or_else(unknown_tenant)?;
        if record_now.is_none() || *tenant.placement() != record.target {
            return Err(went_on());
        }
        self.provisioner.drop_place(&record.source, &self.tenant).await
    }

    /// Fails if a place that is to be dropped has rows: in a table without the tenant column, or one that is newer than the
    /// fence, which does not refuse them.
    async fn check_empty(&self, place: &Placement) -> Result<()> {
        let Provisioner { places, schema, .. } = &self.provisioner;
        let mut conn = DB::connect_to(places, place).await?;
        DB::set_tenant(&mut conn, Some(&self.tenant)).await?;
        DB::pass_fences(&mut conn).await?;
        let mut found = DB::others(&mut conn, place, schema).await?;
        for table in DB::data_tables(&mut conn, place, schema).await?.iter().filter(|table| !table.own) {
            if rows_of::<DB>(&mut conn, table, &self.tenant).await? > 0 {
                found.push(format!("`{}`", table.name));
            }
        }
        match found.first() {
            None => Ok(()),
            Some(what) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "{what} has rows that were written in the {place} after the tenant was moved, and would be dropped with it; \
                     move or delete them, and repeat the move"
                ),
            )),
        }
    }

    /// Deletes the rows of the tenant in tables of a place, except for events.
    async fn delete_rows(&self, side: &mut Side<DB>, moved: &[String]) -> Result<()> {
        let is_moved = |table: &&DataTable| table.name != EVENTS && moved.contains(&table.name);
        let tables: Vec<DataTable> = side.tables.iter().filter(is_moved).cloned().collect();
        check_children::<DB>(&mut side.writer, &tables, &self.tenant).await?;
        for group in groups(&tables) {
            delete_group::<DB>(&mut side.writer, &group, &self.tenant, BATCH).await?;
        }
        for table in tables.iter().rev() {
            if rows_of::<DB>(&mut side.writer, table, &self.tenant).await? > 0 {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "`{}` still has rows of the tenant in the place that it leaves; repeat this",
                        table.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Undoes a move before its switch: the target is removed, and the tenant is served from the source again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such move; [`ErrorKind::Conflict`] if the tenant is in the target already: move it
    /// back instead; [`ErrorKind::Retryable`] if another process runs the move.
    pub async fn roll_back(&self) -> Result<()> {
        let target = Some(&self.target);
        observed::operation(Operation::RollBack, &self.tenant, target, Box::pin(self.undo())).await
    }

    async fn undo(&self) -> Result<()> {
        let tenant_lock = DB::lock_tenant(&self.provisioner.places, &self.tenant).await?;
        let record = self.record().await?.filter(|record| record.target == self.target).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no move of this tenant to this place is unfinished")
        })?;
        if MoveStep::parse(&record.step)? >= MoveStep::CleanUp {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the tenant is in its new place already: finish the move, and then move the tenant back",
            ));
        }
        let (mut locks, record) = self.lock(tenant_lock, &record, false).await?;
        // A switch whose commit is in flight is waited for, and changes the step.
        self.provisioner.store.record_move_step(&record, &record.step, &record.step).await?;
        match self.connect(&self.target, &record).await {
            Ok(mut target) => {
                let moved = fence::moved(&target.tables, &record.source, &self.target);
                self.delete_rows(&mut target, &moved).await?;
            }
            Err(error) if error.kind() == ErrorKind::PlacementMissing => {}
            Err(error) => return Err(error),
        }
        let mut source = self.connect(&record.source, &record).await?;
        self.fence(&mut source, &record.source, &record, false).await?;
        locks.tenant.check().await?;
        self.provisioner.drop_place(&self.target, &self.tenant).await?;
        self.provisioner.store.end_move(&record).await?;
        drop(locks);
        Ok(())
    }
}
