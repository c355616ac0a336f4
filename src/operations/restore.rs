//! [`Restore`]: puts the rows of a bundle back into the tenant that they are of.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::io::AsyncRead;

use super::bundle::TableHead;
use super::circle::groups;
use super::erase::erase;
use super::import::{begin_copy, matched};
use super::observed::{self, Operation};
use super::reach::check_children;
use super::read::BundleReader;
use super::rewrite::Rewrite;
use super::row_writer::{RowWriter, begin, is_written};
use super::stage::{stage_rows, write_staged};
use super::statement::{rows_of, staged, staged_count};
use super::sync::Comparison;
use super::table::{DataTable, check_reach};
use super::tenant_data::TenantData;
use crate::context::{Actor, unknown_tenant};
use crate::database::change_error;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::{Provisioner, applied};
use crate::tenant::{Placement, Slug, Tenant, TenantId, TenantStatus, TenantStore};

/// A bundle that can be put back into the tenant that it is of. [`Provisioner::restore`] reads it.
///
/// The rows of the bundle are in temporary tables until [`apply`](Self::apply), which replaces all rows of the tenant in one
/// transaction. Its `Display` is a table of the differences.
#[must_use = "call `apply`; dropping it changes nothing"]
pub struct Restore<DB: TenantData> {
    provisioner: Provisioner<DB>,
    tenant: Arc<Tenant>,
    /// Where the rows of the bundle are.
    stage: DB::Connection,
    tables: Vec<(DataTable, TableHead)>,
    /// What the place was when the bundle was read.
    place: PlaceShape,
    differences: Vec<RestoredTable>,
}

/// The tables of a place, and its migrations: what a bundle is compared with.
struct PlaceShape {
    tables: Vec<DataTable>,
    migrations: BTreeMap<i64, Vec<u8>>,
}

impl PlaceShape {
    async fn read<DB: TenantData>(
        provisioner: &Provisioner<DB>,
        conn: &mut DB::Connection,
        placement: &Placement,
    ) -> Result<Self> {
        let applied = applied::list(conn).await?;
        let migrations = applied.into_iter().map(|one| (one.version, one.checksum.into_owned())).collect();
        let tables = DB::data_tables(conn, placement, &provisioner.schema).await?;
        Ok(Self { tables, migrations })
    }

    /// Fails if the place has another shape now.
    fn check_unchanged(&self, now: &Self) -> Result<()> {
        let differs = |version: &&i64| self.migrations.get(version) != now.migrations.get(version);
        let migration = self.migrations.keys().chain(now.migrations.keys()).find(differs);
        let changed = |table: &&DataTable| !self.tables.contains(table) || !now.tables.contains(table);
        let table = self.tables.iter().chain(&now.tables).find(changed);
        let what = match (migration, table) {
            (Some(version), _) => format!("the migration {version} ran"),
            (None, Some(table)) => format!("the table `{}` was changed", table.name),
            (None, None) => return Ok(()),
        };
        Err(Error::new(
            ErrorKind::Conflict,
            format!("{what} since the bundle was read, so nothing was restored; read the bundle again"),
        ))
    }
}

/// How the rows of a table would change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoredTable {
    /// The name of the table.
    pub name: String,
    /// Rows that the bundle has, and the tenant does not have any more.
    pub added: u64,
    /// Rows that the bundle has with other values.
    pub changed: u64,
    /// Rows that the tenant has, and the bundle does not have.
    pub removed: u64,
}

impl<DB: TenantData> fmt::Debug for Restore<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restore").field("differences", &self.differences).finish_non_exhaustive()
    }
}

impl<DB: TenantData> fmt::Display for Restore<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.differences {
            let RestoredTable { name, added, changed, removed } = table;
            writeln!(f, "{name:<40} {added:>10} added {changed:>10} changed {removed:>10} removed")?;
        }
        Ok(())
    }
}

impl<DB: TenantData> Provisioner<DB> {
    /// Reads a bundle that is to be put back into the tenant that it is of, and compares it with the rows of now.
    ///
    /// Nothing changes before [`Restore::apply`]. Gauges are restored with the rows that they count; audit events and metered
    /// usage stay as they are, because they tell what happened.
    ///
    /// ```
    /// use tenancy::context::Actor;
    /// use tenancy::operations::TenantData;
    /// use tenancy::placement::Provisioner;
    /// use tenancy::tenant::Tenant;
    ///
    /// async fn restore<DB: TenantData>(
    ///     provisioner: &Provisioner<DB>,
    ///     acme: &Tenant,
    ///     bundle: &[u8],
    /// ) -> tenancy::Result<()> {
    ///     let restore = provisioner.restore(acme.id(), bundle).await?;
    ///     println!("{restore}");
    ///     restore.apply(acme.slug(), &Actor::user("ada")).await
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if this is no complete bundle of this tenant, or one of other migrations or tables;
    /// [`ErrorKind::TenantUnknown`]; [`ErrorKind::StoreUnavailable`].
    pub async fn restore(
        &self,
        tenant: &TenantId,
        bundle: impl AsyncRead + Unpin + Send,
    ) -> Result<Restore<DB>> {
        let tenant = self.store.by_id(tenant).await?.ok_or_else(unknown_tenant)?;
        let (reader, head) = BundleReader::open(bundle, DB::NAME).await?;
        self.check_migrations(&head)?;
        if head.tenant != tenant.id().to_string() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the bundle is of another tenant, `{}`; to create a tenant from it, import it",
                    head.slug
                ),
            ));
        }
        let places = &self.places;
        let mut stage_conn = DB::connect_to(places, tenant.placement()).await?;
        let place = PlaceShape::read(self, &mut stage_conn, tenant.placement()).await?;
        let tables = matched(&head, place.tables.clone())?;
        stage_rows::<DB>(&mut stage_conn, &tables, reader).await?;
        let mut live = DB::connect_to(places, tenant.placement()).await?;
        DB::set_tenant(&mut live, Some(tenant.id())).await?;
        let mut differences = Vec::new();
        for (at, (table, _)) in tables.iter().enumerate().filter(|(_, (table, _))| is_written(table)) {
            let mut found = RestoredTable { name: table.name.clone(), added: 0, changed: 0, removed: 0 };
            if table.key.is_none() {
                let failed = |e: sqlx::Error| table.failed("counted", &e);
                let added = DB::read_number(&mut stage_conn, staged_count(at)).await.map_err(failed)?;
                found.added = u64::try_from(added).unwrap_or(0);
                found.removed = rows_of::<DB>(&mut live, table, tenant.id()).await?;
                differences.push(found);
                continue;
            }
            let rows = DB::texts(&mut stage_conn, staged::<DB>(at));
            let mut comparison = Comparison::<DB>::with_rows(rows, &mut live, table, tenant.id());
            while let Some(difference) = comparison.next().await? {
                found.added += difference.missing.len() as u64;
                found.changed += difference.other.len() as u64;
                found.removed += difference.extra.len() as u64;
            }
            differences.push(found);
        }
        Ok(Restore { provisioner: self.clone(), tenant, stage: stage_conn, tables, place, differences })
    }
}

impl<DB: TenantData> Restore<DB> {
    /// How the rows of each table would change. A table without a primary key has rows that are removed and added.
    pub fn differences(&self) -> &[RestoredTable] {
        &self.differences
    }

    /// Replaces the rows of the tenant by those of the bundle, in one transaction.
    ///
    /// Records `tenant.restore_begin` before, without which nothing is replaced, and `tenant.restore` afterwards.
    ///
    /// Suspend the tenant before, and wait until the caches of all processes have expired: a row that is written meanwhile is
    /// kept or replaced, as it happens.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the slug is not the tenant's; [`ErrorKind::IllegalTransition`] if the tenant is open:
    /// suspend it first; [`ErrorKind::Conflict`] if a move of it is not finished, or if a migration ran since the bundle
    /// was read: read it again; otherwise as [`import`](Provisioner::import). After these errors no row has changed.
    ///
    /// [`ErrorKind::OutcomeUnknown`] if the connection broke during the commit, or if the rows are replaced and
    /// `tenant.restore` could not be recorded: the text says which.
    pub async fn apply(self, confirm: &Slug, actor: &Actor) -> Result<()> {
        let tenant = self.tenant.id().clone();
        observed::operation(Operation::Restore, &tenant, None, Box::pin(self.replace(confirm, actor))).await
    }

    async fn replace(self, confirm: &Slug, actor: &Actor) -> Result<()> {
        let Self { provisioner, tenant: read, mut stage, tables, place, differences } = self;
        let mut lock = DB::lock_tenant(&provisioner.places, read.id()).await?;
        let tenant = provisioner.store.by_id(read.id()).await?.ok_or_else(unknown_tenant)?;
        if tenant.slug() != confirm {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the slug that confirms the restore is not the tenant's; nothing was changed",
            ));
        }
        let is_closed = matches!(tenant.status(), TenantStatus::Suspended | TenantStatus::Deactivated);
        if !is_closed || tenant.placement() != read.placement() {
            return Err(Error::new(
                ErrorKind::IllegalTransition,
                "the tenant is neither suspended nor deactivated, or was moved meanwhile; suspend it, and read the bundle again",
            ));
        }
        provisioner.check_not_moving(tenant.id()).await?;
        let _place_lock = match tenant.placement() {
            Placement::Shared => None,
            placement => Some(provisioner.lock_place(placement, false).await?),
        };
        let mut conn = DB::connect_to(&provisioner.places, tenant.placement()).await?;
        DB::set_tenant(&mut conn, Some(tenant.id())).await?;
        begin_copy::<DB>(&mut conn, &tables, true).await?;
        place.check_unchanged(&PlaceShape::read(&provisioner, &mut stage, tenant.placement()).await?)?;
        let sum = |count: fn(&RestoredTable) -> u64| differences.iter().map(count).sum::<u64>();
        let counts = [sum(|table| table.added), sum(|table| table.changed), sum(|table| table.removed)];
        provisioner.store.record_restore(&tenant, "tenant.restore_begin", counts, actor).await?;
        let shared = *tenant.placement() == Placement::Shared;
        begin::<DB>(&mut conn).await?;
        let own: Vec<DataTable> = tables.iter().map(|(table, _)| table.clone()).filter(is_written).collect();
        // From here on no migration changes the tables.
        for table in &own {
            let lock = format!("DELETE FROM {}{} WHERE 1 = 0", table.only, table.ident);
            DB::run(&mut conn, lock, None).await.map_err(|e| table.failed("deleted", &e))?;
        }
        place.check_unchanged(&PlaceShape::read(&provisioner, &mut stage, tenant.placement()).await?)?;
        check_reach(&own)?;
        check_children::<DB>(&mut conn, &own, tenant.id()).await?;
        for group in groups(&own) {
            erase::<DB>(&mut conn, &group, tenant.id()).await?;
        }
        let writer = RowWriter::<DB>::new(&mut conn, &tables, tenant.id(), Rewrite::default(), shared);
        write_staged::<DB>(&mut stage, writer, &AtomicBool::new(false)).await?;
        lock.check().await?;
        DB::run(&mut conn, "COMMIT".to_owned(), None).await.map_err(|e| change_error(&e, None))?;
        let recorded = provisioner.store.record_restore(&tenant, "tenant.restore", counts, actor).await;
        recorded.map_err(|error| {
            Error::new(
                ErrorKind::OutcomeUnknown,
                format!(
                    "the rows of the bundle are restored, but the event `tenant.restore` is not recorded ({error}); the audit log \
                     has `tenant.restore_begin`"
                ),
            )
            .with_source(error)
        })
    }
}
