//! The role of one place, on PostgreSQL.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

#[cfg(feature = "operations")]
use crate::database::OWN_GRANTS;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::quoted;
use crate::tenant::PlacementName;

/// Creates the role of a place, if it does not exist, and makes the application's role a member that has to choose it.
pub(super) async fn create(conn: &mut PgConnection, name: &PlacementName, login: Option<&str>) -> Result<()> {
    let misconfigured = |text| Error::new(ErrorKind::Misconfigured, text);
    let login = login.ok_or_else(|| {
        misconfigured(
            "a role for each tenant needs the application's role: call `PostgresPlaces::runtime_role`",
        )
    })?;
    let sql = "SELECT current_setting('server_version_num')::int >= 160000, rolinherit FROM pg_roles WHERE rolname = $1";
    let found: Option<(bool, bool)> =
        sqlx::query_as(sql).bind(login).fetch_optional(&mut *conn).await.map_err(|e| database_error(&e))?;
    let options = match found {
        None => return Err(misconfigured("the application's role does not exist")),
        Some((true, _)) => " WITH INHERIT FALSE, SET TRUE",
        Some((false, false)) => "",
        Some((false, true)) => {
            return Err(misconfigured(
                "the application's role inherits the privileges of its roles, so it could read every tenant's schema at \
                 once; run `ALTER ROLE .. NOINHERIT`",
            ));
        }
    };
    match run(conn, format!("CREATE ROLE \"{name}\" NOLOGIN")).await {
        Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("42710") => {}
        created => created.map_err(|e| database_error(&e))?,
    }
    let grant = format!("GRANT \"{name}\" TO {}{options}", quoted(login));
    run(conn, grant).await.map_err(|e| database_error(&e))
}

/// Whether this owner may drop a role. Since PostgreSQL 16 it has to be an administrator of the role too.
#[cfg(feature = "operations")]
const MAY_DROP: &str = "SELECT me.rolsuper OR (me.rolcreaterole AND (current_setting('server_version_num')::int < 160000 \
    OR pg_has_role(role.oid, 'MEMBER WITH ADMIN OPTION'))) FROM pg_roles AS role, pg_roles AS me \
    WHERE role.rolname = $1 AND me.rolname = current_user";

/// Fails if a place has a role that could not be dropped after it. Nobody would look for that role later.
#[cfg(feature = "operations")]
pub(super) async fn check_drop(conn: &mut PgConnection, role: &str) -> Result<()> {
    let may: Option<bool> = sqlx::query_scalar(MAY_DROP)
        .bind(role)
        .fetch_optional(&mut *conn)
        .await
        .map_err(|e| database_error(&e))?;
    if may == Some(false) {
        return Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "the place has a role of its own, {}, which this owner of the tables may not drop; connect as an owner with \
                 CREATEROLE, and repeat this",
                quoted(role)
            ),
        ));
    }
    Ok(())
}

/// Drops a role, if it exists, and before that what it was granted on the library's own tables.
#[cfg(feature = "operations")]
pub(super) async fn drop(conn: &mut PgConnection, role: &str) -> Result<()> {
    let exists = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)");
    let exists: bool = exists.bind(role).fetch_one(&mut *conn).await.map_err(|e| database_error(&e))?;
    if !exists {
        return Ok(());
    }
    let tables = OWN_GRANTS.map(|(table, _)| table).join(", ");
    let role = quoted(role);
    let sql = format!("REVOKE ALL ON {tables} FROM {role}; DROP ROLE {role}");
    match run(conn, sql).await {
        // The other place of the tenant, to which it moves, has the same role.
        Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("2BP01") => Ok(()),
        dropped => dropped.map_err(|e| database_error(&e)),
    }
}

async fn run(conn: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(|_| ())
}
