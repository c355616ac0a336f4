//! [`Owner`] and [`Migrating`]: the options of commands that work as the owner of the tables, and the [`Provisioner`] that
//! they need.

use std::path::{Path, PathBuf};

use clap::Args;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres, Sqlite};
use tenancy_sql::{Dialect, Schema};

use super::config::{database, postgres};
use super::embedded::Embedded;
use super::output::note;
use super::urls::{Urls, without_files};
use crate::placement::{PostgresPlaces, Provision, Provisioner, SqliteFiles, SqlitePlaces};
use crate::store::SqlStore;
use crate::tenant::Placement;

/// The databases, as the owner of the tables.
#[derive(Args)]
pub(crate) struct Owner {
    /// The database of the shared tables, `postgres://…` or `sqlite:…`, as the owner of the tables, instead of
    /// `DATABASE_URL`.
    #[arg(long)]
    url: Option<String>,
    /// The database that has the list of tenants, if it is not that of the shared tables or if another role reads it.
    #[arg(long, value_name = "URL")]
    control_url: Option<String>,
    /// The directory of the tenants' files, for SQLite.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// The role that the application logs in as. PostgreSQL only.
    #[arg(long, value_name = "ROLE")]
    runtime_role: Option<String>,
    /// Each place has a role of its own. PostgreSQL only.
    #[arg(long, requires = "runtime_role")]
    role_per_tenant: bool,
    /// The `tenancy.toml` that declares the tables, instead of the one in this directory.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The databases, as the owner of the tables, and the migrations for a place.
#[derive(Args)]
pub(crate) struct Migrating {
    /// The directory of the application's migrations, as in `sqlx::migrate!`.
    #[arg(long, value_name = "DIR")]
    pub(crate) migrations: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) owner: Owner,
}

impl Migrating {
    /// An option that was given, and that nothing uses for a tenant in the shared tables.
    pub(crate) fn only_for_own_places(&self) -> Option<&'static str> {
        let Owner { files, runtime_role, role_per_tenant, config, .. } = &self.owner;
        let given = [
            (self.migrations.is_some(), "--migrations"),
            (files.is_some(), "--files"),
            (*role_per_tenant, "--role-per-tenant"),
            (runtime_role.is_some(), "--runtime-role"),
            (config.is_some(), "--config"),
        ];
        given.into_iter().find_map(|(is_given, option)| is_given.then_some(option))
    }
}

impl Owner {
    /// The database that has the list of tenants, by its URL.
    pub(crate) fn control_url(&self) -> Result<String, String> {
        self.control_url.clone().map_or_else(|| database(self.url.clone()), Ok)
    }

    pub(crate) fn urls(&self) -> Result<Urls, String> {
        Urls::new(self.url.as_deref(), self.control_url.as_deref())
    }

    pub(crate) fn schema(&self, embedded: &Embedded) -> Result<Schema, String> {
        let schema = embedded.schema(self.config.as_deref());
        schema.map_err(|e| format!("{e}; `--config` names the file that declares the tables"))
    }

    pub(crate) fn settings<'a>(&'a self, urls: &'a Urls) -> Settings<'a> {
        Settings {
            urls,
            files: self.files.as_deref(),
            without_shared_tables: false,
            runtime_role: self.runtime_role.as_deref(),
            role_per_tenant: self.role_per_tenant,
        }
    }

    /// Prints that the application cannot use a new place, if no role was named that gets rights there.
    pub(crate) fn note_missing_grants<DB: Provision>(&self, placement: &Placement) {
        let has_roles = DB::DIALECT == Dialect::Postgres;
        if has_roles && *placement != Placement::Shared && self.runtime_role.is_none() {
            note("without `--runtime-role` the application was granted no rights on the new tables");
        }
    }
}

/// Where the places of tenants are, and who uses them.
pub(crate) struct Settings<'a> {
    pub(crate) urls: &'a Urls,
    pub(crate) files: Option<&'a Path>,
    pub(crate) without_shared_tables: bool,
    pub(crate) runtime_role: Option<&'a str>,
    pub(crate) role_per_tenant: bool,
}

/// The list of tenants, and what works in their places.
pub(crate) struct Provisioned<DB: Provision> {
    pub(crate) store: SqlStore<DB>,
    pub(crate) provisioner: Provisioner<DB>,
}

impl<DB: Provision> Provisioned<DB> {
    fn new(store: SqlStore<DB>, places: DB::Places, migrator: Migrator, schema: Option<Schema>) -> Self {
        let provisioner = Provisioner::new(store.clone(), places, migrator);
        let provisioner = schema.into_iter().fold(provisioner, Provisioner::schema);
        Self { store, provisioner }
    }
}

impl Settings<'_> {
    pub(crate) async fn on_postgres(
        &self,
        migrator: Migrator,
        schema: Option<Schema>,
    ) -> Result<Provisioned<Postgres>, String> {
        without_files(self.files)?;
        let Urls { url, control, .. } = self.urls;
        // One error for the command, instead of one for each place. A pool would retry for half a minute.
        for (url, option) in [(url, "--url"), (control, "--control-url")] {
            let conn = postgres(url, None).await.map_err(|e| format!("{e}; check `{option}`"))?;
            let _ = conn.close().await;
        }
        let owner: PgConnectOptions = url.parse().map_err(|e| format!("`--url` cannot be read: {e}"))?;
        let mut places = PostgresPlaces::new(owner);
        if self.without_shared_tables {
            places = places.without_shared_tables();
        }
        if let Some(role) = self.runtime_role {
            places = places.runtime_role(role);
        }
        if self.role_per_tenant {
            places = places.role_per_tenant();
        }
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(control);
        let pool = pool.map_err(|e| format!("`--control-url` cannot be read: {e}"))?;
        Ok(Provisioned::new(SqlStore::new(pool), places, migrator, schema))
    }

    pub(crate) async fn on_sqlite(
        &self,
        migrator: Migrator,
        schema: Option<Schema>,
    ) -> Result<Provisioned<Sqlite>, String> {
        if self.runtime_role.is_some() {
            return Err("`--runtime-role` is for PostgreSQL; SQLite has no roles".to_owned());
        }
        let files = self.files.ok_or("name the directory of the tenants' files: `--files`")?;
        let files = SqliteFiles::new(files).map_err(|e| e.to_string())?;
        let mut places = SqlitePlaces::new(files);
        if !self.without_shared_tables {
            let shared = |e: sqlx::Error| format!("the database of the shared tables cannot be opened: {e}");
            let options: SqliteConnectOptions = self.urls.url.parse().map_err(shared)?;
            let _ = options.connect().await.map_err(shared)?.close().await;
            places = places.shared_tables(options);
        }
        let pool = SqlitePoolOptions::new().max_connections(2).connect(&self.urls.control).await;
        let pool =
            pool.map_err(|e| format!("the list of tenants cannot be read: {e}; check `--control-url`"))?;
        Ok(Provisioned::new(SqlStore::new(pool), places, migrator, schema))
    }
}
