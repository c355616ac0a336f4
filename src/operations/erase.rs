//! Deletes the rows of a tenant from a table, in batches that do not lock it.

use super::circle::delete_together;
use super::statement::{delete_all, delete_some};
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::error::Result;
use crate::tenant::TenantId;

/// How often the leaves of a table that refers to itself are deleted, before all rows are deleted by one statement.
const PASSES: u32 = 1000;

/// Deletes all rows of a tenant, each batch in a transaction of its own. Returns how many.
pub(super) async fn delete_rows<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
    batch: u32,
) -> Result<u64> {
    let has_leaves = table.refers_to_itself();
    let some = delete_some::<DB>(table, tenant, batch, has_leaves);
    let (mut passes, mut deleted) = (0, 0);
    loop {
        let rows = delete::<DB>(conn, table, tenant, some.clone(), None).await?;
        (passes, deleted) = (passes + 1, deleted + rows);
        if rows == 0 || (has_leaves && passes > PASSES) {
            break;
        }
    }
    // Rows that the batches do not find go together: those that refer to each other in a circle, and those with NULL in
    // their key.
    deleted += if has_leaves {
        delete_together::<DB>(conn, &[table], tenant).await?.iter().sum::<u64>()
    } else {
        delete::<DB>(conn, table, tenant, delete_all::<DB>(table, tenant), None).await?
    };
    Ok(deleted)
}

/// Runs a statement that deletes, in a transaction of its own.
pub(super) async fn delete<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
    sql: String,
    parameter: Option<&str>,
) -> Result<u64> {
    let failed = |e: sqlx::Error| table.failed("deleted", &e);
    DB::run(conn, DB::BEGIN.to_owned(), None).await.map_err(failed)?;
    let deleted = async {
        let allow = DB::ALLOW_DELETES.filter(|_| table.own);
        if let Some(allow) = allow {
            DB::run(conn, allow.to_owned(), Some(&tenant.to_string())).await?;
        }
        let deleted = DB::run(conn, sql, parameter).await?;
        if let Some(forbid) = DB::FORBID_DELETES.filter(|_| allow.is_some()) {
            DB::run(conn, forbid.to_owned(), Some(&tenant.to_string())).await?;
        }
        Ok(deleted)
    };
    let deleted: sqlx::Result<u64> = deleted.await;
    let end = if deleted.is_ok() { "COMMIT" } else { "ROLLBACK" };
    DB::run(conn, end.to_owned(), None).await.map_err(failed)?;
    deleted.map_err(failed)
}
