//! Reads PostgreSQL's catalogue: tables and views, their columns, policies, parents, keys and indexes.
//!
//! It judges nothing, and returns the same facts to every role. `rls/` and `doctor/` each read the parts that they
//! need.

mod foreign_key;
mod index;
mod ownership;
mod policy;
mod reads;
mod relation;
mod shards;

use serde::de::DeserializeOwned;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::identifier::literal;

pub(crate) use self::foreign_key::{Action, ForeignKey};
pub(crate) use self::index::Index;
pub(crate) use self::ownership::{Ownership, Relations};
pub(crate) use self::policy::Policy;
pub(crate) use self::reads::Reads;
pub(crate) use self::relation::{Column, Relation, is_place};
pub(crate) use self::shards::{Shard, shards};

/// The query for every table and view. A row is a [`Relation`].
pub(crate) const RELATIONS: &str = include_str!("relations.sql");
/// The query for every index. A row is an [`Index`].
pub(crate) const INDEXES: &str = include_str!("indexes.sql");
/// The query for every foreign key. A row is a [`ForeignKey`].
pub(crate) const FOREIGN_KEYS: &str = include_str!("foreign_keys.sql");
/// The query for what each view reads. [`Reads`] takes its rows.
pub(crate) const READS: &str = include_str!("reads.sql");

/// A setting and its value.
pub(crate) type Setting = (&'static str, &'static str);

/// The statement that changes settings for the transaction. It returns no row, and needs no language.
///
/// Citus repeats a `SET LOCAL` on its workers, with all other statements of the same message.
pub(crate) fn set_local(settings: &[Setting]) -> String {
    let all: Vec<String> = settings
        .iter()
        .map(|(name, value)| format!("pg_catalog.set_config('{name}', '{value}', true) IS NULL"))
        .collect();
    format!("SELECT WHERE {}", all.join(" OR "))
}

/// Runs a query as one message, with changed settings.
///
/// The search path of that transaction is `pg_catalog` only. A name without a schema, in the query and in what
/// PostgreSQL prints, is one of PostgreSQL's own.
pub(crate) async fn rows<T: DeserializeOwned>(
    conn: &mut PgConnection,
    settings: &[Setting],
    sql: &str,
) -> sqlx::Result<Vec<T>> {
    const ALWAYS: [Setting; 4] = [
        ("search_path", "pg_catalog"),
        ("quote_all_identifiers", "off"),
        ("jit", "off"),
        ("client_min_messages", "error"),
    ];
    let settings = set_local(&[&ALWAYS, settings].concat());
    let sql = format!("{settings}; SELECT row_to_json(q)::text FROM (\n{sql}) q");
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await?;
    rows.iter().map(json).collect()
}

/// The schemas whose relations are read. The others are not locked, and cost nothing.
#[derive(Debug, Clone)]
pub(crate) enum Extent {
    Everything,
    /// Everything but the schemas of tenants, which are named by [`PlacementName::of`](crate::tenant::PlacementName).
    /// There can be thousands, all alike.
    WithoutPlaces,
    Schemas(Vec<String>),
    /// These tables and views only. Of the queries, only [`RELATIONS`] can be limited like this.
    Relations(Vec<i64>),
}

impl Extent {
    /// One of the queries of this module, within this extent.
    pub(crate) fn limit(&self, sql: &str) -> String {
        const EVERY_SCHEMA: &str = "n.nspname NOT LIKE 'pg\\_%'";
        const EVERY_TABLE: &str = "i.indrelid >= 16384";
        debug_assert_eq!(sql.matches(EVERY_SCHEMA).count(), 1, "{sql}");
        let condition = match self {
            Self::Everything => return sql.to_owned(),
            Self::WithoutPlaces => format!("{EVERY_SCHEMA} AND n.nspname !~ '^t_[0-9a-f]{{32}}$'"),
            Self::Schemas(names) => {
                let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
                format!("n.nspname = ANY (ARRAY[{}]::name[])", names.join(", "))
            }
            Self::Relations(oids) => {
                let oids: Vec<String> = oids.iter().map(ToString::to_string).collect();
                format!("{EVERY_SCHEMA} AND c.oid IN ({})", oids.join(", "))
            }
        };
        let tables = format!(
            "i.indrelid IN (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {condition})"
        );
        sql.replace(EVERY_SCHEMA, &condition).replace(EVERY_TABLE, &tables)
    }
}

/// The schemas of the search path, in which PostgreSQL finds a name without a schema. [`rows`] changes the path.
pub(crate) async fn search_path(conn: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    let sql = "SELECT pg_catalog.to_json(pg_catalog.current_schemas(false))::pg_catalog.text";
    json(&sqlx::raw_sql(sql).fetch_one(conn).await?)
}

fn json<T: DeserializeOwned>(row: &PgRow) -> sqlx::Result<T> {
    let text: &str = row.try_get(0)?;
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()))
}
