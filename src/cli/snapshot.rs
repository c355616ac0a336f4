//! `tenancy sql snapshot`: writes a snapshot of the tables of a live database.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tenancy_sql::{Dialect, Schema, TenantType, relations};

use super::config::{block_on, database};
use super::embedded::Embedded;

/// The prefix of the crate's own tables, which queries cannot use.
const RESERVED_PREFIX: &str = "tenancy_";

pub(crate) fn run(
    url: Option<String>,
    config: Option<PathBuf>,
    check: bool,
    embedded: &Embedded,
) -> Result<ExitCode, String> {
    let url = database(url)?;
    let declared = match (&config, &embedded.schema) {
        (None, Some(schema)) => Ok(schema.clone()),
        _ => without_snapshot(config.as_deref().unwrap_or(Path::new("tenancy.toml"))),
    };
    let config = config.unwrap_or_else(|| PathBuf::from("tenancy.toml"));
    let schema = declared?;
    let file = config.with_file_name(schema.snapshot_file().unwrap_or("tenancy.snapshot.toml"));

    let unreadable = |e| format!("the database cannot be read: {e}");
    let found = block_on(async { read(&url).await.map_err(unreadable) })?;
    let written = found.written(&schema);
    // Fail now if the snapshot could not be read later.
    schema.clone().with_snapshot(&written).map_err(|e| e.to_string())?;

    if check {
        return check_against(&file, &written);
    }
    std::fs::write(&file, written).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut text =
        format!("wrote {}: {} tables, {} views\n", file.display(), found.tables.len(), found.views.len());
    if schema.snapshot_file().is_none() {
        text += "to use it, add to tenancy.toml: snapshot = \"tenancy.snapshot.toml\"\n";
    }
    super::output::show(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a `tenancy.toml` without its snapshot, which may not exist yet.
fn without_snapshot(config: &Path) -> Result<Schema, String> {
    let text = std::fs::read_to_string(config).map_err(|e| format!("{}: {e}", config.display()))?;
    Schema::from_toml(&text).map_err(|e| format!("{}: {e}", config.display()))
}

fn check_against(file: &Path, written: &str) -> Result<ExitCode, String> {
    let existing = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    if existing == written {
        super::output::show(&format!("{} matches the database\n", file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{} does not match the database; write it again\n", file.display());
    let (existing, written): (BTreeSet<_>, BTreeSet<_>) =
        (existing.lines().collect(), written.lines().collect());
    for line in existing.difference(&written) {
        let _ = writeln!(text, "-{line}");
    }
    for line in written.difference(&existing) {
        let _ = writeln!(text, "+{line}");
    }
    super::output::show(&text)?;
    Ok(ExitCode::from(1))
}

/// The tables and views of a database, by the names that a statement uses.
struct DatabaseTables {
    dialect: Dialect,
    /// The columns of each table and view, with their types.
    tables: BTreeMap<String, BTreeMap<String, String>>,
    /// The names with their schemas.
    qualified: BTreeMap<String, String>,
    /// The tables and views that each view reads directly; `()` for anything else, such as a function.
    views: BTreeMap<String, BTreeSet<String>>,
    partitions: BTreeMap<String, String>,
    keys: Vec<UniqueKey>,
    /// The composite types, with their fields.
    types: BTreeMap<String, BTreeSet<String>>,
}

/// A unique key of a table.
struct UniqueKey {
    table: String,
    primary: bool,
    /// The columns, or the expressions as the database writes them.
    elements: Vec<String>,
}

async fn read(url: &str) -> Result<DatabaseTables, String> {
    let failed = |e: sqlx::Error| e.to_string();
    match url.split(':').next().unwrap_or_default() {
        "postgres" | "postgresql" => {
            postgres(PgConnection::connect(url).await.map_err(failed)?).await.map_err(failed)
        }
        "sqlite" => sqlite(SqliteConnection::connect(url).await.map_err(failed)?).await,
        // Without a scheme the text can be a connection string with a password.
        _ => Err("the database is not known; use a URL of the form postgres://… or sqlite:…".to_owned()),
    }
}

/// A table's name in statements: with its schema only if the search path does not include that.
const NAME: &str =
    "CASE WHEN pg_table_is_visible(c.oid) THEN c.relname::text ELSE n.nspname || '.' || c.relname END";
/// Limits tables to those of users: not of the server, and not of an extension.
const USERS: &str = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
    AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')";

async fn postgres(mut conn: PgConnection) -> sqlx::Result<DatabaseTables> {
    let columns: Vec<(String, String, String, String)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {NAME}, n.nspname || '.' || c.relname, a.attname::text, format_type(a.atttypid, NULL) FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND {USERS}"
    )))
    .fetch_all(&mut conn)
    .await?;
    // A user-defined function can read any table, also through an operator.
    let views: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT DISTINCT {NAME}, CASE WHEN c2.oid IS NULL THEN '()' ELSE {of} END FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_rewrite r ON r.ev_class = c.oid \
         JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
             AND d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass) \
         LEFT JOIN pg_class c2 ON d.refclassid = 'pg_class'::regclass AND c2.oid = d.refobjid \
         LEFT JOIN pg_namespace n2 ON n2.oid = c2.relnamespace \
         WHERE c.relkind IN ('v', 'm') AND c2.oid IS DISTINCT FROM c.oid \
             AND (c2.oid IS NULL OR c2.relkind IN ('r', 'p', 'f', 'v', 'm')) AND {USERS}",
        of = NAME.replace("c.", "c2.").replace("n.", "n2."),
    )))
    .fetch_all(&mut conn)
    .await?;
    // The root of each partition, at any depth: a root has no parent itself.
    let partitions: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(format!(
        "WITH RECURSIVE up AS (SELECT inhrelid AS child, inhparent AS root FROM pg_inherits \
             UNION SELECT up.child, i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.root) \
         SELECT {NAME}, {of} FROM up JOIN pg_class c ON c.oid = up.child JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_class c2 ON c2.oid = up.root JOIN pg_namespace n2 ON n2.oid = c2.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'f') AND {USERS} \
             AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = up.root)",
        of = NAME.replace("c.", "c2.").replace("n.", "n2."),
    )))
    .fetch_all(&mut conn)
    .await?;
    // Only such keys can be the target of an upsert.
    let keys: Vec<(String, bool, Vec<String>)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {NAME}, i.indisprimary, ARRAY(SELECT coalesce(a.attname::text, pg_get_indexdef(i.indexrelid, k, true)) \
             FROM generate_series(1, i.indnkeyatts) k LEFT JOIN pg_attribute a \
                 ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1] AND i.indkey[k - 1] > 0 ORDER BY k) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND {USERS} ORDER BY i.indexrelid"
    )))
    .fetch_all(&mut conn)
    .await?;
    let types: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT CASE WHEN pg_type_is_visible(c.reltype) THEN c.relname::text ELSE n.nspname || '.' || c.relname END, \
             a.attname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE c.relkind = 'c' AND {USERS}"
    )))
    .fetch_all(&mut conn)
    .await?;
    conn.close().await?;
    let mut found = DatabaseTables::new(Dialect::Postgres, columns, views, partitions);
    found.add_keys(keys);
    for (name, field) in types.into_iter().filter(|(name, field)| plain(name) && plain(field)) {
        found.types.entry(name).or_default().insert(field);
    }
    Ok(found)
}

async fn sqlite(mut conn: SqliteConnection) -> Result<DatabaseTables, String> {
    let failed = |e: sqlx::Error| e.to_string();
    let columns: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT t.name, 'main.' || t.name, c.name, c.type FROM sqlite_schema t, pragma_table_xinfo(t.name) c \
         WHERE t.type IN ('table', 'view') AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_all(&mut conn)
    .await
    .map_err(failed)?;
    let definitions: Vec<(String, String)> =
        sqlx::query_as("SELECT name, sql FROM sqlite_schema WHERE type = 'view'")
            .fetch_all(&mut conn)
            .await
            .map_err(failed)?;
    let mut views = Vec::new();
    for (view, sql) in definitions {
        let read = relations(Dialect::Sqlite, &sql).map_err(|e| format!("the view `{view}`: {e}"))?;
        let others = read.into_iter().filter(|table| !table.eq_ignore_ascii_case(&view));
        views.extend(others.map(|table| (view.clone(), table)));
    }
    // A key with an expression has an element without a name; users declare it in tenancy.toml.
    let keys: Vec<(String, bool, Option<String>)> = sqlx::query_as(
        "SELECT t.name, i.origin = 'pk', CASE WHEN count(c.name) = count(*) THEN group_concat(c.name, '\n') END \
         FROM sqlite_schema t, pragma_index_list(t.name) i, pragma_index_info(i.name) c \
         WHERE t.type = 'table' AND i.\"unique\" GROUP BY t.name, i.name \
         UNION ALL SELECT t.name, true, min(c.name) FROM sqlite_schema t, pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND c.pk GROUP BY t.name HAVING count(*) = 1 AND upper(min(c.type)) = 'INTEGER'",
    )
    .fetch_all(&mut conn)
    .await
    .map_err(failed)?;
    conn.close().await.map_err(failed)?;
    let mut found = DatabaseTables::new(Dialect::Sqlite, columns, views, Vec::new());
    let split = |names: String| names.split('\n').map(str::to_owned).collect();
    found.add_keys(
        keys.into_iter().filter_map(|(table, primary, names)| Some((table, primary, split(names?)))),
    );
    Ok(found)
}

impl DatabaseTables {
    fn new(
        dialect: Dialect,
        columns: Vec<(String, String, String, String)>,
        views: Vec<(String, String)>,
        partitions: Vec<(String, String)>,
    ) -> Self {
        let mut found = Self {
            dialect,
            tables: BTreeMap::new(),
            qualified: BTreeMap::new(),
            views: BTreeMap::new(),
            partitions: BTreeMap::new(),
            keys: Vec::new(),
            types: BTreeMap::new(),
        };
        for (table, qualified, column, kind) in columns.into_iter().filter(|(table, ..)| plain(table)) {
            found.qualified.insert(table.clone(), qualified);
            found.tables.entry(table).or_default().insert(column, kind);
        }
        for (view, table) in views.into_iter().filter(|(view, _)| plain(view)) {
            found.views.entry(view).or_default().insert(table);
        }
        found.partitions.extend(partitions.into_iter().filter(|(child, root)| plain(child) && plain(root)));
        found
    }

    fn add_keys(&mut self, keys: impl IntoIterator<Item = (String, bool, Vec<String>)>) {
        let keys = keys.into_iter().map(|(table, primary, elements)| UniqueKey { table, primary, elements });
        self.keys.extend(keys.filter(|key| self.tables.contains_key(&key.table)));
    }

    /// The names of a table in statements: with its schema, and without it if the search path includes the schema.
    fn names<'a>(&'a self, table: &'a String) -> impl Iterator<Item = &'a String> {
        let qualified = self.qualified.get(table).filter(|name| *name != table && plain(name));
        std::iter::once(table).chain(qualified)
    }

    /// Writes the columns, keys and types for the rewriter.
    fn written_details(&self, schema: &Schema, text: &mut String) {
        if self.dialect == Dialect::Postgres {
            *text += "\n[table_columns]\n";
            for (table, columns) in &self.tables {
                for name in self.names(table) {
                    let _ = writeln!(text, "{name:?} = {:?}", columns.keys().collect::<Vec<_>>());
                }
            }
        }
        let is_tenant = |table: &str, element: &String| {
            schema
                .tenant_column(self.dialect, table)
                .is_some_and(|column| element.eq_ignore_ascii_case(column))
        };
        let of_tenants = |key: &&UniqueKey| schema.tenant_column(self.dialect, &key.table).is_some();
        *text += "\n[primary_keys]\n";
        for key in self.keys.iter().filter(|key| key.primary).filter(of_tenants) {
            for name in self.names(&key.table) {
                let _ = writeln!(text, "{name:?} = {:?}", key.elements);
            }
        }
        let mut global: BTreeMap<&String, BTreeSet<String>> = BTreeMap::new();
        for key in self.keys.iter().filter(of_tenants) {
            if !key.elements.iter().any(|element| is_tenant(&key.table, element)) {
                for name in self.names(&key.table) {
                    global.entry(name).or_default().insert(key.elements.join(", "));
                }
            }
        }
        *text += "\n[global_keys]\n";
        for (table, keys) in global {
            let _ = writeln!(text, "{table:?} = {:?}", keys.iter().collect::<Vec<_>>());
        }
        *text += "\n[composite_types]\n";
        for (name, fields) in &self.types {
            let _ = writeln!(text, "{name:?} = {:?}", fields.iter().collect::<Vec<_>>());
        }
    }

    /// The tables that a view reads, also through other views, with partitions replaced by their root.
    fn base(&self, view: &str, seen: &mut BTreeSet<String>, base: &mut BTreeSet<String>) {
        for table in self.views.get(view).into_iter().flatten() {
            if !seen.insert(table.clone()) {
                continue;
            }
            if self.views.contains_key(table) {
                self.base(table, seen, base);
            } else {
                base.insert(self.partitions.get(table).unwrap_or(table).clone());
            }
        }
    }

    fn written(&self, schema: &Schema) -> String {
        let column = |table: &str| schema.tenant_column(self.dialect, table);
        let has = |table: &str| {
            let columns = &self.tables[table];
            let named = |column: &str| match self.dialect {
                Dialect::Sqlite => columns.keys().find(|name| name.eq_ignore_ascii_case(column)),
                _ => columns.get_key_value(column).map(|(name, _)| name),
            };
            // For a shared table this looks for the default column, which it must not have.
            named(column(table).unwrap_or_else(|| schema.column_name()))
                .map(|name| columns[name].to_ascii_lowercase())
        };
        let (mut tenants, mut others, mut types) = (Vec::new(), Vec::new(), BTreeSet::new());
        for table in self.tables.keys() {
            match has(table) {
                Some(kind) => {
                    tenants.push(table);
                    // The table was declared as shared under this name.
                    let also = self.qualified.get(table).filter(|name| column(name).is_none());
                    tenants.extend(also.filter(|name| plain(name)));
                    types.insert(kind);
                }
                None => others.push(table),
            }
        }
        let mut text = "# The tables of the database, for tenancy.toml. Written by `tenancy sql snapshot`; run it again after a\n# \
                        migration. Declarations in tenancy.toml take precedence.\n"
            .to_owned();
        let known = |kind: &str| {
            [TenantType::Uuid, TenantType::BigInt, TenantType::Text].into_iter().find(|t| t.as_str() == kind)
        };
        if let [Some(kind)] = types.iter().map(|kind| known(kind)).collect::<Vec<_>>()[..] {
            let _ = writeln!(text, "type = {:?}", kind.as_str());
        }
        let list = |text: &mut String, key: &str, names: &[&String]| {
            let _ = writeln!(text, "{key} = [");
            for name in names {
                let _ = writeln!(text, "    {name:?},");
            }
            *text += "]\n";
        };
        list(&mut text, "tenants", &tenants);
        list(&mut text, "others", &others);
        text += "\n[views]\n";
        for view in self.views.keys() {
            let mut base = BTreeSet::new();
            self.base(view, &mut BTreeSet::new(), &mut base);
            // If a table has no plain name, the view is listed only if another of its tables has a tenant.
            let all = base.iter().all(|table| plain(table));
            base.retain(|table| plain(table));
            if all && !base.is_empty() || base.iter().any(|table| column(table).is_some()) {
                let _ = writeln!(text, "{view:?} = {base:?}", base = base.iter().collect::<Vec<_>>());
            }
        }
        text += "\n[partitions]\n";
        for (child, root) in &self.partitions {
            let _ = writeln!(text, "{child:?} = {root:?}");
        }
        self.written_details(schema, &mut text);
        text
    }
}

/// Whether a name can be declared. Other tables count as tenant tables, as all unknown tables do.
fn plain(name: &str) -> bool {
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !part.as_bytes()[0].is_ascii_digit()
    };
    !name.starts_with(RESERVED_PREFIX) && name.split('.').all(part)
}
