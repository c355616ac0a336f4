//! Reads the tenant columns of a PostgreSQL database, with their types.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, Pool, Postgres, Row};
use tenancy_sql::{Dialect, Schema, TenantType};

use super::tenant_column::{ColumnType, TenantColumn};
use crate::database::database_error;
use crate::error::Result;

pub(super) async fn tenant_columns(pool: &Pool<Postgres>, schema: &Schema) -> Result<Vec<TenantColumn>> {
    // Each table can have another tenant column. Simple queries, because a pooler may be in front of the database.
    let tables = rows(pool, TABLES.to_owned()).await?;
    let wanted: BTreeMap<&str, &str> = tables
        .iter()
        .filter_map(|[table, qualified]| {
            // A table can be declared with or without its schema.
            schema.tenant_column(Dialect::Postgres, qualified)?;
            Some((qualified.as_str(), schema.tenant_column(Dialect::Postgres, table)?))
        })
        .collect();
    let names: BTreeSet<&str> = wanted.values().copied().collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // `Schema` accepts only plain identifiers, so the names need no quoting.
    let names = names.into_iter().collect::<Vec<_>>().join("', '");
    let columns = rows(pool, format!("{TYPED_COLUMNS} AND a.attname IN ('{names}')")).await?;
    let tenant_column = |[table, column, type_name]: [String; 3]| {
        let tenant_type = match type_name.as_str() {
            "uuid" => TenantType::Uuid,
            "bigint" | "integer" => TenantType::BigInt,
            _ => TenantType::Text,
        };
        let is_tenant_column = wanted.get(table.as_str()) == Some(&column.as_str());
        is_tenant_column.then(|| TenantColumn {
            name: format!("{table}.{column}"),
            type_name,
            column_type: ColumnType::Typed(tenant_type),
        })
    };
    Ok(columns.into_iter().filter_map(tenant_column).collect())
}

/// The tables that the role can use: the name in a statement, and the name with its schema.
const TABLES: &str = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname::text \
    ELSE n.nspname || '.' || c.relname END, n.nspname || '.' || c.relname \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND left(c.relname, 8) <> 'tenancy_' \
    AND (has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(c.oid, 'DELETE'))";

/// Columns that can contain a tenant id: the table with its schema, the column, and its type.
const TYPED_COLUMNS: &str = "SELECT n.nspname || '.' || c.relname, a.attname::text, \
    format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) \
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_type t ON t.oid = a.atttypid \
    WHERE a.attnum > 0 AND NOT a.attisdropped AND coalesce(nullif(t.typbasetype, 0), t.oid) \
    IN ('uuid'::regtype, 'int8'::regtype, 'int4'::regtype, 'text'::regtype, 'varchar'::regtype)";

/// The rows of a query whose columns are all text.
async fn rows<const N: usize>(pool: &Pool<Postgres>, sql: String) -> Result<Vec<[String; N]>> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(pool).await.map_err(|e| database_error(&e))?;
    rows.iter()
        .map(|row| {
            let mut texts = std::array::from_fn(|_| String::new());
            for (index, text) in texts.iter_mut().enumerate() {
                *text = row.try_get(index).map_err(|e| database_error(&e))?;
            }
            Ok(texts)
        })
        .collect()
}
