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

/// What is outside of a schema and depends on a table, a type or a function in it.
const DEPENDENTS: &str = "SELECT DISTINCT CASE d.classid WHEN 'pg_rewrite'::regclass \
        THEN (SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0) FROM pg_rewrite r WHERE r.oid = d.objid) \
        ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END \
    FROM pg_namespace s, pg_depend d WHERE s.nspname = $1 AND d.deptype = 'n' AND s.oid = CASE d.refclassid \
        WHEN 'pg_class'::regclass THEN (SELECT relnamespace FROM pg_class WHERE oid = d.refobjid) \
        WHEN 'pg_type'::regclass THEN (SELECT typnamespace FROM pg_type WHERE oid = d.refobjid) \
        WHEN 'pg_proc'::regclass THEN (SELECT pronamespace FROM pg_proc WHERE oid = d.refobjid) END \
    AND s.oid <> CASE d.classid \
        WHEN 'pg_class'::regclass THEN (SELECT relnamespace FROM pg_class WHERE oid = d.objid) \
        WHEN 'pg_rewrite'::regclass THEN (SELECT c.relnamespace FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE r.oid = d.objid) \
        WHEN 'pg_constraint'::regclass THEN (SELECT connamespace FROM pg_constraint WHERE oid = d.objid) \
        WHEN 'pg_attrdef'::regclass THEN (SELECT c.relnamespace FROM pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid WHERE a.oid = d.objid) \
        WHEN 'pg_proc'::regclass THEN (SELECT pronamespace FROM pg_proc WHERE oid = d.objid) \
        WHEN 'pg_type'::regclass THEN (SELECT typnamespace FROM pg_type WHERE oid = d.objid) \
        WHEN 'pg_trigger'::regclass THEN (SELECT c.relnamespace FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.oid = d.objid) \
        WHEN 'pg_policy'::regclass THEN (SELECT c.relnamespace FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE p.oid = d.objid) END \
    ORDER BY 1";

/// What is outside of a schema and would be dropped with it, such as a view that reads it.
pub(crate) async fn dependents(conn: &mut PgConnection, schema: &PlacementName) -> Result<Vec<String>> {
    let found = sqlx::query_scalar(DEPENDENTS).bind(schema.as_str()).fetch_all(conn).await;
    found.map_err(|e| database_error(&e))
}

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
        if let Placement::Schema { name } = placement
            && let Some(first) = dependents(&mut conn, name).await?.first()
        {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the {placement} is not dropped, because this depends on it and would be dropped too: {first}; drop it, and repeat this"
                ),
            ));
        }
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
