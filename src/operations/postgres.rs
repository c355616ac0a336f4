//! [`TenantData`] for PostgreSQL.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Connection, Row};
use tenancy_sql::Schema;

use super::export::hex;
use super::postgres_beside::{self, all, named_places};
use super::postgres_numbers::send;
use super::table::{DataColumn, DataTable, Link, parents_first};
use super::tenant_data::TenantData;
use super::{postgres_children, postgres_fence, postgres_numbers};
use crate::database::{Driver, database_error, own_grants};
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::catalog::{
    Action, Extent, FOREIGN_KEYS, ForeignKey, INDEXES, Index, Ownership, RELATIONS, Relation, Relations,
    search_path,
};
use crate::isolation::quoted;
use crate::placement::{PostgresPlaces, TenantLock, try_lock};
use crate::tenant::{Placement, TenantId};

/// The text of a value is the same on every server.
const SETTINGS: &str = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; SET TimeZone = 'UTC'; \
    SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmlbinary = 'base64'; SET lc_monetary = 'C'; \
    SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET client_min_messages = 'error'";

/// The table of each partition.
const ROOTS: &str = "SELECT oid::bigint AS part, pg_partition_root(oid)::oid::bigint AS root FROM pg_class \
    WHERE relispartition AND relkind IN ('r', 'p', 'f')";

#[derive(Deserialize)]
struct Partition {
    part: i64,
    root: i64,
}

impl TenantData for Postgres {
    const EACH_ROW: &'static str = "FROM jsonb_array_elements($1::text::jsonb) AS r(value) WHERE true";
    const OVERRIDING: &'static str = "OVERRIDING SYSTEM VALUE ";
    const AS_NUMBER: &'static str = "::bigint";
    const BEGIN_SNAPSHOT: &'static str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

    const DELETES_IN_WITH: bool = true;

    const CREATE_LINKS: &'static str = "DROP TABLE IF EXISTS pg_temp.tenancy_links; \
        CREATE TEMPORARY TABLE tenancy_links (position bigserial, of_table integer NOT NULL, value jsonb NOT NULL)";
    const STORED_ROW: &'static str = "to_json(ARRAY(SELECT jsonb_array_elements_text(r.value)))::text";
    const BEGIN: &'static str = "BEGIN";
    const BEGIN_IMPORT: &'static str = "BEGIN; SET CONSTRAINTS ALL DEFERRED";

    const BEGIN_COPY: &'static str = "SET app.tenancy_copy = 'on'";
    const TRIGGER_ADVICE: &'static str = "give it the condition `WHEN (current_setting('app.tenancy_copy', true) IS DISTINCT FROM 'on')`, or disable it";

    // A policy of the library's migrations allows it to the owner.
    const ALLOW_DELETES: Option<&'static str> = None;
    const FORBID_DELETES: Option<&'static str> = None;

    async fn connect_to(places: &PostgresPlaces, placement: &Placement) -> Result<PgConnection> {
        let mut conn = places.connect_to(placement).await?;
        send(&mut conn, SETTINGS.to_owned()).await?;
        Ok(conn)
    }

    async fn lock_tenant(places: &PostgresPlaces, tenant: &TenantId) -> Result<TenantLock> {
        places.lock_tenant(tenant).await
    }

    async fn data_tables(
        conn: &mut PgConnection,
        placement: &Placement,
        schema: &Schema,
    ) -> Result<Vec<DataTable>> {
        let sees_all = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user";
        let sees_all = sqlx::raw_sql(sees_all).fetch_one(&mut *conn).await;
        let sees_all: bool = sees_all.and_then(|row| row.try_get(0)).map_err(|e| database_error(&e))?;
        let own_schema = own_schema(conn).await?;
        let path = search_path(conn).await.map_err(|e| database_error(&e))?;
        let extent = match placement {
            Placement::Schema { name } => Extent::Schemas([&[name.to_string()], &*own_schema].concat()),
            _ => Extent::WithoutPlaces,
        };
        let relations = Relations::<Relation>::new(all(conn, &extent.limit(RELATIONS)).await?, &path);
        let indexes: Vec<Index> = all(conn, &extent.limit(INDEXES)).await?;
        let keys: Vec<ForeignKey> = all(conn, &extent.limit(FOREIGN_KEYS)).await?;
        let places = match placement {
            Placement::Shared => named_places(conn, &own_schema).await?,
            _ => Vec::new(),
        };
        let mut tables = Vec::new();
        let mut owned = Vec::new();
        let has_tenant = |one: &&Relation| matches!(relations.ownership(one, schema), Ownership::Tenant(_));
        let all_owned: Vec<i64> = relations.values().filter(has_tenant).map(|one| one.oid).collect();
        for relation in relations.values().filter(|one| one.is_table() && !one.partition) {
            let Ownership::Tenant(column) = relations.ownership(relation, schema) else { continue };
            if places.contains(&relation.schema) {
                continue;
            }
            let own = own_grants(&relation.name).is_some() && own_schema.contains(&relation.schema);
            // Beside its own tables, the library's schema can have the shared tables of the application.
            if !own && matches!(placement, Placement::Schema { name } if *name.as_str() != *relation.schema) {
                continue;
            }
            if relation.kind == 'f' {
                return Err(misconfigured(format!(
                    "the foreign table `{}` has rows of tenants; they cannot be read or deleted as of one moment, so \
                     move them into a table, or drop the foreign table",
                    relation.qualified()
                )));
            }
            if let Some(why) = relation.hides_rows(column).filter(|_| !sees_all) {
                return Err(misconfigured(format!(
                    "the owner of `{}` may not see all rows of the tenant: {why}; run `tenancy policies --apply`, or connect \
                     as a role with BYPASSRLS",
                    relation.qualified()
                )));
            }
            owned.push(relation);
            tables.push(data_table(relation, &column.name, &indexes, own));
        }
        check_names(&tables)?;
        // A key of a partition alone, and one that refers to a partition, are of their table.
        let parts: Vec<Partition> = all(conn, ROOTS).await?;
        let roots: BTreeMap<i64, i64> = parts.iter().map(|one| (one.part, one.root)).collect();
        let root = |oid: i64| roots.get(&oid).copied().unwrap_or(oid);
        for (table, relation) in tables.iter_mut().zip(&owned) {
            for key in keys.iter().filter(|key| root(key.child) == relation.oid) {
                let parent = owned.iter().find(|parent| parent.oid == root(key.parent));
                let Some(parent) = parent else { continue };
                let columns = key.columns.iter().map(|(child, parent)| (quoted(child), quoted(parent)));
                let columns = columns.filter(|(child, _)| *child != table.tenant).collect();
                let has_tenant = key.columns.iter().any(|(child, _)| quoted(child) == table.tenant);
                let reaches_others = !has_tenant && !matches!(key.on_delete, Action::No | Action::Restrict);
                let parent = if parent.visible { parent.name.clone() } else { name_of(parent) };
                table.links.push(Link { parent, columns, required: !key.nullable, reaches_others });
            }
        }
        postgres_children::add(conn, &mut tables, &owned, &all_owned).await?;
        Ok(parents_first(tables))
    }

    async fn others(conn: &mut PgConnection, placement: &Placement, schema: &Schema) -> Result<Vec<String>> {
        postgres_beside::others(conn, placement, schema).await
    }

    async fn uncopied(conn: &mut PgConnection, tables: &[DataTable]) -> Result<Vec<String>> {
        postgres_beside::uncopied(conn, tables).await
    }

    async fn dependents(conn: &mut PgConnection, placement: &Placement) -> Result<Vec<String>> {
        postgres_beside::dependents(conn, placement).await
    }

    async fn triggers(conn: &mut PgConnection, tables: &[DataTable], deletes: bool) -> Result<Vec<String>> {
        postgres_beside::triggers(conn, tables, deletes).await
    }

    async fn set_tenant(conn: &mut PgConnection, tenant: Option<&TenantId>) -> Result<()> {
        let set = sqlx::query("SELECT set_config('app.tenant_id', $1, false)");
        let set = set.bind(tenant.map(ToString::to_string).unwrap_or_default());
        set.execute(conn).await.map(|_| ()).map_err(|e| database_error(&e))
    }

    async fn advance_numbers(
        conn: &mut PgConnection,
        table: &DataTable,
        tenant: &TenantId,
        shared: bool,
    ) -> Result<()> {
        postgres_numbers::advance(conn, table, tenant, shared).await
    }

    async fn copy_numbers(
        source: &mut PgConnection,
        from: &DataTable,
        target: &mut PgConnection,
        to: &DataTable,
        shared: bool,
    ) -> Result<()> {
        postgres_numbers::copy(source, from, target, to, shared).await
    }

    async fn reserve_numbers(
        conn: &mut PgConnection,
        table: &DataTable,
        column: &DataColumn,
        highest: i64,
    ) -> Result<i64> {
        postgres_numbers::reserve(conn, table, column, highest).await
    }

    async fn unfenceable(
        places: &PostgresPlaces,
        conn: &mut PgConnection,
        placement: &Placement,
        tables: &[DataTable],
    ) -> Result<Option<String>> {
        postgres_fence::unfenceable(places, conn, placement, tables).await
    }

    async fn prepare_fence(
        conn: &mut PgConnection,
        tables: &[&DataTable],
        fences: &str,
        place: &str,
        wait: Duration,
    ) -> Result<()> {
        postgres_fence::prepare(conn, tables, fences, place, wait).await
    }

    async fn wait_for_older(conn: &mut PgConnection, wait: Duration) -> Result<()> {
        postgres_fence::wait_for_older(conn, wait).await
    }

    async fn hold_writer(conn: &mut PgConnection, key: String) -> Result<()> {
        if try_lock(conn, &format!("tenancy writer {key}"), 20).await? {
            return Ok(());
        }
        let text = "a statement of an operation that was stopped is still in work on the rows of this tenant; try again later";
        Err(Error::new(ErrorKind::Retryable, text))
    }

    async fn pass_fences(conn: &mut PgConnection) -> Result<()> {
        send(conn, "SET app.tenancy_move = 'on'".to_owned()).await
    }

    fn fingerprint(row: &str) -> String {
        format!("encode(sha256(convert_to({row}, 'UTF8')), 'hex')")
    }

    fn fingerprint_of(row: &str) -> String {
        hex(&Sha256::digest(row))
    }

    fn digests(row: &str, rows: &str) -> Option<String> {
        // A value has at most 1 GB, which the hashes of 33 million rows fill: 256 groups have room for 8 billion.
        Some(format!(
            "SELECT to_json(ARRAY[count(*)::text, encode(sha256(string_agg(r.hash, ''::bytea ORDER BY r.hash)), 'hex')])::text \
             FROM (SELECT sha256(convert_to({row}, 'UTF8')) AS hash {rows}) AS r \
             GROUP BY get_byte(r.hash, 0) ORDER BY get_byte(r.hash, 0)"
        ))
    }

    async fn drop_place(places: &PostgresPlaces, placement: &Placement) -> Result<()> {
        places.drop_place(placement).await
    }

    fn is_whole_number(r#type: &str) -> bool {
        matches!(r#type, "smallint" | "integer" | "bigint")
    }

    fn is_tenant(column: &str, r#type: &str, tenant: &TenantId) -> String {
        format!("{column} = {}", Self::tenant_value(r#type, tenant))
    }

    fn tenant_value(r#type: &str, tenant: &TenantId) -> String {
        format!("'{}'::{}", tenant.to_string().replace('\'', "''"), r#type)
    }

    fn text_of(column: &str) -> String {
        format!("{column}::text")
    }

    fn is_value(_: &str) -> bool {
        // A cast refuses what it cannot read.
        true
    }

    fn value_of(text: &str, r#type: &str) -> String {
        format!("({text})::{type}")
    }

    fn array(texts: &[String]) -> String {
        format!("to_json(ARRAY[{}]::text[])::text", texts.join(", "))
    }

    fn item(at: usize) -> String {
        format!("r.value ->> {at}")
    }

    fn by_bytes(text: &str) -> String {
        format!("{text} COLLATE \"C\"")
    }

    async fn run(conn: &mut PgConnection, sql: String, parameter: Option<&str>) -> sqlx::Result<u64> {
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        let query = if let Some(parameter) = parameter { query.bind(parameter) } else { query };
        query.execute(conn).await.map(|done| done.rows_affected())
    }

    fn texts(conn: &mut PgConnection, sql: String) -> BoxStream<'_, sqlx::Result<String>> {
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch(conn).boxed()
    }

    async fn read_number(conn: &mut PgConnection, sql: String) -> sqlx::Result<i64> {
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(conn).await
    }
}

/// Refuses two tables that a bundle would take for one.
fn check_names(tables: &[DataTable]) -> Result<()> {
    let mut names: Vec<&str> = tables.iter().map(|table| &*table.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(misconfigured(format!(
            "two tables with rows of tenants have the name `{}`; rename the one that has a dot in its name",
            pair[0]
        ))),
    }
}

/// The schema of the library's own tables, by the search path that a connection has by default.
async fn own_schema(conn: &mut PgConnection) -> Result<Vec<String>> {
    let mut tx = conn.begin().await.map_err(|e| database_error(&e))?;
    let reset = sqlx::raw_sql("SET LOCAL search_path TO DEFAULT").execute(&mut *tx).await;
    reset.map_err(|e| database_error(&e))?;
    if Postgres::own_tables(&mut tx).await?.schema.is_none() {
        return Ok(Vec::new());
    }
    let sql = "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.oid = to_regclass('tenancy_audit_events')";
    let found = sqlx::query_scalar(sql).fetch_all(&mut *tx).await.map_err(|e| database_error(&e))?;
    tx.rollback().await.map_err(|e| database_error(&e))?;
    Ok(found)
}

/// The name in every place: without its schema, unless a statement needs it.
fn name_of(relation: &Relation) -> String {
    if relation.visible { relation.name.clone() } else { relation.qualified() }
}

fn data_table(relation: &Relation, tenant: &str, indexes: &[Index], own: bool) -> DataTable {
    let columns = relation.columns.iter().filter(|column| !column.generated && column.name != tenant);
    let columns: Vec<DataColumn> = columns
        .map(|column| DataColumn {
            name: column.name.clone(),
            ident: quoted(&column.name),
            r#type: full_type(&column.declared),
            not_null: column.not_null,
            identity: column.identity,
        })
        .collect();
    let primary = indexes.iter().find(|index| index.table == relation.oid && index.primary);
    // A key with a generated column identifies no row of a bundle.
    let key = primary.and_then(|index| {
        let names = index.columns.iter().flatten().filter(|name| *name != tenant);
        names.map(|name| columns.iter().position(|column| column.name == *name)).collect()
    });
    DataTable {
        name: if own { relation.name.clone() } else { name_of(relation) },
        ident: relation.quoted(),
        only: if relation.kind == 'p' { "" } else { "ONLY " },
        tenant: quoted(tenant),
        tenant_type: relation
            .column(tenant)
            .map_or_else(|| "text".to_owned(), |column| full_type(&column.declared)),
        key,
        key_has_tenant: primary.is_some_and(|index| index.contains(tenant)),
        columns,
        row: ["tableoid", "ctid"].map(str::to_owned).to_vec(),
        links: Vec::new(),
        children: Vec::new(),
        own,
    }
}

/// A type whose name alone does not cut a value off: `character` is one character, and `bit` one bit.
fn full_type(declared: &str) -> String {
    match declared.split_once("[]").unwrap_or((declared, "")) {
        ("character", _) => declared.replace("character", "bpchar"),
        ("bit", _) => declared.replace("bit", "\"bit\""),
        _ => declared.to_owned(),
    }
}

fn misconfigured(text: String) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
}
