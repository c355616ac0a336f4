//! [`Preflight`] for SQLite. It has no roles, no pooler and no row-level security, so only the tenant columns are
//! checked.

use sqlx::{Pool, Sqlite};
use tenancy_sql::{Dialect, Schema, TenantType};

use super::check::Preflight;
use super::tenant_column::{ColumnType, TenantColumn};
use crate::database::{ConnectionMode, Enforcement, database_error};
use crate::error::Result;

impl Preflight for Sqlite {
    type Accepted = ();

    async fn preflight(_: &Pool<Self>, _: Enforcement, _: ConnectionMode, _: &Schema, (): &()) -> Result<()> {
        Ok(())
    }

    async fn tenant_columns(pool: &Pool<Self>, schema: &Schema) -> Result<Vec<TenantColumn>> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND substr(m.name, 1, 8) <> 'tenancy_'",
        )
        .fetch_all(pool)
        .await
        .map_err(|e| database_error(&e))?;
        let is_tenant_column = |(table, column, _): &(String, String, String)| {
            schema
                .tenant_column(Dialect::Sqlite, table)
                .is_some_and(|tenant| tenant.eq_ignore_ascii_case(column))
        };
        let tenant_column = |(table, column, type_name): (String, String, String)| {
            let column_type = affinity(&type_name);
            TenantColumn { name: format!("{table}.{column}"), type_name, column_type }
        };
        Ok(rows.into_iter().filter(is_tenant_column).map(tenant_column).collect())
    }
}

/// <https://sqlite.org/datatype3.html#determination_of_column_affinity>
fn affinity(type_name: &str) -> ColumnType {
    let type_name = type_name.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| type_name.contains(word));
    if has(&["INT"]) {
        ColumnType::Stored(TenantType::BigInt)
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        ColumnType::Typed(TenantType::Text)
    } else if has(&["BLOB"]) {
        ColumnType::Stored(TenantType::Uuid)
    } else if ["", "ANY", "UUID"].contains(&type_name.as_str()) {
        ColumnType::Any
    } else {
        ColumnType::Numeric
    }
}
