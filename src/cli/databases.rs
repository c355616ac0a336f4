//! The options that name the databases of an application, and what opens them: the shared tables, the places of tenants
//! and the list of tenants.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Postgres, Sqlite};
use tenancy_sql::Schema;

use super::embedded::Embedded;
use super::output::text;
use super::tenants;
use super::urls::{Urls, without_files};
use crate::context::TenantDirectory;
use crate::isolation::doctor::Check;
use crate::placement::{ConnectionLimits, DatabaseConfig, Provision, SqliteFiles};
use crate::plan::Catalog;
use crate::scope::{Enforcement, TenantDb};
use crate::store::SqlStore;
use crate::tenant::{PlacementName, Region};

#[derive(Args)]
pub(crate) struct Databases {
    /// The database of the shared tables, `postgres://…` or `sqlite:…`, as the application, instead of `DATABASE_URL`.
    #[arg(long)]
    url: Option<String>,
    /// The database that has the list of tenants, if it is not that of the shared tables or if another role reads it.
    #[arg(long, value_name = "URL")]
    control_url: Option<String>,
    /// The directory of the tenants' files, for SQLite.
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Use the place of each tenant as the role of that place. PostgreSQL only.
    #[arg(long)]
    role_per_tenant: bool,
    /// The database has no row-level security. PostgreSQL only.
    #[arg(long)]
    predicate_only: bool,
    /// A check of `tenancy doctor` that the application accepts too. PostgreSQL only.
    #[arg(long, value_name = "CHECK")]
    accept: Vec<String>,
    /// The region of the tenants. Those of other regions are left out.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// The `tenancy.toml`, instead of the one in this directory.
    #[arg(long)]
    config: Option<PathBuf>,
}

/// The rows of tenants, and the list of tenants.
pub(crate) struct Opened<DB: Provision> {
    pub(crate) db: TenantDb<DB>,
    pub(crate) store: SqlStore<DB>,
    /// Whether the list of tenants is in the database of the shared tables.
    pub(crate) is_one_database: bool,
}

impl Databases {
    pub(crate) fn urls(&self) -> Result<Urls, String> {
        Urls::new(self.url.as_deref(), self.control_url.as_deref())
    }

    pub(crate) fn schema(&self, embedded: &Embedded) -> Result<Schema, String> {
        let schema = embedded.schema(self.config.as_deref());
        schema.map_err(|e| format!("{e}; `--config` names the file"))
    }

    pub(crate) fn region(&self) -> Result<Option<Region>, String> {
        let region = self.region.as_deref().map(Region::parse).transpose();
        region.map_err(|e| format!("`--region`: {e}"))
    }

    /// The tenants of the region, with what their plans allow.
    pub(crate) fn directory<DB: Provision>(
        &self,
        store: &SqlStore<DB>,
        catalog: impl Into<Arc<Catalog>>,
    ) -> Result<TenantDirectory, String> {
        let directory = TenantDirectory::new(Arc::new(store.clone()), catalog);
        Ok(match self.region()? {
            Some(region) => directory.region(region),
            None => directory,
        })
    }

    pub(crate) async fn postgres(
        &self,
        Urls { url, control, .. }: &Urls,
        schema: Schema,
    ) -> Result<Opened<Postgres>, String> {
        without_files(self.files.as_deref())?;
        let app: PgConnectOptions = url.parse().map_err(|e| format!("`--url` cannot be read: {e}"))?;
        let list: PgConnectOptions =
            control.parse().map_err(|e| format!("`--control-url` cannot be read: {e}"))?;
        let server = |options: &PgConnectOptions| {
            let database = options.get_database().unwrap_or(options.get_username()).to_owned();
            (options.get_host().to_owned(), options.get_port(), options.get_socket().cloned(), database)
        };
        let is_one_database = server(&app) == server(&list);
        let registry =
            move |name: &PlacementName| Ok(Some(DatabaseConfig::new(app.clone().database(name.as_str()))));
        let mut db = TenantDb::postgres(PgPoolOptions::new().max_connections(1), url)
            .schema(schema)
            .databases(registry, limits());
        if self.role_per_tenant {
            db = db.role_per_tenant();
        }
        if self.predicate_only {
            db = db.enforcement(Enforcement::PredicateOnly);
        }
        for check in &self.accept {
            db = db.accept(Check::parse(check).map_err(|e| e.to_string())?);
        }
        let db = db.build().await;
        let db = db.map_err(|e| format!("{}; `--url` logs in as the application does", text(&e)))?;
        let store = tenants::store(control).await.map_err(|e| unreachable(&e))?;
        Ok(Opened { db, store, is_one_database })
    }

    pub(crate) async fn sqlite(
        &self,
        Urls { url, control, .. }: &Urls,
        schema: Schema,
    ) -> Result<Opened<Sqlite>, String> {
        if self.role_per_tenant || self.predicate_only || !self.accept.is_empty() {
            return Err(
                "`--role-per-tenant`, `--predicate-only` and `--accept` are for PostgreSQL; SQLite has no roles and policies"
                    .to_owned(),
            );
        }
        let file = |url: &str| url.parse::<SqliteConnectOptions>().map(|file| file.get_filename().to_owned());
        let is_one_database = matches!((file(url), file(control)), (Ok(app), Ok(list)) if app == list);
        let mut db = TenantDb::sqlite(SqlitePoolOptions::new().max_connections(1), url).schema(schema);
        if let Some(files) = &self.files {
            db = db.databases(SqliteFiles::new(files).map_err(|e| e.to_string())?, limits());
        }
        let db = db.build().await.map_err(|e| text(&e))?;
        let store = tenants::store(control).await.map_err(|e| unreachable(&e))?;
        Ok(Opened { db, store, is_one_database })
    }
}

fn unreachable(error: &sqlx::Error) -> String {
    format!("the list of tenants cannot be read: {error}; check `--control-url`")
}

/// Tenants are visited one after another, so each database needs one connection.
fn limits() -> ConnectionLimits {
    ConnectionLimits::new(3).per_database(1)
}
