//! [`Embedded`]: what a program contains, and uses where an option names no file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::migrate::Migrator;
use tenancy_sql::Schema;

use super::config::{catalog_file, schema_file};
use super::hooks::Hooks;
use crate::billing::stripe::StripeWebhook;
use crate::plan::Catalog;

/// The migrations, the plan catalog and the tables of a program. The program `tenancy` has none of them.
#[derive(Default)]
pub(crate) struct Embedded {
    pub(crate) migrations: Option<Migrator>,
    pub(crate) catalog: Option<Arc<Catalog>>,
    pub(crate) schema: Option<Schema>,
    /// Sets the endpoint for Stripe's events up, as the application does.
    pub(crate) stripe_webhook: Option<Configure>,
    /// What else is deleted with a tenant.
    pub(crate) hooks: Hooks,
}

/// Changes the settings of an endpoint.
pub(crate) type Configure = Box<dyn FnOnce(StripeWebhook) -> crate::Result<StripeWebhook> + Send>;

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { migrations, catalog, schema, stripe_webhook, hooks } = self;
        f.debug_struct("Embedded")
            .field("migrations", migrations)
            .field("catalog", catalog)
            .field("schema", schema)
            .field("stripe_webhook", &stripe_webhook.as_ref().map(|_| ".."))
            .field("hooks", hooks)
            .finish()
    }
}

impl Embedded {
    /// The tables: those of `--config`, or else of the program, or else of the `tenancy.toml` in this directory.
    pub(crate) fn schema(&self, option: Option<&Path>) -> Result<Schema, String> {
        match (option, &self.schema) {
            (Some(path), _) => schema_file(path),
            (None, Some(schema)) => Ok(schema.clone()),
            (None, None) => schema_file(Path::new("tenancy.toml")),
        }
    }

    /// The plan catalog: that of `--catalog`, or else of the program.
    pub(crate) fn catalog(&self, option: Option<&Path>) -> Result<Arc<Catalog>, String> {
        match (option, &self.catalog) {
            (Some(path), _) => catalog_file(path).map(Arc::new),
            (None, Some(catalog)) => Ok(catalog.clone()),
            (None, None) => Err("name the file of the plan catalog: `--catalog`".to_owned()),
        }
    }

    /// What the program contains, in words; empty for nothing.
    pub(crate) fn contents(&self) -> String {
        let contents = [
            self.migrations.as_ref().map(|_| "its migrations (`--migrations`)"),
            self.catalog.as_ref().map(|_| "its plan catalog (`--catalog`)"),
            self.schema.as_ref().map(|_| "the declaration of its tables (`--config`)"),
        ];
        let mut contents: Vec<_> = contents.into_iter().flatten().collect();
        match contents.pop() {
            Some(last) if contents.is_empty() => last.to_owned(),
            Some(last) => format!("{} and {last}", contents.join(", ")),
            None => String::new(),
        }
    }

    /// The migrations: those of `--migrations`, or else of the program.
    pub(crate) async fn migrations(&mut self, option: Option<&PathBuf>) -> Result<Migrator, String> {
        match (option, self.migrations.take()) {
            (Some(directory), _) => directory_of_migrations(directory).await,
            (None, Some(migrations)) if migrations.iter().next().is_none() => {
                Err("this program contains no migration; name their directory: `--migrations`".to_owned())
            }
            (None, Some(migrations)) => Ok(migrations),
            (None, None) => Err("name the directory of the migrations: `--migrations`".to_owned()),
        }
    }
}

async fn directory_of_migrations(directory: &Path) -> Result<Migrator, String> {
    let unreadable =
        |why: &str| format!("{}: {why}; name the directory of the migrations", directory.display());
    // The migrator's own error for a path repeats the path, and leaves out the reason.
    std::fs::read_dir(directory).map_err(|e| unreadable(&e.to_string()))?;
    let migrator = Migrator::new(directory).await.map_err(|e| unreadable(&e.to_string()))?;
    if migrator.iter().next().is_none() {
        return Err(unreadable("it has no migration, such as `0001_orders.sql`"));
    }
    Ok(migrator)
}
