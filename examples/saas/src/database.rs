//! Opens and migrates the database, SQLite or PostgreSQL.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the pool is created here and passed to `TenantDb`, before the first request"
)]

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{Pool, Postgres, Sqlite};
use tenancy::scope::Backend;
use tenancy::scope::row::SupportsRow;
use tenancy::{Error, ErrorKind, Result};

use crate::model::{Order, Project};

/// A database that this application supports: the same handlers run on SQLite and on PostgreSQL.
///
/// An application with one database does not need this trait: it uses `TenantDb<sqlx::Postgres>`.
pub trait AppDb: Backend + SupportsRow<Project> + SupportsRow<Order> {
    /// Opens the database.
    fn open(url: &str) -> impl Future<Output = sqlx::Result<Pool<Self>>> + Send;

    /// Creates or upgrades the application's tables.
    fn create_tables(pool: &Pool<Self>) -> impl Future<Output = Result<(), MigrateError>> + Send;
}

impl AppDb for Sqlite {
    async fn open(url: &str) -> sqlx::Result<Pool<Self>> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(10));
        SqlitePoolOptions::new().max_connections(8).connect_with(options).await
    }

    async fn create_tables(pool: &Pool<Self>) -> Result<(), MigrateError> {
        sqlx::migrate!("migrations/sqlite").run(pool).await
    }
}

impl AppDb for Postgres {
    async fn open(url: &str) -> sqlx::Result<Pool<Self>> {
        PgPoolOptions::new().max_connections(16).connect(url).await
    }

    async fn create_tables(pool: &Pool<Self>) -> Result<(), MigrateError> {
        sqlx::migrate!("migrations/postgres").run(pool).await
    }
}

pub(crate) async fn connect<DB: AppDb>(url: &str) -> Result<Pool<DB>> {
    DB::open(url).await.map_err(|e| {
        Error::new(ErrorKind::StoreUnavailable, format!("the database of DATABASE_URL cannot be opened: {e}"))
    })
}

pub(crate) async fn migrate<DB: AppDb>(pool: &Pool<DB>) -> Result<()> {
    DB::create_tables(pool).await.map_err(|e| {
        Error::new(ErrorKind::Database, format!("the application's tables cannot be upgraded: {e}"))
    })
}
