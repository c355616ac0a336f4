//! [`Preflight`] for PostgreSQL: the tenant setting, poolers, Citus, row-level security and the doctor.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Pool, Postgres, Row};
use tenancy_sql::{Dialect, Schema};

use super::check::Preflight;
use super::postgres_columns::tenant_columns;
use super::postgres_connection::check_connection;
use super::tenant_column::TenantColumn;
use crate::database::{ConnectionMode, Driver, Enforcement, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::doctor::{self, Check, Severity};

/// How often the process ids of two connections are compared. A pooler may change the server connection each time.
const PID_CHECKS: usize = 4;

impl Preflight for Postgres {
    type Accepted = Vec<Check>;

    async fn preflight(
        pool: &Pool<Self>,
        enforcement: Enforcement,
        connection_mode: ConnectionMode,
        schema: &Schema,
        accepted: &Self::Accepted,
    ) -> Result<()> {
        preflight(pool, enforcement, connection_mode, schema, accepted).await
    }

    async fn tenant_columns(pool: &Pool<Self>, schema: &Schema) -> Result<Vec<TenantColumn>> {
        tenant_columns(pool, schema).await
    }
}

/// Runs all checks. They use simple queries only, because a pooler that shares connections mixes up named statements.
async fn preflight(
    pool: &Pool<Postgres>,
    enforcement: Enforcement,
    connection_mode: ConnectionMode,
    schema: &Schema,
    accepted: &[Check],
) -> Result<()> {
    if connection_mode == ConnectionMode::PgBouncer && caches_statements(pool) {
        return Err(misconfigured(
            "behind a pooler that shares connections sqlx must not cache statements: create the pool with \
             `statement_cache_capacity(0)`, or let `TenantDb::postgres` create it",
        ));
    }
    let mut conn = check_connection(pool).await?;
    check_tenant_setting(&mut conn, connection_mode).await?;
    Postgres::check_connection_mode(&mut conn, connection_mode).await?;
    if enforcement == Enforcement::PredicateOnly {
        check_rls_inactive(&mut conn, connection_mode, schema).await?;
    }
    run_doctor(&mut conn, enforcement, schema, accepted).await?;
    if connection_mode != ConnectionMode::PgBouncer {
        check_exclusive_connections(pool, &mut conn).await?;
    }
    // Every result is read, so an error while closing does not matter.
    let _ = conn.close().await;
    // Other code may have left a connection of the pool in the transaction of a tenant. It is closed then.
    let mut pooled = pool.acquire().await.map_err(|e| database_error(&e))?;
    pooled.close_on_drop();
    check_tenant_setting(&mut pooled, connection_mode).await
}

/// The checks about row-level security. They do not apply under [`Enforcement::PredicateOnly`].
const RLS_CHECKS: [Check; 12] = [
    Check::ExemptRole,
    Check::OwnerPastRls,
    Check::RlsOff,
    Check::ChildWithoutRls,
    Check::OpenPolicy,
    Check::FrozenTenant,
    Check::OwnerView,
    Check::DefinerFunction,
    Check::LeakproofFunction,
    Check::SettingDefault,
    Check::ProbeRead,
    Check::ProbeWrite,
];

/// Rejects a database in which the doctor finds a fault that was not accepted, and logs its warnings.
async fn run_doctor(
    conn: &mut PgConnection,
    enforcement: Enforcement,
    schema: &Schema,
    accepted: &[Check],
) -> Result<()> {
    /// How many findings an error names.
    const SHOWN: usize = 5;
    let ignored: &[Check] = if enforcement == Enforcement::PredicateOnly { &RLS_CHECKS } else { &[] };
    let report = doctor::examine_shared(conn, schema).await?;
    let failures = report.failures(&[accepted, ignored].concat());
    for finding in report.findings().iter().filter(|finding| finding.severity() == Severity::Warning) {
        tracing::warn!(
            target: "tenancy::doctor",
            check = finding.check().id(),
            object = finding.object(),
            "{}; fix: {}", finding.detail(), finding.fix()
        );
    }
    if failures.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = failures
        .iter()
        .take(SHOWN)
        .map(|f| format!("{} at {}: {} (fix: {})", f.check().id(), f.object(), f.detail(), f.fix()))
        .collect();
    Err(Error::new(
        ErrorKind::Misconfigured,
        format!(
            "this database does not isolate tenants ({} found): {}; `tenancy doctor` shows all, and \
             `TenantDbBuilder::accept` accepts one kind of fault",
            failures.len(),
            shown.join("; ")
        ),
    ))
}

/// Whether sqlx caches prepared statements. The URL of the options is the only place where sqlx exposes it.
fn caches_statements(pool: &Pool<Postgres>) -> bool {
    let url = pool.connect_options().to_url_lossy();
    !url.query_pairs().any(|(name, value)| name == "statement-cache-capacity" && value == "0")
}

/// Checks that a setting of one message is still there in the next message, and gone after the transaction.
async fn check_tenant_setting(conn: &mut PgConnection, connection_mode: ConnectionMode) -> Result<()> {
    const PROBE_TENANT: &str = "00000000-0000-4000-8000-746f6c643f3f";
    const SETTINGS: &str = "SELECT coalesce(current_setting('app.tenant_id', true), ''), \
                       current_setting('standard_conforming_strings')";
    let before = texts(conn, SETTINGS).await?;
    if before[0].as_deref() != Some("") {
        return Err(misconfigured(
            "a new connection already has a tenant: remove `app.tenant_id` from `ALTER ROLE .. SET`, \
             `ALTER DATABASE .. SET`, the connection's options and any hook of the pool",
        ));
    }
    if before[1].as_deref() != Some("on") {
        return Err(misconfigured(
            "`standard_conforming_strings` is off, which gives backslashes in strings another meaning; turn it on",
        ));
    }
    match connection_mode {
        ConnectionMode::Citus => {
            run(conn, "BEGIN READ ONLY").await?;
            run(conn, &format!("SET LOCAL app.tenant_id = '{PROBE_TENANT}'")).await?;
        }
        _ => run(conn, &format!("BEGIN READ ONLY; SET LOCAL app.tenant_id = '{PROBE_TENANT}'")).await?,
    }
    let within = texts(conn, SETTINGS).await?;
    run(conn, "ROLLBACK").await?;
    let after = texts(conn, SETTINGS).await?;
    if within[0].as_deref() == Some(PROBE_TENANT) && after[0].as_deref() == Some("") {
        return Ok(());
    }
    Err(misconfigured(
        "the tenant setting does not stay in its transaction: a pooler must send all statements of a transaction to \
         one server connection (for PgBouncer, `pool_mode` `transaction` or `session`)",
    ))
}

/// Checks that two connections are two sessions of the server. Behind a transaction pooler they may not be.
///
/// The second one is not of the pool, so that it exists for a pool of one connection too.
async fn check_exclusive_connections(pool: &Pool<Postgres>, first: &mut PgConnection) -> Result<()> {
    const BACKEND_PID: &str = "SELECT pg_backend_pid()::text";
    let mut second = check_connection(pool).await.map_err(|error| {
        let text = "whether a pooler that shares connections is in front of the database cannot be checked without a \
                    second connection, which cannot be opened: permit the role one connection more, or call \
                    `.connection_mode(ConnectionMode::PgBouncer)`, with which nothing is to be checked";
        Error::new(error.kind(), text).with_source(error)
    })?;
    let (mut first_pids, mut second_pids) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..PID_CHECKS {
        first_pids.extend(texts(first, BACKEND_PID).await?);
        second_pids.extend(texts(&mut second, BACKEND_PID).await?);
    }
    let _ = second.close().await;
    if first_pids.len() == 1 && second_pids.len() == 1 && first_pids.is_disjoint(&second_pids) {
        return Ok(());
    }
    Err(misconfigured(
        "a pooler that shares connections is in front of the database, and a statement can return the result of another \
         client's statement: call `.connection_mode(ConnectionMode::PgBouncer)`, also on `SqlStore`",
    ))
}

/// Rejects row-level security on the application's tables, because without a tenant setting they look empty.
async fn check_rls_inactive(
    conn: &mut PgConnection,
    connection_mode: ConnectionMode,
    schema: &Schema,
) -> Result<()> {
    let rows = sqlx::raw_sql(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
         AND left(c.relname, 8) <> 'tenancy_' AND row_security_active(c.oid) ORDER BY 1",
    )
    .fetch_all(conn)
    .await
    .map_err(|e| database_error(&e))?;
    for row in rows {
        let table: String = row.try_get(0).map_err(|e| database_error(&e))?;
        if connection_mode != ConnectionMode::PgBouncer
            && schema.tenant_column(Dialect::Postgres, &table).is_some()
        {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "`Enforcement::PredicateOnly` does not set the tenant in the database, and the table `{table}` has row-level \
                     security, so it would look empty; use `Enforcement::PredicateAndRls`"
                ),
            ));
        }
    }
    Ok(())
}

async fn run(conn: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(|_| ()).map_err(|e| database_error(&e))
}

/// The columns of a query that returns one row, as text.
async fn texts(conn: &mut PgConnection, sql: &'static str) -> Result<Vec<Option<String>>> {
    let row = sqlx::raw_sql(sql).fetch_one(conn).await.map_err(|e| database_error(&e))?;
    (0..row.len()).map(|column| row.try_get(column)).collect::<Result<_, _>>().map_err(|e| database_error(&e))
}

fn misconfigured(text: &'static str) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
}
