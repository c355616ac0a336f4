//! Finds the `tenancy.toml` of a file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::plan::Catalog;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tenancy_sql::{Dialect, Schema};

/// Runs the work of a command.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let result = runtime.block_on(work);
    // A thread that reads standard input, or writes to standard output, can wait for another program.
    runtime.shutdown_background();
    result
}

/// The URL of the database: `--url`, or else `DATABASE_URL`.
pub(crate) fn database(url: Option<String>) -> Result<String, String> {
    url.or_else(|| std::env::var("DATABASE_URL").ok())
        .ok_or_else(|| "name the database: --url, or DATABASE_URL".to_owned())
}

/// Whether a URL names PostgreSQL, and not SQLite. The error does not contain the URL, which can have a password.
pub(crate) fn is_postgres(url: &str) -> Result<bool, String> {
    match url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => Ok(true),
        Some(("sqlite", _)) => Ok(false),
        _ => Err("the URL of the database begins neither with `postgres://` nor with `sqlite:`".to_owned()),
    }
}

/// Reads the file of a plan catalog: JSON if the name ends so, else TOML.
pub(crate) fn catalog_file(path: &Path) -> Result<Catalog, String> {
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}; it must be a plan catalog", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| named(&e))?;
    let is_json = path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("json"));
    let catalog = if is_json { Catalog::from_json(&text) } else { Catalog::from_toml(&text) };
    catalog.map_err(|e| named(&e))
}

/// Connects to a PostgreSQL database; with `schema`, in that schema alone.
pub(crate) async fn postgres(url: &str, schema: Option<&str>) -> Result<PgConnection, String> {
    let unreachable = |e: sqlx::Error| format!("the database cannot be reached: {e}");
    let options: PgConnectOptions = url.parse().map_err(unreachable)?;
    let mut options = options.disable_statement_logging();
    if let Some(schema) = schema {
        options = options.options([("search_path", format!("\"{}\"", schema.replace('"', "\"\"")))]);
    }
    let mut conn = options.connect().await.map_err(unreachable)?;
    let found: i32 = sqlx::query_scalar("SELECT cardinality(current_schemas(false))")
        .fetch_one(&mut conn)
        .await
        .map_err(unreachable)?;
    match schema {
        Some(schema) if found == 0 => {
            Err(format!("the schema `{schema}` does not exist, or this role may not use it"))
        }
        _ => Ok(conn),
    }
}

/// Reads a `tenancy.toml`, and the snapshot that it names.
pub(crate) fn schema_file(path: &Path) -> Result<Schema, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Schema::from_toml(&text)
        .and_then(|schema| {
            schema.with_named_snapshot(|file| std::fs::read_to_string(path.with_file_name(file)))
        })
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// The schema and the dialects of a file's queries.
pub(crate) struct Config {
    pub(crate) schema: Schema,
    pub(crate) dialects: Vec<Dialect>,
    /// Whether the tables are declared, by a `tenancy.toml` or by the program.
    pub(crate) is_declared: bool,
}

/// Finds and caches the configurations of files.
pub(crate) struct Configs {
    named: Option<PathBuf>,
    embedded: Option<Schema>,
    dialects: Vec<Dialect>,
    known: HashMap<Option<PathBuf>, Rc<Config>>,
}

impl Configs {
    pub(crate) fn new(named: Option<PathBuf>, embedded: Option<Schema>, dialects: Vec<Dialect>) -> Self {
        Self { named, embedded, dialects, known: HashMap::new() }
    }

    /// The configuration of a file: that of `--config`, or else of the program, or else the nearest `tenancy.toml` above
    /// the file, or the default.
    pub(crate) fn of(&mut self, file: &Path) -> Result<Rc<Config>, String> {
        let file = file.canonicalize().map_err(|e| format!("{}: {e}", file.display()))?;
        let nearest =
            || file.ancestors().skip(1).map(|dir| dir.join("tenancy.toml")).find(|path| path.is_file());
        let path = match (&self.named, &self.embedded) {
            (Some(named), _) => Some(named.clone()),
            (None, Some(_)) => None,
            (None, None) => nearest(),
        };
        if let Some(config) = self.known.get(&path) {
            return Ok(config.clone());
        }
        let schema = match (&path, &self.embedded) {
            (Some(path), _) => schema_file(path)?,
            (None, Some(schema)) => schema.clone(),
            (None, None) => Schema::new("tenant_id").map_err(|e| e.to_string())?,
        };
        let dialects = match (&self.dialects[..], schema.dialects()) {
            ([], []) => vec![Dialect::Postgres],
            ([], listed) => listed.to_vec(),
            (requested, _) => requested.to_vec(),
        };
        let config =
            Rc::new(Config { schema, dialects, is_declared: path.is_some() || self.embedded.is_some() });
        self.known.insert(path, config.clone());
        Ok(config)
    }
}
