//! Runs the steps of a move, up to its switch.

use std::collections::BTreeMap;

use futures_util::future::try_join;

use super::fence;
use super::move_plan::{left_behind, triggered};
use super::move_step::{MoveProgress, MoveReport, MoveStep};
use super::movement::{Locks, Move};
use super::sync::{EVENTS, Side, differing, digest, sync};
use super::table::DataTable;
use super::tenant_data::TenantData;
use super::{metrics, observed};
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::applied;
use crate::store::MoveRecord;
use crate::tenant::Placement;

/// How often the rows are copied while the tenant is used, before it is fenced.
const CATCH_UPS: u32 = 5;
/// With fewer changed rows than these, the rest is copied behind the fence.
const FEW: u64 = 200;
/// How often the rows are copied again behind the fence, until nothing differs.
const ATTEMPTS: u32 = 4;

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
    pub(super) async fn go_on(
        &self,
        (mut locks, mut record): (Locks<DB>, MoveRecord),
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<MoveReport> {
        let mut report = MoveReport::default();
        if MoveStep::parse(&record.step)? < MoveStep::CleanUp {
            report = self.copy_and_switch(&mut record, &mut locks, progress).await?;
        }
        progress(&MoveProgress::step(MoveStep::CleanUp));
        observed::step(MoveStep::CleanUp, self.clean_up(&record, &mut locks)).await?;
        self.provisioner.store.end_move(&record).await?;
        drop(locks);
        Ok(report)
    }

    async fn copy_and_switch(
        &self,
        record: &mut MoveRecord,
        locks: &mut Locks<DB>,
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<MoveReport> {
        let store = &self.provisioner.store;
        let mut report = MoveReport::default();
        progress(&MoveProgress::step(MoveStep::Prepare));
        let mut both = observed::step(MoveStep::Prepare, self.prepare(record, locks)).await?;
        if MoveStep::parse(&record.step)? < MoveStep::Fence {
            self.begin(record, MoveStep::Copy, progress).await?;
            report.copied = observed::step(MoveStep::Copy, self.catch_up(&mut both, progress)).await?;
        }
        self.begin(record, MoveStep::Fence, progress).await?;
        let began = store.now_us();
        observed::step(MoveStep::Fence, self.refuse_and_copy(&mut both, record, progress)).await?;
        self.begin(record, MoveStep::Verify, progress).await?;
        report.tables = observed::step(MoveStep::Verify, self.verify(&mut both, record, progress)).await?;
        progress(&MoveProgress::step(MoveStep::Switch));
        locks.tenant.check().await?;
        observed::step(MoveStep::Switch, self.switch(&mut both, record)).await?;
        report.fenced_ms = u64::try_from((store.now_us() - began) / 1000).unwrap_or(0);
        observed::refused_for(report.fenced_ms);
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
    async fn prepare(&self, record: &MoveRecord, locks: &mut Locks<DB>) -> Result<Both<DB>> {
        let (mut source, mut target) =
            (self.connect(&record.source, record).await?, self.connect(&record.target, record).await?);
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
        if let Some(lock) = &mut locks.target {
            self.provisioner.protect_place(lock, &record.target, &self.tenant).await?;
        }
        let places = &self.provisioner.places;
        let conn = &mut target.reader;
        let mut why = DB::unfenceable(places, conn, &record.target, &target.tables).await?;
        if why.is_none() {
            let triggers = DB::triggers(conn, &target.tables, true).await?;
            why = triggers
                .first()
                .map(|trigger| format!("in the {}, {}", record.target, triggered::<DB>(trigger)));
        }
        if let Some(why) = why {
            return Err(Error::new(ErrorKind::Misconfigured, format!("the tenant cannot be moved: {why}")));
        }
        fence::prepare(&mut source, &record.source, self.wait).await?;
        Ok(Both { source, target, tables })
    }

    /// Connects to one of the places of a move.
    pub(super) async fn connect(&self, placement: &Placement, record: &MoveRecord) -> Result<Side<DB>> {
        let places = &self.provisioner.places;
        let mut reader = DB::connect_to(places, placement).await?;
        let mut writer = DB::connect_to(places, placement).await?;
        DB::hold_writer(&mut writer, format!("{} {placement}", self.tenant)).await?;
        let tables = DB::data_tables(&mut reader, placement, &self.provisioner.schema).await?;
        check_apart(&tables, placement, [&record.source, &record.target])?;
        for conn in [&mut reader, &mut writer] {
            DB::set_tenant(conn, Some(&self.tenant)).await?;
            DB::pass_fences(conn).await?;
            DB::run(conn, DB::BEGIN_COPY.to_owned(), None).await.map_err(|e| database_error(&e))?;
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

    /// Copies the rows while the tenant is used, until little differs.
    async fn catch_up(
        &self,
        both: &mut Both<DB>,
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<u64> {
        let mut copied = 0;
        for _ in 0..CATCH_UPS {
            let changed = self.copy(both, MoveStep::Copy, progress).await?;
            copied += changed;
            if changed <= FEW {
                break;
            }
        }
        Ok(copied)
    }

    /// Refuses the tenant in the source, and copies what still differs.
    async fn refuse_and_copy(
        &self,
        both: &mut Both<DB>,
        record: &MoveRecord,
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<()> {
        self.fence(&mut both.source, &record.source, record, true).await?;
        DB::wait_for_older(&mut both.source.writer, self.wait).await?;
        self.copy(both, MoveStep::Fence, progress).await?;
        // A migration of the target that is in work since before does not see the rows. Afterwards `verify` sees the migration.
        if fence::moves_own(&record.source, &record.target) {
            DB::wait_for_older(&mut both.target.writer, self.wait).await?;
        }
        Ok(())
    }

    /// Gives the tenant its new placement, and admits it there.
    async fn switch(&self, both: &mut Both<DB>, record: &mut MoveRecord) -> Result<()> {
        let (from, to) = (MoveStep::Verify.name(), MoveStep::CleanUp.name());
        let switched = self.provisioner.store.switch_placement(record, from, to, &self.actor).await?;
        self.provisioner.tenants.committed(&switched).await;
        self.fence(&mut both.target, &record.target, record, false).await
    }

    async fn copy(
        &self,
        both: &mut Both<DB>,
        step: MoveStep,
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<u64> {
        let Both { source, target, tables } = both;
        let copied = sync(source, target, &self.tenant, tables, |table, rows| {
            progress(&MoveProgress { step, table: Some(table.to_owned()), rows });
        });
        copied.await.inspect(|rows| metrics::moved_rows(*rows))
    }

    /// Compares both places, and copies again what differs.
    async fn verify(
        &self,
        both: &mut Both<DB>,
        record: &MoveRecord,
        progress: &mut (impl FnMut(&MoveProgress) + Send),
    ) -> Result<BTreeMap<String, u64>> {
        // A migration of the shared tables may have run since the tables were read.
        for (side, placement) in [(&mut both.source, &record.source), (&mut both.target, &record.target)] {
            let now = DB::data_tables(&mut side.reader, placement, &self.provisioner.schema).await?;
            if now != side.tables {
                return Err(differing("a table that was migrated meanwhile"));
            }
        }
        check_migrations(&mut both.source, &mut both.target).await?;
        // Rows that nothing refuses may have been written since the plan.
        let Side { reader, tables, .. } = &mut both.source;
        let moved: Vec<DataTable> =
            tables.iter().filter(|table| both.tables.contains(&table.name)).cloned().collect();
        let (schema, places) = (&self.provisioner.schema, (&record.source, &record.target));
        if let Some(why) = left_behind::<DB>(reader, schema, places, &moved, &self.tenant).await?.first() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the tenant cannot be moved: {why}; remove this and repeat the move, or roll it back"
                ),
            ));
        }
        let mut attempts = 0;
        let rows = loop {
            match self.compare(both).await? {
                Ok(rows) => break rows,
                Err(name) if attempts == ATTEMPTS => {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!(
                            "`{name}` still differs after its rows were copied behind the fence: a default or a generated value \
                             of the target changes them; make the tables of both places the same, or roll the move back"
                        ),
                    ));
                }
                Err(_) => {
                    attempts += 1;
                    self.copy(both, MoveStep::Verify, progress).await?;
                }
            }
        };
        let shared = record.target == Placement::Shared;
        for name in &both.tables {
            let (from, to) = (both.source.table(name)?, both.target.table(name)?);
            DB::advance_numbers(&mut both.target.writer, &to, &self.tenant, shared).await?;
            DB::copy_numbers(&mut both.source.reader, &from, &mut both.target.writer, &to, shared).await?;
        }
        Ok(rows)
    }

    /// Compares each table by the number of its rows and a hash over all of them: the numbers, or a table that differs.
    async fn compare(
        &self,
        both: &mut Both<DB>,
    ) -> Result<std::result::Result<BTreeMap<String, u64>, String>> {
        let mut rows = BTreeMap::new();
        for name in &both.tables {
            let (from, to) = (both.source.table(name)?, both.target.table(name)?);
            let (source, target) = try_join(
                digest::<DB>(&mut both.source.reader, &from, &self.tenant),
                digest::<DB>(&mut both.target.reader, &to, &self.tenant),
            )
            .await?;
            if source != target && name != EVENTS {
                return Ok(Err(name.clone()));
            }
            rows.insert(name.clone(), source.0);
        }
        Ok(Ok(rows))
    }
}

/// Fails if tables of the other place are taken for tables of this one: they would be emptied with it.
fn check_apart(tables: &[DataTable], placement: &Placement, places: [&Placement; 2]) -> Result<()> {
    for place in places.into_iter().filter(|place| *place != placement) {
        let Placement::Schema { name } = place else { continue };
        let schema = format!("\"{name}\".");
        if let Some(table) = tables.iter().find(|table| !table.own && table.ident.starts_with(&schema)) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "`{}` is in the {place}, and would be taken for a table of the {placement}, because the schema has a name of \
                     your own and the list of tenants is not in this database; rename the schema to one of \
                     `PlacementName::of`, and change the tenant's placement",
                    table.ident
                ),
            ));
        }
    }
    Ok(())
}
