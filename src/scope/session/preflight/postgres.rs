//! What can be seen of a Postgres, and of what stands before it, when a data plane is built.

use std::collections::BTreeSet;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Pool, Postgres, Row};
use tenancy_sql::{Dialect, Schema};

use super::check::Preflight;
use super::postgres_columns::tenant_columns;
use super::tenant_column::TenantColumn;
use crate::database::{ConnectionMode, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::doctor::{self, Check, Severity};
use crate::scope::session::enforcement::Enforcement;

/// How often two connections are compared: a pooler may lend each another of its own.
const LOOKS: usize = 4;

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

/// Simple queries all along: a statement with a name is what a pooler mixes up.
async fn preflight(
    pool: &Pool<Postgres>,
    enforcement: Enforcement,
    connection_mode: ConnectionMode,
    schema: &Schema,
    accepted: &[Check],
) -> Result<()> {
    if connection_mode == ConnectionMode::PgBouncer && keeps_statements(pool) {
        return Err(misconfigured(
            "behind a pooler that shares connections sqlx must not keep statements: make the pool with \
             `statement_cache_capacity(0)`, or let `TenantDb::postgres` make it",
        ));
    }
    let mut conn = pool.acquire().await.map_err(|e| database_error(&e))?;
    // Whoever stops waiting could leave it inside of a transaction, and the pool may be one that others have as well.
    conn.close_on_drop();
    tenant_stays_in_its_transaction(&mut conn, connection_mode).await?;
    citus_is_as_said(&mut conn, connection_mode).await?;
    if enforcement == Enforcement::PredicateOnly {
        nothing_is_hidden(&mut conn, connection_mode, schema).await?;
    }
    keeps_tenants_apart(&mut conn, enforcement, schema, accepted).await?;
    if connection_mode != ConnectionMode::PgBouncer && pool.options().get_max_connections() > 1 {
        nobody_else_is_on_the_connection(pool, conn).await?;
    }
    Ok(())
}

/// What is about the second wall, where that is not in use.
const RLS_FAULTS: [Check; 12] = [
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

async fn keeps_tenants_apart(
    conn: &mut PgConnection,
    enforcement: Enforcement,
    schema: &Schema,
    accepted: &[Check],
) -> Result<()> {
    /// How many findings an error names.
    const SHOWN: usize = 5;
    let rls_faults: &[Check] = if enforcement == Enforcement::PredicateOnly { &RLS_FAULTS } else { &[] };
    let report = doctor::examine(conn, schema).await?;
    let failures = report.failures(&[accepted, rls_faults].concat());
    for finding in report.findings().iter().filter(|finding| finding.severity() == Severity::Warning) {
        tracing::warn!(
            target: "tenancy::doctor",
            check = finding.check().id(),
            object = finding.object(),
            "{}; mend: {}", finding.detail(), finding.fix()
        );
    }
    if failures.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = failures
        .iter()
        .take(SHOWN)
        .map(|f| format!("{} at {}: {} (mend: {})", f.check().id(), f.object(), f.detail(), f.fix()))
        .collect();
    Err(Error::new(
        ErrorKind::Misconfigured,
        format!(
            "this database would not keep tenants apart ({} found): {}; `tenancy doctor` shows all, and \
             `TenantDbBuilder::accept` takes one as it is",
            failures.len(),
            shown.join("; ")
        ),
    ))
}

/// sqlx says it in the URL of the options, and nowhere else.
fn keeps_statements(pool: &Pool<Postgres>) -> bool {
    let url = pool.connect_options().to_url_lossy();
    !url.query_pairs().any(|(name, value)| name == "statement-cache-capacity" && value == "0")
}

/// What is told in one message is known in the next, and forgotten after the transaction.
async fn tenant_stays_in_its_transaction(
    conn: &mut PgConnection,
    connection_mode: ConnectionMode,
) -> Result<()> {
    const TOLD: &str = "00000000-0000-4000-8000-746f6c643f3f";
    const ASK: &str = "SELECT coalesce(current_setting('app.tenant_id', true), ''), \
                       current_setting('standard_conforming_strings')";
    let before = texts(conn, ASK).await?;
    if before[0].as_deref() != Some("") {
        return Err(misconfigured(
            "a connection starts out with a tenant: remove `app.tenant_id` from `ALTER ROLE .. SET`, \
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
            run(conn, &format!("SET LOCAL app.tenant_id = '{TOLD}'")).await?;
        }
        _ => run(conn, &format!("BEGIN READ ONLY; SET LOCAL app.tenant_id = '{TOLD}'")).await?,
    }
    let within = texts(conn, ASK).await?;
    run(conn, "ROLLBACK").await?;
    let after = texts(conn, ASK).await?;
    if within[0].as_deref() == Some(TOLD) && after[0].as_deref() == Some("") {
        return Ok(());
    }
    Err(misconfigured(
        "a transaction does not keep the tenant that it was told, or not to itself: what stands before the database \
         must send a transaction to one connection (for PgBouncer `pool_mode` `transaction` or `session`)",
    ))
}

/// Two connections of a pool are two sessions of the server, unless somebody lends out sessions.
async fn nobody_else_is_on_the_connection(
    pool: &Pool<Postgres>,
    mut one: PoolConnection<Postgres>,
) -> Result<()> {
    const WHO: &str = "SELECT pg_backend_pid()::text";
    // A pool that is given away half empty is not waited for.
    let Ok(mut two) = pool.acquire().await else { return Ok(()) };
    let (mut ones, mut twos) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..LOOKS {
        ones.extend(texts(&mut one, WHO).await?);
        twos.extend(texts(&mut two, WHO).await?);
    }
    if ones.len() == 1 && twos.len() == 1 && ones.is_disjoint(&twos) {
        return Ok(());
    }
    Err(misconfigured(
        "a pooler that shares connections stands before the database: say `.connection_mode(ConnectionMode::PgBouncer)`, also to \
         `SqlStore`, for without it statements can be answered with those of others",
    ))
}

async fn citus_is_as_said(conn: &mut PgConnection, connection_mode: ConnectionMode) -> Result<()> {
    let found = texts(
        conn,
        "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'citus'), \
         current_setting('citus.propagate_set_commands', true)",
    )
    .await?;
    let (citus, propagates) = (found[0].is_some(), found[1].as_deref() == Some("local"));
    match (connection_mode, citus, propagates) {
        (ConnectionMode::Citus, true, true)
        | (ConnectionMode::Direct | ConnectionMode::PgBouncer, false, _) => Ok(()),
        (ConnectionMode::Citus, true, false) => Err(misconfigured(
            "the tenant would not reach Citus's workers: `ALTER ROLE .. SET citus.propagate_set_commands = 'local'`",
        )),
        (ConnectionMode::Citus, false, _) => Err(misconfigured(
            "`ConnectionMode::Citus` is said, and this database has no extension `citus`; say `ConnectionMode::Direct`",
        )),
        (ConnectionMode::Direct | ConnectionMode::PgBouncer, true, _) => Err(misconfigured(
            "this database has the extension `citus`, whose workers hear of the tenant under `ConnectionMode::Citus` only",
        )),
    }
}

/// Without the second wall in use, row-level security would make the user's tables look empty.
async fn nothing_is_hidden(
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
                    "`Enforcement::PredicateOnly` does not tell the database the tenant, and the table `{table}` has row-level \
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

/// The columns of the one row that a query answers.
async fn texts(conn: &mut PgConnection, sql: &'static str) -> Result<Vec<Option<String>>> {
    let row = sqlx::raw_sql(sql).fetch_one(conn).await.map_err(|e| database_error(&e))?;
    (0..row.len()).map(|column| row.try_get(column)).collect::<Result<_, _>>().map_err(|e| database_error(&e))
}

fn misconfigured(text: &'static str) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
}
