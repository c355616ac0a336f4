//! [`TenantLock`]: one operation on the data of a tenant at a time, in all processes.

use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// Keeps other operations away from a tenant until it is dropped, or until the process ends.
#[expect(missing_debug_implementations, reason = "a connection of sqlx has none either")]
pub enum TenantLock {
    /// A session that holds an advisory lock.
    #[cfg(feature = "postgres")]
    Session(Box<sqlx::PgConnection>),
    /// A locked file.
    #[cfg(feature = "sqlite")]
    File(std::fs::File),
}

impl TenantLock {
    /// Fails if the lock was lost meanwhile. Called before what cannot be undone.
    #[cfg_attr(not(feature = "postgres"), expect(clippy::unused_async, reason = "a file keeps its lock"))]
    pub(crate) async fn check(&mut self) -> Result<()> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Session(conn) => {
                let held = sqlx::raw_sql("SELECT 1").execute(&mut **conn).await;
                held.map(|_| ()).map_err(|error| {
                    let text = "the session that keeps other operations away from this tenant has ended; repeat this";
                    Error::new(ErrorKind::Retryable, text).with_source(error)
                })
            }
            #[cfg(feature = "sqlite")]
            Self::File(_) => Ok(()),
        }
    }
}

/// Another operation on the data of the tenant is in work.
fn busy() -> Error {
    Error::new(
        ErrorKind::Retryable,
        "another process works on the data of this tenant: it moves, restores, imports or deletes it; try again later",
    )
}

/// Tries to take an advisory lock for a session. Returns whether it has it. The session of a process that was stopped ends a
/// moment later, and its locks with it.
#[cfg(feature = "postgres")]
pub(crate) async fn try_lock(conn: &mut sqlx::PgConnection, key: &str, attempts: u32) -> Result<bool> {
    const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
    for attempt in 1..=attempts {
        let locked = sqlx::query_scalar(LOCK).bind(key).persistent(false).fetch_one(&mut *conn).await;
        if locked.map_err(|e| crate::database::database_error(&e))? {
            return Ok(true);
        }
        if attempt < attempts {
            sqlx_core::rt::sleep(super::places::NEXT_ATTEMPT).await;
        }
    }
    Ok(false)
}

#[cfg(feature = "postgres")]
impl super::PostgresPlaces {
    /// Locks a tenant in the database of the shared tables.
    pub(crate) async fn lock_tenant(&self, tenant: &TenantId) -> Result<TenantLock> {
        use super::postgres_places::connect;
        use crate::database::database_error;
        use crate::tenant::Placement;

        const ATTEMPTS: u32 = 10;
        // A session that is idle for a long time keeps its lock.
        const PREPARE: &str =
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'";
        let mut conn = connect(&self.server(&Placement::Shared)).await?;
        sqlx::raw_sql(PREPARE).execute(&mut conn).await.map_err(|e| database_error(&e))?;
        if try_lock(&mut conn, &format!("tenancy operation {tenant}"), ATTEMPTS).await? {
            return Ok(TenantLock::Session(Box::new(conn)));
        }
        Err(busy())
    }
}

#[cfg(feature = "sqlite")]
impl super::SqlitePlaces {
    /// Locks a tenant by a file beside the files of tenants.
    pub(crate) async fn lock_tenant(&self, tenant: &TenantId) -> Result<TenantLock> {
        use super::sqlite_places::lock;
        use crate::tenant::PlacementName;

        let path = self.files().path(&PlacementName::of(tenant)).with_extension("operation");
        match lock(&path).await {
            Ok(file) => Ok(TenantLock::File(file)),
            Err(error) if error.kind() == ErrorKind::Retryable => Err(busy()),
            Err(error) => Err(error),
        }
    }
}
