#[cfg(feature = "api-keys")]
mod api_keys;
#[cfg(feature = "stripe")]
mod billing;
mod domains;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::{Pool, SqlSafeStr};

use super::{Terms, stale};
use crate::audit::{AuditEvent, AuditSink};
use crate::clock::{Clock, Timestamp};
use crate::context::unknown_tenant;
use crate::database::{
    Conn, ConnectionMode, OpenTransaction, TxMode, Value, arguments, database_error, insert_event,
};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::Backend;
use crate::tenant::{
    NewTenant, Placement, Slug, StatusSource, Tenant, TenantId, TenantParts, TenantStatus, TenantStore,
};

/// The control plane in a database: tenants, their domains and API keys, billing state, and audit events that belong to no
/// change.
///
/// The tables are the crate's own and all start with `tenancy_`; [`migrate`](Self::migrate) makes them.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// use tenancy::store::SqlStore;
/// use tenancy::tenant::{NewTenant, Slug, TenantStore};
///
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
/// let store = SqlStore::new(pool);
/// store.migrate().await?;
/// let acme = store.insert(NewTenant::new(Slug::parse("acme")?, "Acme", "free")).await?;
/// assert_eq!(store.by_id(acme.id()).await?, Some(acme));
/// # Ok(()) }
/// # }
/// ```
pub struct SqlStore<DB: Backend> {
    pool: Pool<DB>,
    connection_mode: ConnectionMode,
    terms: Terms,
}

impl<DB: Backend> Clone for SqlStore<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), connection_mode: self.connection_mode, terms: self.terms.clone() }
    }
}

impl<DB: Backend> fmt::Debug for SqlStore<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("database", &DB::NAME).finish_non_exhaustive()
    }
}

impl<DB: Backend> SqlStore<DB> {
    /// A store on this pool.
    pub fn new(pool: Pool<DB>) -> Self {
        Self { pool, connection_mode: ConnectionMode::default(), terms: Terms::default() }
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.terms.clock = clock;
        self
    }

    /// For how long a slug that was given up is its old tenant's alone; 90 days if not said.
    ///
    /// It begins when the slug is changed, or when the tenant becomes
    /// [`Deleting`](crate::tenant::TenantStatus::Deleting). The slug of a tenant whose row is removed without that is
    /// never handed on.
    #[must_use]
    pub fn slug_cooldown(mut self, rest: Duration) -> Self {
        self.terms.slug_cooldown = rest;
        self
    }

    /// For how long a domain that was removed is its old tenant's alone; 30 days if not said.
    #[must_use]
    pub fn domain_cooldown(mut self, rest: Duration) -> Self {
        self.terms.domain_cooldown = rest;
        self
    }

    /// A connection for one read. Behind a pooler that shares connections it stands in a transaction, too.
    async fn reading(&self) -> Result<Reading<DB>> {
        if self.connection_mode == ConnectionMode::PgBouncer {
            return self.open(TxMode::Read).await.map(Reading::Open);
        }
        self.pool
            .acquire()
            .await
            .map(|conn| Reading::Autocommit(conn, self.connection_mode))
            .map_err(|e| database_error(&e))
    }

    /// A transaction that has no tenant.
    async fn open(&self, mode: TxMode) -> Result<OpenTransaction<DB>> {
        OpenTransaction::open(&self.pool, self.connection_mode, None, mode, true)
            .await
            .map_err(|e| database_error(&e))
    }

    /// Brings the crate's own tables up to date. Several nodes may call it at once.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the database cannot be reached; [`ErrorKind::Database`] if it refuses,
    /// or was migrated by a newer version of the crate.
    pub async fn migrate(&self) -> Result<()> {
        DB::migrate(&self.pool).await.map_err(|e| match e {
            sqlx::migrate::MigrateError::Execute(e) => database_error(&e),
            e => Error::new(ErrorKind::Database, "the tables of `tenancy` cannot be brought up to date")
                .with_source(e.to_string()),
        })
    }
}

#[cfg(feature = "postgres")]
impl SqlStore<sqlx::Postgres> {
    /// What stands between the program and the database; [`ConnectionMode::Direct`] if not said.
    ///
    /// [`migrate`](Self::migrate) needs a connection past any pooler: sqlx holds a lock of the session meanwhile.
    #[must_use]
    pub fn connection_mode(mut self, connection_mode: ConnectionMode) -> Self {
        self.connection_mode = connection_mode;
        self
    }
}

enum Reading<DB: Backend> {
    Autocommit(PoolConnection<DB>, ConnectionMode),
    Open(OpenTransaction<DB>),
}

impl<DB: Backend> Reading<DB> {
    fn conn(&mut self) -> Conn<'_, DB> {
        match self {
            Self::Autocommit(conn, connection_mode) => Conn::on(conn, *connection_mode),
            Self::Open(open) => open.conn(),
        }
    }
}

#[async_trait]
impl<DB: Backend> TenantStore for SqlStore<DB> {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        let mut reading = self.reading().await?;
        tenant_where::<DB>(reading.conn(), TENANT_BY_ID, &id.to_string()).await.map(|t| t.map(Arc::new))
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        let mut reading = self.reading().await?;
        tenant_where::<DB>(reading.conn(), TENANT_BY_SLUG, slug.as_str()).await.map(|t| t.map(Arc::new))
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        // No id is empty.
        let after = after.map(ToString::to_string).unwrap_or_default();
        let mut reading = self.reading().await?;
        let rows = fetch::<DB>(
            reading.conn(),
            "SELECT id, slug, name, status, status_set_by, plan, placement, version \
             FROM tenancy_tenants WHERE id > $1 ORDER BY id LIMIT $2",
            &[Value::Text(&after), Value::Int(limit.into())],
        )
        .await?;
        rows.iter().map(|row| read_tenant::<DB>(row).map(Arc::new)).collect()
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        let tenant = tenant.into_tenant();
        let placement = placement_text(tenant.placement());
        let mut tx = self.open(TxMode::Write).await?;
        execute::<DB>(
            tx.conn(),
            "INSERT INTO tenancy_tenants (id, slug, name, status, status_set_by, plan, placement, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                Value::Text(&tenant.id().to_string()),
                Value::Text(tenant.slug().as_str()),
                Value::Text(tenant.name()),
                Value::Text(tenant.status().as_str()),
                Value::Text(tenant.status_set_by().as_str()),
                Value::Text(tenant.plan()),
                Value::Text(&placement),
                Value::Int(1),
            ],
        )
        .await
        .map_err(taken)?;
        take_slug::<DB>(&mut tx, &tenant, &self.terms).await?;
        tx.commit().await?;
        Ok(Arc::new(tenant))
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        let mut tx = self.open(TxMode::Write).await?;
        let saved = save_tenant::<DB>(&mut tx, tenant, &self.terms).await?;
        tx.commit().await?;
        Ok(saved)
    }
}

/// Keeps events that belong to no change of rows, such as refusals. Events about a change are written by
/// [`Tx::record`](crate::scope::Tx::record), in the change's own transaction.
#[async_trait]
impl<DB: Backend> AuditSink for SqlStore<DB> {
    async fn write(&self, events: &[AuditEvent]) -> Result<()> {
        let mut tx = self.open(TxMode::Write).await?;
        for event in events {
            DB::set_tenant(tx.conn(), event.tenant()).await.map_err(|e| database_error(&e))?;
            insert_event::<DB>(tx.conn(), event).await?;
        }
        tx.commit().await
    }
}

const TENANT_BY_ID: &str = "SELECT id, slug, name, status, status_set_by, plan, placement, version \
                            FROM tenancy_tenants WHERE id = $1";
const TENANT_BY_SLUG: &str = "SELECT id, slug, name, status, status_set_by, plan, placement, version \
                              FROM tenancy_tenants WHERE slug = $1";

async fn tenant_where<DB: Backend>(
    conn: Conn<'_, DB>,
    sql: &'static str,
    key: &str,
) -> Result<Option<Tenant>> {
    let rows = fetch::<DB>(conn, sql, &[Value::Text(key)]).await?;
    rows.first().map(read_tenant::<DB>).transpose()
}

fn read_tenant<DB: Backend>(row: &DB::Row) -> Result<Tenant> {
    let version = DB::int(row, 7).map_err(|e| database_error(&e))?;
    Ok(Tenant::from_stored(TenantParts {
        id: stored(TenantId::parse(&text::<DB>(row, 0)?))?,
        slug: stored(Slug::parse(&text::<DB>(row, 1)?))?,
        name: text::<DB>(row, 2)?,
        status: stored(TenantStatus::parse(&text::<DB>(row, 3)?))?,
        status_set_by: stored(StatusSource::parse(&text::<DB>(row, 4)?))?,
        plan: text::<DB>(row, 5)?,
        placement: serde_json::from_str::<Placement>(&text::<DB>(row, 6)?).map_err(|e| {
            Error::new(ErrorKind::Database, "the placement of a tenant does not read").with_source(e)
        })?,
        version: u64::try_from(version).unwrap_or(0),
    }))
}

/// Writes a tenant over the version that it was read at.
async fn save_tenant<DB: Backend>(
    tx: &mut OpenTransaction<DB>,
    tenant: &Tenant,
    terms: &Terms,
) -> Result<Arc<Tenant>> {
    let id = tenant.id().to_string();
    let placement = placement_text(tenant.placement());
    let written = execute::<DB>(
        tx.conn(),
        "UPDATE tenancy_tenants SET slug = $3, name = $4, status = $5, status_set_by = $6, plan = $7, \
         placement = $8, version = version + 1 WHERE id = $1 AND version = $2",
        &[
            Value::Text(&id),
            Value::Int(i64::try_from(tenant.version()).unwrap_or(i64::MAX)),
            Value::Text(tenant.slug().as_str()),
            Value::Text(tenant.name()),
            Value::Text(tenant.status().as_str()),
            Value::Text(tenant.status_set_by().as_str()),
            Value::Text(tenant.plan()),
            Value::Text(&placement),
        ],
    )
    .await
    .map_err(taken)?;
    if written == 1 {
        take_slug::<DB>(tx, tenant, terms).await?;
        return Ok(Arc::new(tenant.next_version()));
    }
    match tenant_where::<DB>(tx.conn(), TENANT_BY_ID, &id).await? {
        Some(_) => Err(stale()),
        None => Err(unknown_tenant()),
    }
}

/// Notes whose the slug is, after the tenant was written, and that the tenant's other one is not in use any more. The row
/// of a slug is its own lock: of two who want it, one finds the other's.
async fn take_slug<DB: Backend>(tx: &mut OpenTransaction<DB>, tenant: &Tenant, terms: &Terms) -> Result<()> {
    let (id, slug) = (tenant.id().to_string(), tenant.slug().as_str());
    let until = terms.now().after(terms.slug_cooldown).micros();
    execute::<DB>(
        tx.conn(),
        "UPDATE tenancy_slugs SET until_us = $3 WHERE tenant_id = $1 AND slug <> $2 AND until_us IS NULL",
        &[Value::Text(&id), Value::Text(slug), Value::Int(until)],
    )
    .await?;
    let ends = tenant.status() == TenantStatus::Deleting;
    let written = execute::<DB>(
        tx.conn(),
        "INSERT INTO tenancy_slugs (slug, tenant_id, until_us) VALUES ($1, $2, $3) ON CONFLICT (slug) DO UPDATE \
         SET tenant_id = excluded.tenant_id, until_us = excluded.until_us \
         WHERE tenancy_slugs.tenant_id = excluded.tenant_id OR tenancy_slugs.until_us <= $4",
        &[
            Value::Text(slug),
            Value::Text(&id),
            Value::OptionalInt(ends.then_some(until)),
            Value::Int(terms.now().micros()),
        ],
    )
    .await?;
    if written == 1 { Ok(()) } else { Err(super::taken()) }
}

async fn execute<DB: Backend>(conn: Conn<'_, DB>, sql: &'static str, values: &[Value<'_>]) -> Result<u64> {
    let arguments = arguments::<DB>(values)?;
    DB::execute(conn, sql.into_sql_str(), arguments).await.map_err(|e| database_error(&e))
}

async fn fetch<DB: Backend>(
    conn: Conn<'_, DB>,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<Vec<DB::Row>> {
    let arguments = arguments::<DB>(values)?;
    DB::fetch(conn, sql.into_sql_str(), arguments).await.map_err(|e| database_error(&e))
}

fn text<DB: Backend>(row: &DB::Row, column: usize) -> Result<String> {
    DB::text(row, column).map_err(|e| database_error(&e))?.ok_or_else(|| {
        Error::new(ErrorKind::Database, "a column of a table of `tenancy` is unexpectedly empty")
    })
}

/// What a row says that does not read is no mistake of who asks.
fn stored<T>(read: Result<T>) -> Result<T> {
    read.map_err(|fault| {
        Error::new(
            ErrorKind::Database,
            "a row of a table of `tenancy` does not read; was it written by hand, or by a newer version?",
        )
        .with_source(fault.to_string())
    })
}

fn time<DB: Backend>(row: &DB::Row, column: usize) -> Result<Timestamp> {
    DB::int(row, column).map(Timestamp::from_micros).map_err(|e| database_error(&e))
}

fn placement_text(placement: &Placement) -> String {
    serde_json::to_string(placement).expect("an enum of strings is always JSON")
}

/// A unique key of the tenants' table can only be the id or the slug.
fn taken(error: Error) -> Error {
    if error.kind() == ErrorKind::Conflict { super::taken() } else { error }
}
