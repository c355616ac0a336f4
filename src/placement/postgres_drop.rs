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

/// What is outside of a schema and depends on anything in it. The walk through the dependencies is the one of `DROP .. CASCADE`.
const DEPENDENTS: &str = include_str!("postgres_dependents.sql");

/// What is outside of a schema and would be dropped with it, such as a view that reads it.
pub(crate) async fn dependents(conn: &mut PgConnection, schema: &PlacementName) -> Result<Vec<String>> {
    let found: sqlx::Result<Vec<(String, bool)>> =
        sqlx::query_as(DEPENDENTS).bind(schema.as_str()).persistent(false).fetch_all(conn).await;
    let found = found.map_err(|e| database_error(&e))?;
    // With a view, its columns and its type are found too: the view is enough.
    let is_enough = found.iter().any(|(_, owned)| !owned);
    Ok(found.into_iter().filter(|(_, owned)| !(is_enough && *owned)).map(|(object, _)| object).collect())
}

impl PostgresPlaces {
    /// Removes a schema or a database, and its role.
    pub(crate) async fn drop_place(&self, placement: &Placement) -> Result<()> {
        let name = match placement {
            Placement::Shared => return Ok(()),
            Placement::Schema { name } | Placement::Database { name } => name,
        };
        let mut conn = connect(&self.server(placement)).await?;
        place_role::check_drop(&mut conn, name.as_str()).await?;
        match placement {
            Placement::Schema { .. } => drop_schema(&mut conn, name).await?,
            _ => drop_database(&mut conn, name).await?,
        }
        // Also without `role_per_tenant`: a role of this name is that of the place, as another program created it.
        place_role::drop(&mut conn, name.as_str()).await?;
        let _ = conn.close().await;
        Ok(())
    }
}

/// Drops a schema, unless something outside of it would be dropped too.
async fn drop_schema(conn: &mut PgConnection, name: &PlacementName) -> Result<()> {
    let mut tx = conn.begin().await.map_err(|e| database_error(&e))?;
    // Nobody creates a view or a foreign key on a table between the check and the drop.
    let tables = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') \
        AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') ORDER BY c.oid";
    let tables: Vec<String> = sqlx::query_scalar(tables)
        .bind(name.as_str())
        .fetch_all(&mut *tx)
        .await
        .map_err(|e| database_error(&e))?;
    if !tables.is_empty() {
        let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "));
        run(&mut tx, lock).await.map_err(|e| database_error(&e))?;
    }
    if let Some(first) = dependents(&mut tx, name).await?.first() {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the schema `{name}` is not dropped, because this depends on it and would be dropped too: {first}; drop it, \
                 detach it or move it to another schema, and repeat this"
            ),
        ));
    }
    run(&mut tx, format!("DROP SCHEMA IF EXISTS \"{name}\" CASCADE"))
        .await
        .map_err(|e| database_error(&e))?;
    tx.commit().await.map_err(|e| database_error(&e))
}

async fn drop_database(conn: &mut PgConnection, name: &PlacementName) -> Result<()> {
    match run(conn, format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await {
        // The owner may not end the sessions of the application's role.
        Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("42501") => {
            drop_when_unused(conn, name).await
        }
        dropped => dropped.map_err(|e| database_error(&e)),
    }
}

/// Drops a database when the last session of another role has ended. No such session begins meanwhile, and a pool closes idle
/// ones. The owner can still connect, so that this can be repeated.
async fn drop_when_unused(conn: &mut PgConnection, name: &PlacementName) -> Result<()> {
    const IDLE: Duration = Duration::from_mins(1);
    const USED: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND usesysid <> (SELECT oid FROM pg_roles WHERE rolname = current_user))";
    const END_OWN: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE datname = $1 AND usesysid = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND pid <> pg_backend_pid()";
    forbid_connections(conn, name).await?;
    let deadline = Instant::now() + IDLE;
    loop {
        let used = sqlx::query_scalar(USED).bind(name.as_str()).fetch_one(&mut *conn).await;
        if !used.map_err(|e| database_error(&e))? {
            break;
        }
        if Instant::now() > deadline {
            return Err(in_use(name));
        }
        sqlx_core::rt::sleep(NEXT_ATTEMPT).await;
    }
    // The lock of the place is a session of the owner in this database.
    let ended = sqlx::query(END_OWN).bind(name.as_str()).execute(&mut *conn).await;
    ended.map_err(|e| database_error(&e))?;
    match run(conn, format!("DROP DATABASE IF EXISTS \"{name}\"")).await {
        // A session began again, or a prepared transaction is left. The lock is gone, so this is not tried again here.
        Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("55006") => Err(in_use(name)),
        dropped => dropped.map_err(|e| database_error(&e)),
    }
}

fn in_use(name: &PlacementName) -> Error {
    Error::new(
        ErrorKind::Retryable,
        format!(
            "the database `{name}` is still in use, and the owner may not end its sessions; close the pools of the \
             application, or make the owner a member of the application's role, and repeat this"
        ),
    )
}

/// Takes the right to connect from every role but the owner.
async fn forbid_connections(conn: &mut PgConnection, name: &PlacementName) -> Result<()> {
    let sql = "SELECT DISTINCT coalesce(quote_ident(r.rolname), 'PUBLIC') FROM pg_database d \
        CROSS JOIN aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a LEFT JOIN pg_roles r ON r.oid = a.grantee \
        WHERE d.datname = $1 AND a.privilege_type = 'CONNECT' AND a.grantee <> d.datdba";
    let roles: Vec<String> = sqlx::query_scalar(sql)
        .bind(name.as_str())
        .fetch_all(&mut *conn)
        .await
        .map_err(|e| database_error(&e))?;
    if roles.is_empty() {
        return Ok(());
    }
    let revoke = format!("REVOKE CONNECT ON DATABASE \"{name}\" FROM {} CASCADE", roles.join(", "));
    run(conn, revoke).await.map_err(|e| database_error(&e))
}
