//! Fences: where a tenant is refused, and which tables that concerns. `postgres_fence.rs` has what PostgreSQL needs.

use std::time::Duration;

use super::sync::{EVENTS, Side};
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Placement, TenantId};

/// The key of the library's own tables, which are the same for the shared tables and for all schemas of a database.
const OWN: &str = "own tables";

/// Whether the library's own tables are moved. They stay where both places use the same.
pub(super) fn moves_own(source: &Placement, target: &Placement) -> bool {
    [source, target].iter().any(|place| matches!(place, Placement::Database { .. }))
}

/// The tables that are moved, by name, parents first.
pub(super) fn moved(tables: &[DataTable], source: &Placement, target: &Placement) -> Vec<String> {
    let own = moves_own(source, target);
    tables.iter().filter(|table| own || !table.own).map(|table| table.name.clone()).collect()
}

/// The table of fences of a place, in SQL.
fn table_of_fences(tables: &[DataTable]) -> Result<String> {
    let own = tables.iter().find(|table| table.own);
    own.map(|table| table.ident.replace(&table.name, "tenancy_fences")).ok_or_else(|| {
        Error::new(
            ErrorKind::Misconfigured,
            "the tables of `tenancy` do not exist beside the tables of the tenant; run `SqlStore::migrate` there first",
        )
    })
}

/// Lets statements on the tables of a place be refused. Nobody is refused yet.
pub(super) async fn prepare<DB: TenantData>(
    side: &mut Side<DB>,
    placement: &Placement,
    wait: Duration,
) -> Result<()> {
    let fences = table_of_fences(&side.tables)?;
    // The control plane adds events to the table beside the shared tables, for tenants in every place.
    let has_control_plane = !matches!(placement, Placement::Database { .. });
    let is_fenced = |table: &&DataTable| !(has_control_plane && table.name == EVENTS);
    let (own, tables): (Vec<&DataTable>, Vec<&DataTable>) =
        side.tables.iter().filter(is_fenced).partition(|table| table.own);
    DB::prepare_fence(&mut side.writer, &tables, &fences, &placement.to_string(), wait).await?;
    DB::prepare_fence(&mut side.writer, &own, &fences, OWN, wait).await
}

/// Refuses the tenant in a place, or admits it again.
pub(super) async fn set<DB: TenantData>(
    side: &mut Side<DB>,
    tenant: &TenantId,
    placement: &Placement,
    own: bool,
    refused: bool,
) -> Result<()> {
    // A schema that was dropped has no fence.
    if !side.tables.iter().any(|table| table.own) && !refused {
        return Ok(());
    }
    let fences = table_of_fences(&side.tables)?;
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let tenant = literal(&tenant.to_string());
    for key in [placement.to_string(), OWN.to_owned()].iter().take(if own { 2 } else { 1 }) {
        let key = literal(key);
        let sql = if refused {
            format!(
                "INSERT INTO {fences} (tenant_id, place) VALUES ({tenant}, {key}) ON CONFLICT (tenant_id, place) DO NOTHING"
            )
        } else {
            format!("DELETE FROM {fences} WHERE tenant_id = {tenant} AND place = {key}")
        };
        DB::run(&mut side.writer, sql, None).await.map_err(|e| database_error(&e))?;
    }
    Ok(())
}

/// Removes the fences of a tenant that does not exist any more.
pub(super) async fn clear<DB: TenantData>(
    conn: &mut DB::Connection,
    tables: &[DataTable],
    tenant: &TenantId,
) -> Result<()> {
    if !tables.iter().any(|table| table.own) {
        return Ok(());
    }
    let tenant = tenant.to_string().replace('\'', "''");
    let sql = format!("DELETE FROM {} WHERE tenant_id = '{tenant}'", table_of_fences(tables)?);
    DB::run(conn, sql, None).await.map(|_| ()).map_err(|e| database_error(&e))
}
