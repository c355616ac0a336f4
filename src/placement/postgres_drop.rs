//! Removes a place on PostgreSQL.

use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::place_role;
use super::places::NEXT_ATTEMPT;
use super::postgres_places::{PostgresPlaces, connect, run};
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Placement, PlacementName};

impl PostgresPlaces {
    /// Removes a schema or a database, and its role.
    pub(crate) async fn drop_place(&self, placement: &Placement) -> Result<()> {
        let (drop, name) = match placement {
            Placement::Shared => return Ok(()),
            Placement::Schema { name } => (format!("DROP SCHEMA IF EXISTS \"{name}\" CASCADE"), name),
            Placement::Database { name } => {
                (format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"), name)
            }
        };
        let mut conn = connect(&self.server(placement)).await?;
        place_role::check_drop(&mut conn, name.as_str()).await?;
        match run(&mut conn, drop).await {
            // The owner may not end the sessions of the application's role.
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("42501") => {
                drop_when_unused(&mut conn, name).await?;
            }
            dropped => dropped.map_err(|e| database_error(&e))?,
        }
        // Also without `role_per_tenant`: a role of this name is that of the place, as another program created it.
        place_role::drop(&mut conn, name.as_str()).await?;
        let _ = conn.close().await;
        Ok(())
    }
}

/// Drops a database when its last session has ended. No session begins meanwhile, and a pool closes idle ones.
async fn drop_when_unused(conn: &mut PgConnection, name: &PlacementName) -> Result<()> {
    const IDLE: Duration = Duration::from_mins(1);
    let close = format!("ALTER DATABASE \"{name}\" WITH ALLOW_CONNECTIONS false");
    run(conn, close).await.map_err(|e| database_error(&e))?;
    let deadline = Instant::now() + IDLE;
    loop {
        match run(conn, format!("DROP DATABASE IF EXISTS \"{name}\"")).await {
            // Other sessions use it.
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("55006") => {}
            dropped => return dropped.map_err(|e| database_error(&e)),
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                ErrorKind::Retryable,
                format!(
                    "the database `{name}` is still in use, and the owner may not end its sessions; close the pools of the \
                     application, or make the owner a member of the application's role, and repeat this"
                ),
            ));
        }
        sqlx_core::rt::sleep(NEXT_ATTEMPT).await;
    }
}
