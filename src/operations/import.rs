//! [`Import`]: creates a tenant from a bundle.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::io::AsyncRead;

use super::bundle::{Head, TableHead, malformed};
use super::observed::{self, Operation};
use super::read::BundleReader;
use super::rewrite::Rewrite;
use super::row_writer::{RowWriter, begin};
use super::stage::{stage_rows, write_staged};
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::context::Actor;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::Provisioner;
use crate::tenant::{NewTenant, Placement, Tenant, TenantId, TenantStore};

/// A tenant that was created from a bundle.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Imported {
    /// The tenant, which is open.
    pub tenant: Arc<Tenant>,
    /// The number of rows, by table.
    pub rows: Vec<(String, u64)>,
    /// Whether rows have new ids, because the ids of their table are unique over all tenants.
    ///
    /// Only primary keys and declared foreign keys have the new ids. An id in a text, in JSON or in another system is the
    /// old one.
    pub new_ids: bool,
}

impl<DB: TenantData> Provisioner<DB> {
    /// Creates a tenant with the rows of a bundle, records `tenant.import`, and opens it.
    ///
    /// The bundle is of the same kind of database, and its place had the same migrations. Where the primary key of a table
    /// lacks the tenant column, its ids are unique over all tenants: in the shared tables the rows get new ids, and
    /// declared foreign keys follow. Gauges are imported; audit events and metered usage stay with the tenant that they
    /// are of. Seeds do not run.
    ///
    /// The bundle is read to its end first, into a temporary table. Then all rows are written in one transaction. If it
    /// fails, the new tenant is removed again. Import bundles that you trust: the values of rows and gauges are taken as they
    /// are.
    ///
    /// ```
    /// use tenancy::context::Actor;
    /// use tenancy::operations::TenantData;
    /// use tenancy::placement::Provisioner;
    /// use tenancy::tenant::{NewTenant, Slug};
    ///
    /// async fn copy<DB: TenantData>(provisioner: &Provisioner<DB>, bundle: &[u8]) -> tenancy::Result<()> {
    ///     let new = NewTenant::new(Slug::parse("acme-copy")?, "Acme (copy)", "free");
    ///     let imported = provisioner.import(bundle, new, &Actor::user("ada")).await?;
    ///     println!("{} tables", imported.rows.len());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if this is no complete bundle, or one of other migrations or tables; the text names
    /// them. [`ErrorKind::Conflict`] if the id or the slug of the tenant is taken, or a row conflicts with one of another
    /// tenant. [`ErrorKind::Misconfigured`] if new ids cannot be made. [`ErrorKind::Retryable`] if another process works on
    /// the data of a tenant of this id. Otherwise as [`create`](Self::create).
    pub async fn import(
        &self,
        bundle: impl AsyncRead + Unpin + Send,
        tenant: NewTenant,
        actor: &Actor,
    ) -> Result<Imported> {
        self.import_unless(&AtomicBool::new(false), bundle, tenant, actor).await
    }

    /// As [`import`](Self::import). Undoes what it did once `stop` is set, unless all rows are written.
    pub(crate) async fn import_unless(
        &self,
        stop: &AtomicBool,
        bundle: impl AsyncRead + Unpin + Send,
        tenant: NewTenant,
        actor: &Actor,
    ) -> Result<Imported> {
        let id = tenant.clone().into_tenant().id().clone();
        let work = Box::pin(self.import_as(&id, stop, bundle, tenant, actor));
        observed::operation(Operation::Import, &id, None, work).await
    }

    async fn import_as(
        &self,
        id: &TenantId,
        stop: &AtomicBool,
        bundle: impl AsyncRead + Unpin + Send,
        tenant: NewTenant,
        actor: &Actor,
    ) -> Result<Imported> {
        let (reader, head) = BundleReader::open(bundle, DB::NAME).await?;
        self.check_migrations(&head)?;
        let _lock = DB::lock_tenant(&self.places, id).await?;
        if self.store.by_id(id).await?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, "a tenant with this id exists; choose another"));
        }
        // From here on the tenant is one of this import.
        let tenant = self.insert_closed(tenant).await?;
        let written = async {
            let tenant = self.prepare_closed(tenant).await?;
            let written = self.write_bundle(reader, &head, &tenant, stop).await?;
            Ok((tenant, written))
        };
        let (tenant, (mut conn, rows, new_ids)) = match written.await {
            Ok(written) => written,
            Err(error) => {
                return Err(match self.remove_closed(id).await {
                    Ok(()) => error,
                    Err(left) => left_over(&error, &format!("could not be removed again ({left})")),
                });
            }
        };
        // After an error nobody knows whether the rows are there.
        let committed = DB::run(&mut conn, "COMMIT".to_owned(), None).await;
        committed.map_err(|e| left_over(&database_error(&e), "can have rows"))?;
        let written = rows.iter().map(|(_, rows)| rows).sum();
        self.store.record_import(&tenant, written, actor).await?;
        let tenant = self.open_closed(&tenant).await?;
        Ok(Imported { tenant, rows, new_ids })
    }

    /// Removes a tenant that was created for a bundle that could not be imported.
    async fn remove_closed(&self, id: &TenantId) -> Result<()> {
        let tenant = self.store.by_id(id).await?;
        // A place of the same name that this import did not create belongs to somebody else.
        if let Some(tenant) = tenant
            && self.store.steps(id).await?.contains_key("create")
        {
            self.drop_place(tenant.placement(), id).await?;
        }
        self.store.remove_tenant(id, None, |_| ((), None)).await
    }

    /// A bundle belongs to a version of the application's tables.
    pub(super) fn check_migrations(&self, head: &Head) -> Result<()> {
        let mut own: Vec<i64> = self.versions().collect();
        own.sort_unstable();
        if own == head.migrations {
            return Ok(());
        }
        let version = |all: &[i64]| {
            all.last().map_or_else(|| "no migration".to_owned(), |last| format!("the migration {last}"))
        };
        let text = if own.last() == head.migrations.last() {
            "the bundle is of other migrations than those of this program; import it with the program that exported it"
                .to_owned()
        } else {
            format!(
                "the bundle is of {}, and this program has {}; import it with a program of the same migrations",
                version(&head.migrations),
                version(&own)
            )
        };
        Err(Error::new(ErrorKind::InvalidInput, text))
    }

    /// Reads the whole bundle, and writes the rows in a transaction that is still open.
    async fn write_bundle(
        &self,
        reader: BundleReader<impl AsyncRead + Unpin + Send>,
        head: &Head,
        tenant: &Tenant,
        stop: &AtomicBool,
    ) -> Result<(DB::Connection, Vec<(String, u64)>, bool)> {
        let mut stage = DB::connect_to(&self.places, tenant.placement()).await?;
        let tables = self.tables_of(&mut stage, head, tenant).await?;
        // A trigger is found before the bundle is read.
        begin_copy::<DB>(&mut stage, &tables, false).await?;
        let counts = stage_rows::<DB>(&mut stage, &tables, reader).await?;
        let mut conn = DB::connect_to(&self.places, tenant.placement()).await?;
        DB::set_tenant(&mut conn, Some(tenant.id())).await?;
        if self.tables_of(&mut conn, head, tenant).await? != tables {
            return Err(Error::new(
                ErrorKind::MigrationPending,
                "the tables were changed while the bundle was read; import the bundle again",
            ));
        }
        begin_copy::<DB>(&mut conn, &tables, false).await?;
        begin::<DB>(&mut conn).await?;
        let shared = *tenant.placement() == Placement::Shared;
        let rewrite = if shared {
            Rewrite::new::<DB>(&mut conn, &tables, tenant.id()).await?
        } else {
            Rewrite::default()
        };
        let new_ids = rewrite.changes_ids();
        let writer = RowWriter::<DB>::new(&mut conn, &tables, tenant.id(), rewrite, shared);
        let written = tables.iter().zip(counts).enumerate().filter(|(at, _)| writer.is_written(*at));
        let written = written.map(|(_, ((table, _), count))| (table.name.clone(), count)).collect();
        write_staged::<DB>(&mut stage, writer, stop).await?;
        Ok((conn, written, new_ids))
    }

    async fn tables_of(
        &self,
        conn: &mut DB::Connection,
        head: &Head,
        tenant: &Tenant,
    ) -> Result<Vec<(DataTable, TableHead)>> {
        matched(head, DB::data_tables(conn, tenant.placement(), &self.schema).await?)
    }
}

/// The error of an import whose tenant is still there.
fn left_over(error: &Error, why: &str) -> Error {
    Error::new(
        error.kind(),
        format!("{error}; the new tenant is not open, and {why}: delete it, and import the bundle again"),
    )
    .with_source(error.to_string())
}

/// Prepares a connection for rows of a bundle. Refuses tables with triggers, which would change or repeat what is written.
pub(super) async fn begin_copy<DB: TenantData>(
    conn: &mut DB::Connection,
    tables: &[(DataTable, TableHead)],
    deletes: bool,
) -> Result<()> {
    let tables: Vec<DataTable> = tables.iter().map(|(table, _)| table.clone()).collect();
    if let Some(trigger) = DB::triggers(conn, &tables, deletes).await?.first() {
        let advice = DB::TRIGGER_ADVICE;
        return Err(Error::new(
            ErrorKind::Misconfigured,
            format!("{trigger} would run again for rows of the bundle; {advice}"),
        ));
    }
    DB::run(conn, DB::BEGIN_COPY.to_owned(), None).await.map(|_| ()).map_err(|e| database_error(&e))
}

/// The tables of the place, in the order of the bundle.
pub(super) fn matched(head: &Head, mut tables: Vec<DataTable>) -> Result<Vec<(DataTable, TableHead)>> {
    let mut matched = Vec::new();
    for file in &head.tables {
        let Some(at) = tables.iter().position(|table| table.name == file.name) else {
            return Err(malformed(format!("the place of the tenant has no table `{}`", file.name)));
        };
        let mut table = tables.swap_remove(at);
        // The columns of the bundle can be in another order.
        let order: Option<Vec<usize>> = file
            .columns
            .iter()
            .map(|name| table.columns.iter().position(|column| column.name == *name))
            .collect();
        let order = order.filter(|order| {
            // Each column once.
            let columns: BTreeSet<&usize> = order.iter().collect();
            order.len() == table.columns.len() && columns.len() == order.len()
        });
        let Some(order) = order else {
            return Err(malformed(format!("`{}` has other columns in the place of the tenant", file.name)));
        };
        if let Some(key) = &mut table.key {
            *key = key.iter().filter_map(|at| order.iter().position(|column| column == at)).collect();
        }
        table.columns = order.iter().map(|at| table.columns[*at].clone()).collect();
        matched.push((table, file.clone()));
    }
    match tables.first() {
        Some(table) => Err(malformed(format!("it has no table `{}`", table.name))),
        None => Ok(matched),
    }
}

impl<R: AsyncRead + Unpin> fmt::Debug for BundleReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BundleReader")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::table::DataColumn;

    #[test]
    fn a_bundle_has_each_column_of_a_table_once() {
        let column = |name: &str| DataColumn {
            name: name.to_owned(),
            ident: name.to_owned(),
            r#type: "text".to_owned(),
            not_null: false,
            identity: false,
        };
        let table = DataTable {
            columns: ["id", "title", "body"].map(column).to_vec(),
            key: Some(vec![0]),
            key_has_tenant: true,
            ..DataTable::named("notes")
        };
        let matched = |columns: &[&str]| {
            let columns = columns.iter().map(|name| (*name).to_owned()).collect();
            let head = Head {
                format: 1,
                database: String::new(),
                tenant: String::new(),
                slug: String::new(),
                name: String::new(),
                plan: String::new(),
                migrations: Vec::new(),
                tables: vec![TableHead { columns, ..TableHead::new(0, &table) }],
            };
            matched(&head, vec![table.clone()])
        };
        let (other_order, _) = matched(&["body", "id", "title"]).unwrap().remove(0);
        assert_eq!((other_order.key, &*other_order.columns[1].name), (Some(vec![1]), "id"));
        for wrong in [
            &["id", "body", "body"][..],
            &["id", "title"],
            &["id", "title", "body", "body"],
            &["id", "title", "x"],
        ] {
            assert_eq!(matched(wrong).unwrap_err().kind(), ErrorKind::InvalidInput, "{wrong:?}");
        }
    }
}
