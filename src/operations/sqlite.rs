//! [`TenantData`] for SQLite.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use tenancy_sql::{Dialect, Schema, TenantType};

use super::sqlite_beside::{self, ColumnRow, KeyRow, is_text, quoted, row_of};
use super::table::{DataColumn, DataTable, Link, parents_first};
use super::tenant_data::TenantData;
use crate::database::{database_error, own_grants};
use crate::error::{Error, ErrorKind, Result};
use crate::placement::{SqlitePlaces, TenantLock};
use crate::tenant::{Placement, TenantId, TenantIdValue};

/// The tables with their columns: `hidden` is 2 or 3 for a generated one and 1 for one that a virtual table computes, and `pk`
/// the position in the primary key.
const COLUMNS: &str = "SELECT m.name, c.name, c.type, c.\"notnull\", c.pk, c.hidden FROM sqlite_master m \
    JOIN pragma_table_xinfo(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!' \
    ORDER BY m.name, c.cid";

const FOREIGN_KEYS: &str = "SELECT m.name, k.id, k.\"table\", k.\"from\", k.\"to\", k.on_delete FROM sqlite_master m \
    JOIN pragma_foreign_key_list(m.name) k WHERE m.type = 'table' ORDER BY m.name, k.id, k.seq";

impl TenantData for Sqlite {
    const EACH_ROW: &'static str = "FROM json_each($1) AS r WHERE true";
    const OVERRIDING: &'static str = "";
    const AS_NUMBER: &'static str = "";
    // Only a statement that reads a table begins a snapshot.
    const BEGIN_SNAPSHOT: &'static str = "BEGIN; SELECT count(*) FROM sqlite_master";

    const DELETES_IN_WITH: bool = false;

    const CREATE_LINKS: &'static str = "DROP TABLE IF EXISTS temp.tenancy_links; \
        CREATE TEMPORARY TABLE tenancy_links (position INTEGER PRIMARY KEY, of_table integer NOT NULL, value TEXT NOT NULL)";
    const STORED_ROW: &'static str = "(SELECT json_group_array(value) FROM json_each(r.value))";
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const BEGIN_IMPORT: &'static str = "BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON";

    // A trigger of the library's migrations looks for this row.
    const BEGIN_COPY: &'static str = "SELECT 1";
    const TRIGGER_ADVICE: &'static str = "drop it before, and create it again afterwards";

    const ALLOW_DELETES: Option<&'static str> = Some(
        "INSERT INTO tenancy_deletions (tenant_id, record, started_us) VALUES ($1, '', 0) ON CONFLICT (tenant_id) DO NOTHING",
    );
    const FORBID_DELETES: Option<&'static str> =
        Some("DELETE FROM tenancy_deletions WHERE tenant_id = $1 AND record = '' AND started_us = 0");

    async fn connect_to(places: &SqlitePlaces, placement: &Placement) -> Result<SqliteConnection> {
        places.connect_to(placement).await
    }

    async fn lock_tenant(places: &SqlitePlaces, tenant: &TenantId) -> Result<TenantLock> {
        places.lock_tenant(tenant).await
    }

    async fn data_tables(
        conn: &mut SqliteConnection,
        _: &Placement,
        schema: &Schema,
    ) -> Result<Vec<DataTable>> {
        let rows: Vec<ColumnRow> =
            sqlx::query_as(COLUMNS).fetch_all(&mut *conn).await.map_err(|e| database_error(&e))?;
        let mut by_table = BTreeMap::<String, Vec<ColumnRow>>::new();
        for row in rows {
            by_table.entry(row.0.clone()).or_default().push(row);
        }
        let without_rowid = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND wr";
        let without_rowid: Vec<String> =
            sqlx::query_scalar(without_rowid).fetch_all(&mut *conn).await.map_err(|e| database_error(&e))?;
        let mut tables = Vec::new();
        for (name, columns) in by_table {
            if let Some(table) = data_table(&name, &columns, schema) {
                tables.push(DataTable { row: row_of(&name, &columns, &without_rowid)?, ..table });
            }
        }
        // `TenantDb` binds a tenant in one way for all tables of the application.
        let is_text = |table: &DataTable| !table.own && is_text(&table.tenant_type);
        if schema.tenant_type() == Some(TenantType::Text) || tables.iter().any(is_text) {
            for table in tables.iter_mut().filter(|table| !table.own) {
                "TEXT".clone_into(&mut table.tenant_type);
            }
        }
        let keys: Vec<KeyRow> =
            sqlx::query_as(FOREIGN_KEYS).fetch_all(conn).await.map_err(|e| database_error(&e))?;
        link(&mut tables, &keys);
        sqlite_beside::add_children(&mut tables, &keys);
        Ok(parents_first(tables))
    }

    async fn others(conn: &mut SqliteConnection, _: &Placement, schema: &Schema) -> Result<Vec<String>> {
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' \
            AND name NOT LIKE 'tenancy!_%' ESCAPE '!' AND name <> '_sqlx_migrations'";
        let names: Vec<String> =
            sqlx::query_scalar(sql).fetch_all(&mut *conn).await.map_err(|e| database_error(&e))?;
        let tables = Self::data_tables(conn, &Placement::Shared, schema).await?;
        let mut found = Vec::new();
        for name in names {
            let is_shared = schema.tenant_column(Dialect::Sqlite, &name).is_none();
            if tables.iter().any(|table| table.name == name)
                || (is_shared && !schema.is_writable(Dialect::Sqlite, &name))
            {
                continue;
            }
            let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT 1)", quoted(&name));
            if Self::read_number(conn, sql).await.map_err(|e| database_error(&e))? > 0 {
                found.push(format!("the table `{name}`"));
            }
        }
        Ok(found)
    }

    async fn uncopied(_: &mut SqliteConnection, _: &[DataTable]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn dependents(_: &mut SqliteConnection, _: &Placement) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn triggers(conn: &mut SqliteConnection, tables: &[DataTable], _: bool) -> Result<Vec<String>> {
        let sql = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' ORDER BY name";
        let all: Vec<(String, String)> =
            sqlx::query_as(sql).fetch_all(conn).await.map_err(|e| database_error(&e))?;
        let is_of = |of: &str| tables.iter().any(|table| !table.own && table.name.eq_ignore_ascii_case(of));
        Ok(all
            .into_iter()
            .filter(|(_, of)| is_of(of))
            .map(|(name, of)| format!("the trigger `{name}` of `{of}`"))
            .collect())
    }

    async fn set_tenant(_: &mut SqliteConnection, _: Option<&TenantId>) -> Result<()> {
        Ok(())
    }

    async fn advance_numbers(_: &mut SqliteConnection, _: &DataTable, _: &TenantId, _: bool) -> Result<()> {
        // SQLite counts from the highest row.
        Ok(())
    }

    async fn copy_numbers(
        source: &mut SqliteConnection,
        from: &DataTable,
        target: &mut SqliteConnection,
        to: &DataTable,
        _: bool,
    ) -> Result<()> {
        sqlite_beside::copy_numbers(source, from, target, to).await
    }

    async fn reserve_numbers(
        conn: &mut SqliteConnection,
        table: &DataTable,
        column: &DataColumn,
        highest: i64,
    ) -> Result<i64> {
        sqlite_beside::reserve_numbers(conn, table, column, highest).await
    }

    async fn unfenceable(
        _: &SqlitePlaces,
        _: &mut SqliteConnection,
        _: &Placement,
        _: &[DataTable],
    ) -> Result<Option<String>> {
        Ok(None)
    }

    async fn prepare_fence(
        _: &mut SqliteConnection,
        _: &[&DataTable],
        _: &str,
        _: &str,
        _: Duration,
    ) -> Result<()> {
        // `TenantDb` reads the table in each transaction.
        Ok(())
    }

    async fn wait_for_older(_: &mut SqliteConnection, _: Duration) -> Result<()> {
        // One transaction writes at a time, and the one that set the fence has ended.
        Ok(())
    }

    async fn hold_writer(_: &mut SqliteConnection, _: String) -> Result<()> {
        Ok(())
    }

    async fn pass_fences(_: &mut SqliteConnection) -> Result<()> {
        Ok(())
    }

    fn fingerprint(row: &str) -> String {
        // As a text, not as a part of the array that it is put into.
        format!("({row} || '')")
    }

    fn fingerprint_of(row: &str) -> String {
        row.to_owned()
    }

    fn digests(_: &str, _: &str) -> Option<String> {
        None
    }

    async fn drop_place(places: &SqlitePlaces, placement: &Placement) -> Result<()> {
        let Placement::Database { name } = placement else { return Ok(()) };
        let path = places.files().path(name);
        // Without its log, a file is as it was before the last transactions, which may have fenced the tenant.
        if let Ok(mut conn) = places.connect_to(placement).await {
            let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await;
        }
        // The file itself last: it is what shows that the others may exist.
        for suffix in ["-wal", "-shm", "-journal", ""] {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            match fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let text = "the file of the tenant cannot be removed";
                    return Err(Error::new(ErrorKind::StoreUnavailable, text).with_source(error.to_string()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_whole_number(r#type: &str) -> bool {
        r#type.to_ascii_uppercase().contains("INT")
    }

    fn is_tenant(column: &str, _: &str, tenant: &TenantId) -> String {
        // A column can store an id of a UUID in either way.
        let text = text_literal(&tenant.to_string());
        match tenant.value() {
            TenantIdValue::Uuid(id) => format!("{column} IN (X'{}', {text})", id.simple()),
            TenantIdValue::Int(id) => format!("{column} IN ({id}, {text})"),
            TenantIdValue::Text(_) => format!("{column} = {text}"),
        }
    }

    fn tenant_value(r#type: &str, tenant: &TenantId) -> String {
        let is_text = is_text(r#type);
        match tenant.value() {
            TenantIdValue::Uuid(id) if !is_text => format!("X'{}'", id.simple()),
            TenantIdValue::Int(id) if !is_text => id.to_string(),
            _ => text_literal(&tenant.to_string()),
        }
    }

    fn text_of(column: &str) -> String {
        format!(
            "CASE typeof({column}) WHEN 'integer' THEN 'i' || {column} WHEN 'real' THEN 'r' || printf('%!.17g', {column}) \
             WHEN 'text' THEN 't' || {column} WHEN 'blob' THEN 'x' || hex({column}) END"
        )
    }

    fn is_value(text: &str) -> bool {
        sqlite_beside::is_value(text)
    }

    fn value_of(text: &str, _: &str) -> String {
        format!(
            // A text can have a NUL, where `substr` of a text ends.
            "CASE substr({text}, 1, 1) WHEN 'i' THEN CAST(substr({text}, 2) AS INTEGER) \
             WHEN 'r' THEN CASE {text} WHEN 'rInf' THEN 9e999 WHEN 'r-Inf' THEN -9e999 ELSE CAST(substr({text}, 2) AS REAL) END \
             WHEN 't' THEN CAST(substr(CAST({text} AS BLOB), 1 + length(CAST('t' AS BLOB))) AS TEXT) WHEN 'x' THEN unhex(substr({text}, 2)) END"
        )
    }

    fn array(texts: &[String]) -> String {
        format!("json_array({})", texts.join(", "))
    }

    fn item(at: usize) -> String {
        format!("json_extract(r.value, '$[{at}]')")
    }

    fn by_bytes(text: &str) -> String {
        format!("{text} COLLATE BINARY")
    }

    async fn restricted_keys(conn: &mut SqliteConnection) -> Result<Vec<(String, String)>> {
        sqlite_beside::restricted_keys(conn).await
    }

    async fn run(conn: &mut SqliteConnection, sql: String, parameter: Option<&str>) -> sqlx::Result<u64> {
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
        let query = if let Some(parameter) = parameter { query.bind(parameter) } else { query };
        query.execute(conn).await.map(|done| done.rows_affected())
    }

    fn texts(conn: &mut SqliteConnection, sql: String) -> BoxStream<'_, sqlx::Result<String>> {
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch(conn).boxed()
    }

    async fn read_number(conn: &mut SqliteConnection, sql: String) -> sqlx::Result<i64> {
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(conn).await
    }
}

/// A table of tenants; `None` for any other table.
fn data_table(name: &str, rows: &[ColumnRow], schema: &Schema) -> Option<DataTable> {
    let own = own_grants(name).is_some();
    let declared = if own { "tenant_id" } else { schema.tenant_column(Dialect::Sqlite, name)? };
    if !own && name.starts_with("tenancy_") {
        return None; // The control plane's.
    }
    let (_, tenant, tenant_type, ..) = rows.iter().find(|row| row.1.eq_ignore_ascii_case(declared))?;
    let data: Vec<&ColumnRow> = rows.iter().filter(|row| row.1 != *tenant && row.5 == 0).collect();
    let mut key: Vec<(i64, usize)> =
        data.iter().enumerate().filter(|(_, row)| row.4 > 0).map(|(at, row)| (row.4, at)).collect();
    key.sort_unstable();
    let key_has_tenant = rows.iter().any(|row| row.1 == *tenant && row.4 > 0);
    Some(DataTable {
        name: name.to_owned(),
        ident: quoted(name),
        only: "",
        tenant: quoted(tenant),
        tenant_type: tenant_type.clone(),
        key: (key_has_tenant || !key.is_empty()).then(|| key.into_iter().map(|(_, at)| at).collect()),
        key_has_tenant,
        row: Vec::new(),
        columns: data
            .iter()
            .map(|row| DataColumn {
                name: row.1.clone(),
                ident: quoted(&row.1),
                r#type: row.2.clone(),
                not_null: row.3 || row.4 > 0,
                identity: false,
            })
            .collect(),
        links: Vec::new(),
        children: Vec::new(),
        own,
    })
}

/// Adds the foreign keys to the tables.
fn link(tables: &mut [DataTable], keys: &[KeyRow]) {
    let parents: Vec<DataTable> = tables.to_vec();
    for table in tables {
        let own: Vec<_> = keys.iter().filter(|key| key.0 == table.name).collect();
        let mut ids: Vec<i64> = own.iter().map(|key| key.1).collect();
        ids.dedup();
        for id in ids {
            let pairs: Vec<_> = own.iter().filter(|key| key.1 == id).collect();
            let Some(first) = pairs.first() else { continue };
            let Some(parent) = parents.iter().find(|parent| parent.name.eq_ignore_ascii_case(&first.2))
            else {
                continue;
            };
            // Without a name, the key refers to the primary key of the parent.
            let mut primary = parent.key_columns().map(|column| column.ident.clone());
            let columns: Vec<(String, String)> = pairs
                .iter()
                .filter(|key| !is_tenant(table, &key.3))
                .map(|key| {
                    let to = key.4.as_deref().map(|to| declared(parent, to)).or_else(|| primary.next());
                    (declared(table, &key.3), to.unwrap_or_default())
                })
                .collect();
            let required = columns
                .iter()
                .all(|(child, _)| table.position(child).is_some_and(|at| table.columns[at].not_null));
            let has_tenant = pairs.iter().any(|key| is_tenant(table, &key.3));
            let acts = !matches!(&*first.5, "NO ACTION" | "RESTRICT");
            let reaches_others = acts && !has_tenant;
            table.links.push(Link { parent: parent.name.clone(), columns, required, reaches_others });
        }
    }
}

fn is_tenant(table: &DataTable, column: &str) -> bool {
    quoted(column).eq_ignore_ascii_case(&table.tenant)
}

/// The name of a column in SQL, as its table declares it. A foreign key can have other letters in upper case.
fn declared(table: &DataTable, name: &str) -> String {
    let column = table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    column.map_or_else(|| quoted(name), |column| column.ident.clone())
}

fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
