//! [`DatabaseRegistry`]: which databases of tenants there are, and how to connect to them.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;

use async_trait::async_trait;
use sqlx::{Connection, Database};

use super::connection_mode::ConnectionMode;
use super::enforcement::Enforcement;
use crate::error::Result;
use crate::tenant::PlacementName;

/// Knows how to connect to the databases that [`Placement::Database`](crate::tenant::Placement::Database) names.
///
/// A map from names to [`DatabaseConfig`] is one, and so is a function. For SQLite there is
/// [`SqliteFiles`](crate::placement::SqliteFiles).
///
/// ```
/// use std::collections::HashMap;
/// use tenancy::placement::{ConnectionLimits, DatabaseConfig};
/// use tenancy::tenant::PlacementName;
/// use tenancy::{Error, ErrorKind, TenantDb};
///
/// async fn connect(url: &str, large: &str) -> tenancy::Result<TenantDb<sqlx::Postgres>> {
///     let large: sqlx::postgres::PgConnectOptions =
///         large.parse().map_err(|e| Error::new(ErrorKind::Misconfigured, "not a URL").with_source(e))?;
///     let databases = HashMap::from([(PlacementName::parse("large")?, DatabaseConfig::new(large))]);
///     TenantDb::postgres(sqlx::postgres::PgPoolOptions::new().max_connections(20), url)
///         .databases(databases, ConnectionLimits::new(100))
///         .build()
///         .await
/// }
/// ```
#[async_trait]
pub trait DatabaseRegistry<DB: Database>: Send + Sync {
    /// How to connect to the database with this name; `None` if there is no such database.
    ///
    /// It is called when a database is first used, and again if its pool was removed, because it had
    /// no connection left, when another database was first used.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the registry cannot be read.
    async fn config(&self, name: &PlacementName) -> Result<Option<DatabaseConfig<DB>>>;
}

#[async_trait]
impl<DB, S> DatabaseRegistry<DB> for HashMap<PlacementName, DatabaseConfig<DB>, S>
where
    DB: Database,
    S: BuildHasher + Send + Sync,
{
    async fn config(&self, name: &PlacementName) -> Result<Option<DatabaseConfig<DB>>> {
        Ok(self.get(name).cloned())
    }
}

#[async_trait]
impl<DB, F> DatabaseRegistry<DB> for F
where
    DB: Database,
    F: Fn(&PlacementName) -> Result<Option<DatabaseConfig<DB>>> + Send + Sync,
{
    async fn config(&self, name: &PlacementName) -> Result<Option<DatabaseConfig<DB>>> {
        self(name)
    }
}

/// How to connect to one tenant's database, and how it isolates tenants.
pub struct DatabaseConfig<DB: Database> {
    pub(super) connect: <DB::Connection as Connection>::Options,
    pub(super) enforcement: Enforcement,
    pub(super) connection_mode: ConnectionMode,
}

impl<DB: Database> DatabaseConfig<DB> {
    /// Connects with these options.
    pub fn new(connect: <DB::Connection as Connection>::Options) -> Self {
        Self { connect, enforcement: Enforcement::default(), connection_mode: ConnectionMode::default() }
    }

    /// Sets how the database isolates tenants. The default is [`Enforcement::PredicateAndRls`], as in the shared
    /// tables.
    #[must_use]
    pub fn enforcement(self, enforcement: Enforcement) -> Self {
        Self { enforcement, ..self }
    }

    /// Sets whether a pooler or Citus is in front of the database. The default is [`ConnectionMode::Direct`].
    #[must_use]
    pub fn connection_mode(self, connection_mode: ConnectionMode) -> Self {
        Self { connection_mode, ..self }
    }
}

impl<DB: Database> Clone for DatabaseConfig<DB> {
    fn clone(&self) -> Self {
        Self { connect: self.connect.clone(), ..*self }
    }
}

impl<DB: Database> fmt::Debug for DatabaseConfig<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options can hold a password.
        f.debug_struct("DatabaseConfig")
            .field("enforcement", &self.enforcement)
            .field("connection_mode", &self.connection_mode)
            .finish_non_exhaustive()
    }
}
