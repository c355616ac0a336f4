//! The grants of the role of a place on the library's own tables, which a tenant's transaction writes beside its own.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::database::{OWN_GRANTS, database_error};
use crate::error::Result;
use crate::isolation::quoted;

/// Two transactions that change the privileges of one table at the same time fail: one waits for the other here.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('tenancy grants', 0))";

/// A table that does not exist yet, and a role that does not exist, need no grant.
const MISSING: &str = "SELECT needed.name, needed.privilege \
    FROM unnest($2::text[], $3::text[]) AS needed (name, privilege), pg_roles \
    WHERE rolname = $1 AND NOT has_table_privilege(pg_roles.oid, to_regclass(needed.name)::oid, needed.privilege)";

/// Grants the role what it lacks. Without a difference it reads only.
///
/// The tables of schemas are in the schema that a connection has by default, those of a database in that database. The
/// search path of the connection is unchanged afterwards.
pub(super) async fn grant(conn: &mut PgConnection, role: &str) -> Result<()> {
    let mut tx = conn.begin().await.map_err(|e| database_error(&e))?;
    let granted = grant_in(&mut tx, role).await;
    match granted {
        Ok(()) => tx.commit().await.map_err(|e| database_error(&e)),
        Err(error) => {
            let _ = tx.rollback().await;
            Err(database_error(&error))
        }
    }
}

async fn grant_in(conn: &mut PgConnection, role: &str) -> sqlx::Result<()> {
    sqlx::raw_sql("SET LOCAL search_path TO DEFAULT").execute(&mut *conn).await?;
    if missing(conn, role).await?.is_empty() {
        return Ok(());
    }
    sqlx::raw_sql(LOCK).execute(&mut *conn).await?;
    for (table, privileges) in missing(conn, role).await? {
        let sql = format!("GRANT {} ON {table} TO {}", privileges.join(", "), quoted(role));
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await?;
    }
    Ok(())
}

/// The privileges that a role lacks, by table.
async fn missing(conn: &mut PgConnection, role: &str) -> sqlx::Result<BTreeMap<String, Vec<String>>> {
    let needed = OWN_GRANTS.iter().flat_map(|(table, all)| all.iter().map(move |one| (*table, *one)));
    let (tables, privileges): (Vec<_>, Vec<_>) = needed.unzip();
    let found: Vec<(String, String)> =
        sqlx::query_as(MISSING).bind(role).bind(tables).bind(privileges).fetch_all(conn).await?;
    let mut missing = BTreeMap::<_, Vec<_>>::new();
    for (table, privilege) in found {
        missing.entry(table).or_default().push(privilege);
    }
    Ok(missing)
}
