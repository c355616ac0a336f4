//! [`Export`]: writes the data of a tenant into a bundle.

use std::fmt;
use std::fmt::Write as _;

use futures_util::TryStreamExt;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_tar::Header;

use super::bundle::{FORMAT, HEAD, Head, MANIFEST, MAX_WRITTEN, Manifest, TableHead, TableManifest};
use super::observed::{self, Operation};
use super::reach::check_outside;
use super::statement::{count, highest, rows, size};
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::{Provisioner, applied};
use crate::tenant::{Tenant, TenantId, TenantStore};

/// The size of a block of a tar archive.
const BLOCK: usize = 512;

/// Writes the data of a tenant into a bundle. [`Provisioner::export`] creates it.
///
/// All rows are as of one moment, while the tenant is used. The bundle has the tables with the tenant column, from any
/// placement, and the library's own: audit events, gauges and metered usage. It has no secret of the control plane: no API
/// keys, no domains. See [the format](crate::operations#the-format-of-a-bundle).
///
/// ```
/// use tenancy::operations::TenantData;
/// use tenancy::placement::Provisioner;
/// use tenancy::tenant::TenantId;
///
/// async fn export<DB: TenantData>(provisioner: &Provisioner<DB>, acme: &TenantId) -> Result<(), Box<dyn std::error::Error>> {
///     let mut bundle = Vec::new(); // or a file, or the body of a response
///     let manifest = provisioner.export(acme).write_to(&mut bundle).await?;
///     println!("{} tables, {} bytes", manifest.tables.len(), bundle.len());
///     Ok(())
/// }
/// ```
#[must_use = "call `write_to`"]
pub struct Export<'a, DB: TenantData> {
    provisioner: &'a Provisioner<DB>,
    tenant: TenantId,
}

impl<DB: TenantData> fmt::Debug for Export<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl<DB: TenantData> Provisioner<DB> {
    /// Exports the data of a tenant.
    pub fn export(&self, tenant: &TenantId) -> Export<'_, DB> {
        Export { provisioner: self, tenant: tenant.clone() }
    }
}

impl<DB: TenantData> Export<'_, DB> {
    /// Writes the bundle, row by row, and returns what it contains.
    ///
    /// The writer is flushed, not closed. After an error, discard what was written: without its last file it is no bundle.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`]; [`ErrorKind::PlacementMissing`] if the place of the tenant does not exist;
    /// [`ErrorKind::Misconfigured`] if a policy can hide rows from the owner of the tables; [`ErrorKind::Conflict`] if the
    /// tenant has rows outside of its schema; [`ErrorKind::InvalidInput`] if a row has more than 240 MiB, which no import would
    /// read; [`ErrorKind::StoreUnavailable`], also if the writer fails.
    pub async fn write_to(self, writer: impl AsyncWrite + Unpin + Send) -> Result<Manifest> {
        let tenant = self.tenant.clone();
        observed::operation(Operation::Export, &tenant, None, Box::pin(self.write_bundle(writer))).await
    }

    async fn write_bundle(self, mut writer: impl AsyncWrite + Unpin + Send) -> Result<Manifest> {
        let Self { provisioner, tenant } = self;
        let tenant = provisioner.store.by_id(&tenant).await?.ok_or_else(crate::context::unknown_tenant)?;
        let mut conn = DB::connect_to(&provisioner.places, tenant.placement()).await?;
        let tables = DB::data_tables(&mut conn, tenant.placement(), &provisioner.schema).await?;
        DB::set_tenant(&mut conn, Some(tenant.id())).await?;
        // Where the tenant was before a move, it is refused.
        DB::pass_fences(&mut conn).await?;
        check_outside(provisioner, &mut conn, &tenant).await?;
        DB::run(&mut conn, DB::BEGIN_SNAPSHOT.to_owned(), None).await.map_err(|e| database_error(&e))?;
        // On PostgreSQL the snapshot begins with the first statement after it.
        DB::read_number(&mut conn, "SELECT 1".to_owned() + DB::AS_NUMBER)
            .await
            .map_err(|e| database_error(&e))?;
        // Rows are deleted from a place only after their tenant has another one.
        let now = provisioner.store.by_id(tenant.id()).await?.ok_or_else(crate::context::unknown_tenant)?;
        if now.placement() != tenant.placement() {
            return Err(Error::new(
                ErrorKind::TenantMoving,
                "the tenant was moved meanwhile; export it again",
            ));
        }
        // The connection is not used again: closing it ends the transaction.
        write::<DB>(&mut conn, &tenant, &tables, &mut writer).await
    }
}

async fn write<DB: TenantData>(
    conn: &mut DB::Connection,
    tenant: &Tenant,
    tables: &[DataTable],
    writer: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<Manifest> {
    let applied = applied::list(conn).await?;
    let mut migrations: Vec<i64> = applied.iter().map(|migration| migration.version).collect();
    migrations.sort_unstable();
    let schema_version = migrations.last().copied();
    let mut heads = Vec::new();
    for (position, table) in tables.iter().enumerate() {
        let highest = match highest::<DB>(table, tenant.id()) {
            Some(sql) => Some(DB::read_number(conn, sql).await.map_err(|e| database_error(&e))?),
            None => None,
        };
        heads.push(TableHead { highest, ..TableHead::new(position, table) });
    }
    let head = Head {
        format: FORMAT,
        database: DB::NAME.to_owned(),
        tenant: tenant.id().to_string(),
        slug: tenant.slug().to_string(),
        name: tenant.name().to_owned(),
        plan: tenant.plan().to_owned(),
        migrations,
        tables: heads.clone(),
    };
    write_json(writer, HEAD, &head).await?;
    let mut manifest = Manifest { schema_version, tables: Vec::new() };
    for (table, head) in tables.iter().zip(heads) {
        let (rows, sha256) = write_rows::<DB>(conn, tenant, table, &head.file, writer).await?;
        manifest.tables.push(TableManifest { name: head.name, rows, sha256 });
    }
    write_json(writer, MANIFEST, &manifest).await?;
    write_all(writer, &[0; 2 * BLOCK]).await?;
    writer.flush().await.map_err(|e| unwritable(&e))?;
    Ok(manifest)
}

/// Writes the file of a table. A tar archive has the size of a file before its contents, so the rows are measured first.
async fn write_rows<DB: TenantData>(
    conn: &mut DB::Connection,
    tenant: &Tenant,
    table: &DataTable,
    file: &str,
    writer: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<(u64, String)> {
    let failed = |e: &sqlx::Error| database_error(e);
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let expected = DB::read_number(conn, count::<DB>(table, tenant.id())).await.map_err(|e| failed(&e))?;
    let bytes = DB::read_number(conn, size::<DB>(table, tenant.id())).await.map_err(|e| failed(&e))?;
    let bytes = number(bytes) + number(expected);
    write_all(writer, header(file, bytes)?.as_bytes()).await?;
    let (mut count, mut written, mut hash) = (0_u64, 0_u64, Sha256::new());
    let mut all = DB::texts(conn, rows::<DB>(table, tenant.id()));
    while let Some(mut row) = all.try_next().await.map_err(|e| failed(&e))? {
        row.push('\n');
        if row.len() > MAX_WRITTEN {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "a row of `{}` has {} MiB in a bundle, and no import reads more than {}; store large values in files, or \
                     in several rows",
                    table.name,
                    row.len() >> 20,
                    MAX_WRITTEN >> 20
                ),
            ));
        }
        write_all(writer, row.as_bytes()).await?;
        hash.update(&row);
        count += 1;
        written += row.len() as u64;
    }
    if written != bytes || count != number(expected) {
        return Err(Error::new(
            ErrorKind::Database,
            format!(
                "the rows of `{}` changed while they were read as of one moment; export the tenant again",
                table.name
            ),
        ));
    }
    let padding = bytes.next_multiple_of(BLOCK as u64) - bytes;
    write_all(writer, &vec![0; usize::try_from(padding).unwrap_or(0)]).await?;
    Ok((count, hex(&hash.finalize())))
}

async fn write_json(
    writer: &mut (impl AsyncWrite + Unpin + Send),
    file: &str,
    value: &impl Serialize,
) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).expect("texts and numbers are always JSON");
    text.push(b'\n');
    write_all(writer, header(file, text.len() as u64)?.as_bytes()).await?;
    text.resize(text.len().next_multiple_of(BLOCK), 0);
    write_all(writer, &text).await
}

fn header(file: &str, bytes: u64) -> Result<Header> {
    let mut header = Header::new_gnu();
    header.set_path(file).map_err(|e| unwritable(&e))?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_cksum();
    Ok(header)
}

async fn write_all(writer: &mut (impl AsyncWrite + Unpin + Send), bytes: &[u8]) -> Result<()> {
    writer.write_all(bytes).await.map_err(|e| unwritable(&e))
}

fn unwritable(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::StoreUnavailable, "the bundle cannot be written").with_source(error.to_string())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
