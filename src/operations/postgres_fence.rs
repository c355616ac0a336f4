//! Fences on PostgreSQL: a policy on each table refuses a tenant that is being moved, or was moved to another place.
//!
//! The policy compares the tenant column with an expression that fails for such a tenant. Every statement of this crate
//! compares the column too, so PostgreSQL compares the two values once, before it reads the table: a tenant that has no
//! row there any more is refused as well. A condition without the column would be evaluated for each row only.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::table::DataTable;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::{FENCE, literal, quoted};
use crate::placement::PostgresPlaces;
use crate::tenant::Placement;

/// How long one attempt waits for the lock of a table. Other statements wait behind it.
const LOCK: &str = "SET LOCAL lock_timeout = '200ms'";
const NEXT_ATTEMPT: Duration = Duration::from_millis(200);

/// What stands before the name of a prepared transaction.
const PREPARED: &str = "prepared ";

/// The transactions of this database that are in work. A session without a user, such as the one of an autovacuum, writes no row.
const OPEN: &str = "SELECT l.virtualtransaction FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid() \
    AND a.datname = current_database() AND a.usesysid IS NOT NULL \
    UNION ALL SELECT 'prepared ' || gid FROM pg_prepared_xacts WHERE database = current_database()";

/// Why row-level security would not refuse the application's role in some table.
pub(super) async fn unfenceable(
    places: &PostgresPlaces,
    conn: &mut PgConnection,
    placement: &Placement,
    tables: &[DataTable],
) -> Result<Option<String>> {
    let Some(role) = places.role_of(placement) else {
        return Ok(Some(
            "the application's role is not known, so it cannot be checked whether row-level security refuses it: call \
             `PostgresPlaces::runtime_role` (`--runtime-role`)"
                .to_owned(),
        ));
    };
    let sql = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = $1";
    let exempt: Option<bool> = sqlx::query_scalar(sql)
        .bind(&role)
        .fetch_optional(&mut *conn)
        .await
        .map_err(|e| database_error(&e))?;
    match exempt {
        None => return Ok(Some(format!("the role `{role}` does not exist"))),
        Some(true) => {
            return Ok(Some(format!(
                "row-level security does not apply to the role `{role}`, so a process with the old placement could not be \
                 refused; use a role without SUPERUSER and BYPASSRLS"
            )));
        }
        Some(false) => {}
    }
    let citus = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')";
    let row = sqlx::raw_sql(citus).fetch_one(&mut *conn).await.map_err(|e| database_error(&e))?;
    if row.try_get::<bool, _>(0).map_err(|e| database_error(&e))? {
        return Ok(Some(
            "on Citus a restrictive policy does not count, so a process with the old placement could not be refused".to_owned(),
        ));
    }
    for table in tables {
        for part in parts(conn, table).await? {
            if part.foreign {
                return Ok(Some(format!(
                    "the partition `{}` is a foreign table, which has no row-level security, so a process with the old \
                     placement could not be refused; detach it",
                    part.name
                )));
            }
            if !part.forced {
                return Ok(Some(format!(
                    "row-level security is not forced on `{}`, so a process with the old placement could not be refused; run \
                     `tenancy policies --apply`",
                    part.name
                )));
            }
        }
    }
    Ok(None)
}

/// A table, or a partition at any depth. The policy of a table does not apply to a statement that names a partition.
struct Part {
    name: String,
    /// The name in SQL, with its schema.
    ident: String,
    forced: bool,
    foreign: bool,
}

async fn parts(conn: &mut PgConnection, table: &DataTable) -> Result<Vec<Part>> {
    let sql = format!(
        "SELECT c.oid::regclass::text, format('%I.%I', n.nspname, c.relname), c.relrowsecurity AND c.relforcerowsecurity, \
             c.relkind = 'f' \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = {0}::regclass OR c.oid IN (SELECT relid FROM pg_partition_tree({0}::regclass)) \
         ORDER BY c.oid <> {0}::regclass, 2",
        literal(&table.ident)
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await.map_err(|e| database_error(&e))?;
    let parts = rows.iter().map(|row| {
        let (ident, forced) = (row.try_get(1)?, row.try_get(2)?);
        let name = if ident == table.ident { table.name.clone() } else { row.try_get(0)? };
        Ok(Part { name, ident, forced, foreign: row.try_get(3)? })
    });
    parts.collect::<sqlx::Result<_>>().map_err(|e| database_error(&e))
}

/// Creates the policy on each table and partition that lacks it. That takes an exclusive lock for a moment, each for itself.
pub(super) async fn prepare(
    conn: &mut PgConnection,
    tables: &[&DataTable],
    fences: &str,
    place: &str,
    wait: Duration,
) -> Result<()> {
    let deadline = Instant::now() + wait;
    for table in tables {
        for part in parts(conn, table).await? {
            create_policy(conn, table, &part, fences, place, deadline).await?;
        }
    }
    Ok(())
}

async fn create_policy(
    conn: &mut PgConnection,
    table: &DataTable,
    part: &Part,
    fences: &str,
    place: &str,
    deadline: Instant,
) -> Result<()> {
    // A policy of another place, such as one of a schema that was renamed, is replaced.
    let has = format!(
        "SELECT count(*) FROM pg_policy WHERE polrelid = {}::regclass AND polname = '{FENCE}' \
         AND position({} IN pg_get_expr(polqual, polrelid)) > 0",
        literal(&part.ident),
        literal(&format!("= {}::text", literal(place)))
    );
    let count = sqlx::raw_sql(AssertSqlSafe(has)).fetch_one(&mut *conn).await;
    if count.and_then(|row| row.try_get::<i64, _>(0)).map_err(|e| database_error(&e))? > 0 {
        return Ok(());
    }
    let placed = fences.replace("tenancy_fences", "tenancy_placed");
    let create = format!(
        "{LOCK}; DROP POLICY IF EXISTS {0} ON {1}; CREATE POLICY {0} ON {1} AS RESTRICTIVE USING ({2} = {placed}(EXISTS (SELECT FROM {fences} AS fence \
         WHERE fence.tenant_id = current_setting('app.tenant_id', true) AND fence.place = {3}))::{4})",
        quoted(FENCE),
        part.ident,
        table.tenant,
        literal(place),
        table.tenant_type
    );
    loop {
        match sqlx::raw_sql(AssertSqlSafe(create.clone())).execute(&mut *conn).await {
            Ok(_) => return Ok(()),
            Err(sqlx::Error::Database(e))
                if e.code().as_deref() == Some("55P03") && Instant::now() < deadline =>
            {
                sqlx_core::rt::sleep(NEXT_ATTEMPT).await;
            }
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("55P03") => {
                return Err(Error::new(
                    ErrorKind::Retryable,
                    format!(
                        "another transaction uses `{}` for too long; end it, or repeat the move when there is less load",
                        part.name
                    ),
                ));
            }
            Err(error) => return Err(database_error(&error)),
        }
    }
}

/// Waits until every transaction of this database has ended that is open now. It does not stop others.
pub(super) async fn wait_for_older(conn: &mut PgConnection, wait: Duration) -> Result<()> {
    let deadline = Instant::now() + wait;
    let mut older = open(conn).await?;
    loop {
        if !is_open(&mut older, &open(conn).await?) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::new(
                ErrorKind::Retryable,
                "a transaction is open since before the tenant was fenced, and could still write; end it, and repeat the move",
            ));
        }
        sqlx_core::rt::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether one of the older transactions is open now. One of them can have become a prepared transaction meanwhile, which has
/// another name: each of those counts as an older one.
fn is_open(older: &mut Vec<String>, now: &[String]) -> bool {
    older.extend(now.iter().filter(|one| one.starts_with(PREPARED)).cloned());
    older.iter().any(|one| now.contains(one))
}

async fn open(conn: &mut PgConnection) -> Result<Vec<String>> {
    let rows = sqlx::raw_sql(OPEN).fetch_all(conn).await.map_err(|e| database_error(&e))?;
    rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>().map_err(|e| database_error(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_is_prepared_between_two_looks_is_open() {
        let names = |all: &[&str]| -> Vec<String> { all.iter().map(|one| (*one).to_owned()).collect() };
        let mut older = names(&["3/17"]);
        assert!(is_open(&mut older, &names(&["3/17", "4/2"])));
        // The only older one is prepared now, and its session has another transaction.
        assert!(is_open(&mut older, &names(&["3/18", "prepared order 5"])));
        assert!(is_open(&mut older, &names(&["prepared order 5"])));
        assert!(!is_open(&mut older, &names(&["3/19", "4/3"])));
    }
}
