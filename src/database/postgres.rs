//! [`Driver`] for PostgreSQL.

use std::fmt::Write;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Pool, Postgres, SqlSafeStr};
use sqlx_core::transaction::TransactionManager;
use tenancy_sql::TenantType;

use super::begin::Begin;
use super::conn::{Conn, TxMode};
use super::connection_mode::ConnectionMode;
use super::driver::{Driver, common_methods};
use super::enforcement::Enforcement;
use super::error::{database_error, to_sqlx_error};
use super::own_tables::OwnTables;
use super::pooled::{CLIENT_CHECK, Pooled};
use super::route::Route;
use super::tenant_id::encode_tenant_id;
use super::{citus, postgres_own_tables};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::DatabaseLimits;
use crate::tenant::{Placement, PlacementName, TenantId};

/// How long a connection is idle before it is pinged on its next use.
const PING_AFTER_IDLE: Duration = Duration::from_secs(10);

encode_tenant_id!(Postgres);

impl Driver for Postgres {
    const HAS_RLS: bool = true;
    const HAS_SCHEMAS: bool = true;
    const DRAINS_FOR: Option<Duration> = Some(Duration::from_millis(100));
    const CLAIM_PLACE: &str = "DELETE FROM tenancy_ready_places WHERE name = \
        (SELECT name FROM tenancy_ready_places WHERE kind = $1 AND ready_us > 0 ORDER BY ready_us, name LIMIT 1 \
        FOR UPDATE SKIP LOCKED) RETURNING name";

    const NOTIFY: Option<&str> = Some(NOTIFY);

    async fn begin(conn: Conn<'_, Self>, begin: Begin<'_>) -> sqlx::Result<()> {
        let statement = match begin.mode {
            TxMode::Read => "BEGIN READ ONLY",
            TxMode::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            TxMode::Write => "BEGIN",
        };
        let schema = conn.route.schema.as_ref();
        if conn.route.connection_mode == ConnectionMode::Citus {
            // Citus forwards a message of several statements to its workers whole, with a BEGIN too many.
            send_begin(conn.conn, statement.to_owned()).await?;
            for setting in settings(begin.tenant, conn.route).into_iter().chain(time_limits(conn.route)) {
                sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut *conn.conn).await?;
            }
            return Ok(());
        }
        // One message begins the transaction and sets the tenant. The settings are local to the transaction. The check
        // fails unless the transaction began with this message and its tenant is this one.
        let mut message = statement.to_owned();
        for setting in settings(begin.tenant, conn.route).into_iter().chain(time_limits(conn.route)) {
            let _ = write!(message, "; {setting}");
        }
        if begin.verify_tenant {
            let _ = write!(message, "; SELECT 1/(now() = statement_timestamp()");
            if let Some(tenant) = begin.tenant.map(setting_value) {
                let _ = write!(message, " AND current_setting('app.tenant_id') = '{tenant}'");
            }
            message += ")::int";
        }
        if let Some(schema) = schema.filter(|_| begin.verify_schema) {
            let _ = write!(message, "; {}", schema_check(schema));
        }
        send_begin(conn.conn, message).await.map_err(|error| match &error {
            sqlx::Error::Database(e) if e.code().as_deref() == Some(DIVISION_BY_ZERO) => {
                sqlx::Error::BeginFailed
            }
            _ => schema_error(error, schema),
        })
    }

    async fn switch(
        conn: Conn<'_, Self>,
        tenant: &TenantId,
        left: &Route,
        verify_schema: bool,
    ) -> sqlx::Result<()> {
        let mut all = settings(Some(tenant), conn.route);
        if left.schema.is_some() && conn.route.schema.is_none() {
            all.push("SET LOCAL search_path TO DEFAULT".to_owned());
        }
        if left.role.is_some() && conn.route.role.is_none() {
            all.push("SET LOCAL ROLE NONE".to_owned());
        }
        if let Some(schema) = conn.route.schema.as_ref().filter(|_| verify_schema) {
            all.push(schema_check(schema));
        }
        for setting in all {
            let sent = sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut *conn.conn).await;
            sent.map_err(|error| schema_error(error, conn.route.schema.as_ref()))?;
        }
        Ok(())
    }

    async fn own_tables(conn: &mut PgConnection) -> Result<OwnTables> {
        postgres_own_tables::read(conn).await
    }

    async fn set_own_tenant_type(conn: &mut PgConnection, tenant_type: TenantType) -> Result<()> {
        postgres_own_tables::set_type(conn, tenant_type).await
    }

    async fn check_connection_mode(conn: &mut PgConnection, connection_mode: ConnectionMode) -> Result<()> {
        citus::check(conn, connection_mode).await
    }

    async fn check_database(
        conn: &mut PgConnection,
        enforcement: Enforcement,
        own_type: TenantType,
    ) -> Result<()> {
        let check = "SELECT rolsuper OR rolbypassrls, coalesce(current_setting('app.tenant_id', true), '') <> '' \
                     FROM pg_roles WHERE rolname = current_user";
        let row = sqlx::raw_sql(check).fetch_one(&mut *conn).await.map_err(|e| database_error(&e))?;
        let flag = |column| sqlx::Row::try_get::<bool, _>(&row, column).map_err(|e| database_error(&e));
        let text = match (flag(0)?, flag(1)?) {
            (true, _) if enforcement == Enforcement::PredicateAndRls => {
                "row-level security does not apply to the role of this tenant's database: it is a superuser or has \
                 BYPASSRLS; use another role, or declare `Enforcement::PredicateOnly` for the database"
            }
            (_, true) => {
                "a new connection to this tenant's database already has a tenant: remove `app.tenant_id` from \
                 `ALTER ROLE .. SET`, `ALTER DATABASE .. SET` and the connection's options"
            }
            _ => {
                let own = Self::own_tables(conn).await?;
                if own.schema.is_none() || own.tenant_type == own_type {
                    return Ok(());
                }
                "the library's own tables have another type of `tenant_id` in this tenant's database than in the shared \
                 one; run `SqlStore::migrate` with the same `SqlStore::tenant_id_type` in both"
            }
        };
        Err(Error::new(ErrorKind::Misconfigured, text))
    }

    async fn advisory_lock(conn: Conn<'_, Self>, key: &str) -> sqlx::Result<()> {
        // The lock ends with the transaction. Two keys with the same hash wait for each other needlessly; that is
        // safe.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(key)
            .persistent(conn.uses_named_statements())
            .execute(conn.conn)
            .await
            .map(|_| ())
    }

    async fn limit(_: &mut Pooled<Self>, _: &DatabaseLimits) -> sqlx::Result<()> {
        // The message of `begin` sets them.
        Ok(())
    }

    async fn checks_client(conn: &mut PgConnection, connection_mode: ConnectionMode) -> bool {
        // On Citus a setting costs a round trip. Windows and some other systems cannot check.
        let milliseconds = CLIENT_CHECK.as_millis();
        let probe = format!("SELECT set_config('client_connection_check_interval', '{milliseconds}', true)");
        connection_mode != ConnectionMode::Citus
            && sqlx::raw_sql(AssertSqlSafe(probe)).execute(conn).await.is_ok()
    }

    async fn check_fence(_: Conn<'_, Self>, _: &TenantId, _: &Placement) -> sqlx::Result<()> {
        // A policy on each table does.
        Ok(())
    }

    fn discard(conn: Pooled<Self>) {
        // The session may be inside a transaction of this tenant. In sqlx 0.9.0 the pool would give it to the next
        // request. Closing the socket ends the session, and the transaction with it.
        conn.abort();
    }

    fn connect_options(url: &str) -> sqlx::Result<PgConnectOptions> {
        url.parse()
    }

    fn pool(
        options: PoolOptions<Self>,
        connect: PgConnectOptions,
        connection_mode: ConnectionMode,
    ) -> Pool<Self> {
        let (options, connect) = prepare(options, connect, connection_mode);
        options.connect_lazy_with(connect)
    }

    common_methods!(
        Postgres,
        &[
            (1, "tenancy", include_str!("../../migrations/postgres/0001_tenancy.sql")),
            (2, "tenants own", include_str!("../../migrations/postgres/0002_tenants_own.sql")),
            (3, "placements", include_str!("../../migrations/postgres/0003_placements.sql")),
            (4, "billing", include_str!("../../migrations/postgres/0004_billing.sql")),
            (5, "billing outbox", include_str!("../../migrations/postgres/0005_billing_outbox.sql")),
            (6, "checkouts", include_str!("../../migrations/postgres/0006_checkouts.sql")),
            (7, "usage", include_str!("../../migrations/postgres/0007_usage.sql")),
            (8, "quotas", include_str!("../../migrations/postgres/0008_quotas.sql")),
            (9, "gauge resources", include_str!("../../migrations/postgres/0009_gauge_resources.sql")),
            (10, "suspensions", include_str!("../../migrations/postgres/0010_suspensions.sql")),
            (11, "deletions", include_str!("../../migrations/postgres/0011_deletions.sql")),
            (12, "erasure", include_str!("../../migrations/postgres/0012_erasure.sql")),
            (13, "moves", include_str!("../../migrations/postgres/0013_moves.sql")),
        ]
    );
}

/// The channel of the schema in which the tables of `tenancy` are. Its name has at most 63 bytes, as PostgreSQL requires.
macro_rules! notify_channel {
    () => {
        "('tenancy_' || nspname::text)::name::text"
    };
}

macro_rules! own_schema {
    () => {
        " FROM pg_catalog.pg_namespace WHERE oid = \
         (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = to_regclass('tenancy_tenants'))"
    };
}

/// Sends the message `$1`, if the tables of `tenancy` exist.
pub(crate) const NOTIFY: &str = concat!("SELECT pg_notify(", notify_channel!(), ", $1)", own_schema!());

/// The channel to which [`NOTIFY`] sends; no row if the tables of `tenancy` do not exist.
#[cfg(feature = "cache")]
pub(crate) const NOTIFY_CHANNEL: &str = concat!("SELECT ", notify_channel!(), own_schema!());

/// Options of a pool that no other code uses.
fn prepare(
    options: PoolOptions<Postgres>,
    connect: PgConnectOptions,
    connection_mode: ConnectionMode,
) -> (PoolOptions<Postgres>, PgConnectOptions) {
    let connect =
        if connection_mode.uses_named_statements() { connect } else { connect.statement_cache_capacity(0) };
    // `test_before_acquire` pings a connection on each use, which costs a round trip. `BEGIN` detects a dead connection
    // as well, so only a connection that was idle for long is pinged.
    let options = options.test_before_acquire(false).before_acquire(|conn, meta| {
        Box::pin(async move {
            if meta.idle_for > PING_AFTER_IDLE {
                conn.ping().await?;
            }
            Ok(true)
        })
    });
    (options, connect)
}

const DIVISION_BY_ZERO: &str = "22012";
const UNDEFINED_SCHEMA: &str = "3F000";
const INVALID_NAME: &str = "42602";

async fn send_begin(conn: &mut PgConnection, message: String) -> sqlx::Result<()> {
    let message = AssertSqlSafe(message).into_sql_str();
    <Postgres as sqlx::Database>::TransactionManager::begin(conn, Some(message)).await
}

/// Fails if the schema does not exist, or if the role may not use it. In a search path neither is an error. The casts
/// fail, each with a code of its own.
fn schema_check(schema: &PlacementName) -> String {
    format!(
        "SELECT (CASE WHEN has_schema_privilege('\"{schema}\"'::regnamespace, 'USAGE') THEN '1' \
         ELSE 'not usable' END)::regnamespace::text = ''"
    )
}

/// The error of [`schema_check`], by name.
fn schema_error(error: sqlx::Error, schema: Option<&PlacementName>) -> sqlx::Error {
    let sqlx::Error::Database(e) = &error else { return error };
    match (e.code().as_deref(), schema) {
        (Some(UNDEFINED_SCHEMA), Some(schema)) => to_sqlx_error(Error::new(
            ErrorKind::PlacementMissing,
            format!("the schema `{schema}`, where this tenant's rows are, does not exist"),
        )),
        (Some(INVALID_NAME), Some(schema)) => to_sqlx_error(Error::new(
            ErrorKind::Misconfigured,
            format!("the application's role may not use the schema `{schema}`: `GRANT USAGE ON SCHEMA`"),
        )),
        _ => error,
    }
}

/// The settings of a tenant's transaction.
///
/// The search path has the tenant's schema only. `public` in it would have a table that the schema lacks, and temporary
/// tables, which PostgreSQL otherwise finds first, come last.
fn settings(tenant: Option<&TenantId>, route: &Route) -> Vec<String> {
    let tenant = tenant.map(|tenant| format!("SET LOCAL app.tenant_id = '{}'", setting_value(tenant)));
    let path = |schema| format!("SET LOCAL search_path = \"{schema}\", pg_temp");
    let role = |role| format!("SET LOCAL ROLE \"{role}\"");
    let route = route.schema.as_ref().map(path).into_iter().chain(route.role.as_ref().map(role));
    tenant.into_iter().chain(route).collect()
}

/// The time limits of the plan, and the check that the client is still there. They end with the transaction.
fn time_limits(route: &Route) -> impl Iterator<Item = String> {
    let set = |name: &str, limit: Option<Duration>| {
        limit.map(|limit| format!("SET LOCAL {name} = {}", limit.as_millis()))
    };
    let plan = [
        set("statement_timeout", route.limits.statement_timeout()),
        set("lock_timeout", route.limits.lock_timeout()),
    ];
    plan.into_iter().flatten().chain(route.checks_client.then(client_check))
}

fn client_check() -> String {
    format!("SET LOCAL client_connection_check_interval = {}", CLIENT_CHECK.as_millis())
}

/// The tenant id as text for `app.tenant_id`. It is part of the SQL, so its characters are checked once more.
fn setting_value(tenant: &TenantId) -> String {
    let text = tenant.to_string();
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "a tenant id is plain text");
    text
}
