//! What an operation on the rows of a tenant would leave out or change beside them: rows in tables without the tenant
//! column, and rows outside of the tenant's schema.

use super::statement::{count, of_tenant};
use super::table::{ChildTable, DataTable};
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::Provisioner;
use crate::tenant::{Placement, Tenant, TenantId};

/// Why rows of these tables cannot be deleted: a table without the tenant column refers to some. The tenant is set.
pub(super) async fn referring<DB: TenantData>(
    conn: &mut DB::Connection,
    tables: &[DataTable],
    tenant: &TenantId,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for table in tables {
        for child in &table.children {
            let (name, parent) = (&child.name, &table.name);
            if child.hidden {
                found.push(format!(
                    "`{name}` has no tenant column, its foreign key refers to `{parent}`, and its rows cannot be counted, because \
                     row-level security or a missing privilege hides them; add the tenant column to the table and to the key"
                ));
                continue;
            }
            let rows = DB::read_number(conn, count_one::<DB>(table, child, tenant)).await;
            if rows.map_err(|e| table.failed("counted", &e))? > 0 {
                found.push(format!(
                    "`{name}` has no tenant column, and has rows that refer to rows of the tenant in `{parent}`: they would be \
                     changed or deleted with those, or prevent it; add the tenant column to the table and to the key, or delete \
                     these rows before"
                ));
            }
        }
    }
    Ok(found)
}

/// Refuses tables of which a deleted row would change a table without the tenant column. The tenant is set.
pub(super) async fn check_children<DB: TenantData>(
    conn: &mut DB::Connection,
    tables: &[DataTable],
    tenant: &TenantId,
) -> Result<()> {
    refuse(ErrorKind::Misconfigured, referring::<DB>(conn, tables, tenant).await?)
}

/// Fails with the first reason.
fn refuse(kind: ErrorKind, found: Vec<String>) -> Result<()> {
    found.into_iter().next().map_or(Ok(()), |why| Err(Error::new(kind, why)))
}

/// Where a tenant with a schema of its own has rows outside of it: a statement can name the schema of another table. The
/// tenant is set, and the fences are passed.
pub(super) async fn outside<DB: TenantData>(
    provisioner: &Provisioner<DB>,
    conn: &mut DB::Connection,
    tenant: &Tenant,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if !matches!(tenant.placement(), Placement::Schema { .. }) {
        return Ok(found);
    }
    // A move copies rows from one to the other.
    let moves = provisioner.unfinished_moves().await?;
    if moves.iter().any(|unfinished| unfinished.tenant == *tenant.id()) {
        return Ok(found);
    }
    for table in DB::data_tables(conn, &Placement::Shared, &provisioner.schema).await? {
        if table.own {
            continue;
        }
        let (ident, place) = (&table.ident, tenant.placement());
        match DB::read_number(conn, count::<DB>(&table, tenant.id())).await {
            Ok(0) => {}
            Ok(_) => found.push(format!(
                "`{ident}` has rows of the tenant and is outside of the {place}; move them into a table of the schema, or delete \
                 them"
            )),
            Err(error @ sqlx::Error::Database(_)) => found.push(format!(
                "`{ident}` is outside of the {place} and has the tenant column, and its rows cannot be counted: {}",
                database_error(&error)
            )),
            Err(error) => return Err(database_error(&error)),
        }
    }
    Ok(found)
}

/// Refuses a tenant with rows outside of its schema, as [`outside`].
pub(super) async fn check_outside<DB: TenantData>(
    provisioner: &Provisioner<DB>,
    conn: &mut DB::Connection,
    tenant: &Tenant,
) -> Result<()> {
    refuse(ErrorKind::Conflict, outside(provisioner, conn, tenant).await?)
}

/// 1 if a row of the child refers to a row of the tenant, and 0 otherwise.
fn count_one<DB: TenantData>(table: &DataTable, child: &ChildTable, tenant: &TenantId) -> String {
    // Where the columns are not known, any row counts.
    let pairs = child.columns.iter().map(|(own, parent)| format!("child.{own} = t.{parent}"));
    let pairs: Vec<String> = ["1 = 1".to_owned()].into_iter().chain(pairs).collect();
    format!(
        "SELECT count(*) FROM (SELECT 1 FROM {} AS child JOIN {} AS t ON {} WHERE {} LIMIT 1) AS one",
        child.ident,
        table.ident,
        pairs.join(" AND "),
        of_tenant::<DB>(table, tenant)
    )
}
