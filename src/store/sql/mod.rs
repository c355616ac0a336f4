#[cfg(feature = "stripe")]
mod billing;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Pool;

use super::stale;
use crate::audit::{AuditEvent, AuditSink};
use crate::context::unknown_tenant;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::{Backend, Binds, Mode, OpenTransaction, Value, database_error, insert_event};
use crate::tenant::{
    NewTenant, Placement, SetBy, Slug, StoredTenant, Tenant, TenantId, TenantStatus, TenantStore,
};

/// The control plane in a database: tenants, billing state, and audit events that belong to no change.
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
}

impl<DB: Backend> Clone for SqlStore<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone() }
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
        Self { pool }
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

#[async_trait]
impl<DB: Backend> TenantStore for SqlStore<DB> {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        let mut conn = self.pool.acquire().await.map_err(|e| database_error(&e))?;
        tenant_where::<DB>(&mut conn, TENANT_BY_ID, &id.to_string()).await.map(|t| t.map(Arc::new))
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        let mut conn = self.pool.acquire().await.map_err(|e| database_error(&e))?;
        tenant_where::<DB>(&mut conn, TENANT_BY_SLUG, slug.as_str()).await.map(|t| t.map(Arc::new))
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        // No id is empty.
        let after = after.map(ToString::to_string).unwrap_or_default();
        let mut conn = self.pool.acquire().await.map_err(|e| database_error(&e))?;
        let rows = fetch::<DB>(
            &mut conn,
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
        let mut conn = self.pool.acquire().await.map_err(|e| database_error(&e))?;
        execute::<DB>(
            &mut conn,
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
        Ok(Arc::new(tenant))
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        let mut conn = self.pool.acquire().await.map_err(|e| database_error(&e))?;
        save_tenant::<DB>(&mut conn, tenant).await
    }
}

/// Keeps events that belong to no change of rows, such as refusals. Events about a change are written by
/// [`Tx::record`](crate::scope::Tx::record), in the change's own transaction.
#[async_trait]
impl<DB: Backend> AuditSink for SqlStore<DB> {
    async fn write(&self, events: &[AuditEvent]) -> Result<()> {
        let mut tx = OpenTransaction::open(&self.pool, None, Mode::Write).await?;
        for event in events {
            DB::enter(tx.as_mut(), event.tenant()).await.map_err(|e| database_error(&e))?;
            insert_event::<DB>(tx.as_mut(), event).await?;
        }
        tx.commit().await
    }
}

const TENANT_BY_ID: &str = "SELECT id, slug, name, status, status_set_by, plan, placement, version \
                            FROM tenancy_tenants WHERE id = $1";
const TENANT_BY_SLUG: &str = "SELECT id, slug, name, status, status_set_by, plan, placement, version \
                              FROM tenancy_tenants WHERE slug = $1";

async fn tenant_where<DB: Backend>(
    conn: &mut DB::Connection,
    sql: &'static str,
    key: &str,
) -> Result<Option<Tenant>> {
    let rows = fetch::<DB>(conn, sql, &[Value::Text(key)]).await?;
    rows.first().map(read_tenant::<DB>).transpose()
}

fn read_tenant<DB: Backend>(row: &DB::Row) -> Result<Tenant> {
    let version = DB::int(row, 7).map_err(|e| database_error(&e))?;
    Ok(Tenant::from_stored(StoredTenant {
        id: TenantId::parse(&text::<DB>(row, 0)?)?,
        slug: Slug::parse(&text::<DB>(row, 1)?)?,
        name: text::<DB>(row, 2)?,
        status: TenantStatus::parse(&text::<DB>(row, 3)?)?,
        status_set_by: SetBy::parse(&text::<DB>(row, 4)?)?,
        plan: text::<DB>(row, 5)?,
        placement: serde_json::from_str::<Placement>(&text::<DB>(row, 6)?).map_err(|e| {
            Error::new(ErrorKind::Database, "the placement of a tenant does not read").with_source(e)
        })?,
        version: u64::try_from(version).unwrap_or(0),
    }))
}

/// Writes a tenant over the version that it was read at.
async fn save_tenant<DB: Backend>(conn: &mut DB::Connection, tenant: &Tenant) -> Result<Arc<Tenant>> {
    let id = tenant.id().to_string();
    let placement = placement_text(tenant.placement());
    let written = execute::<DB>(
        conn,
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
        return Ok(Arc::new(tenant.next_version()));
    }
    match tenant_where::<DB>(conn, TENANT_BY_ID, &id).await? {
        Some(_) => Err(stale()),
        None => Err(unknown_tenant()),
    }
}

async fn execute<DB: Backend>(
    conn: &mut DB::Connection,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<u64> {
    let binds = binds::<DB>(values)?;
    DB::execute(conn, sql, binds.into_arguments()).await.map_err(|e| database_error(&e))
}

async fn fetch<DB: Backend>(
    conn: &mut DB::Connection,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<Vec<DB::Row>> {
    let binds = binds::<DB>(values)?;
    DB::fetch(conn, sql, binds.into_arguments()).await.map_err(|e| database_error(&e))
}

fn binds<DB: Backend>(values: &[Value<'_>]) -> Result<Binds<DB>> {
    let mut binds = Binds::new();
    for value in values {
        binds.push_value(*value)?;
    }
    Ok(binds)
}

fn text<DB: Backend>(row: &DB::Row, column: usize) -> Result<String> {
    DB::text(row, column).map_err(|e| database_error(&e))?.ok_or_else(|| {
        Error::new(ErrorKind::Database, "a column of a table of `tenancy` is unexpectedly empty")
    })
}

fn placement_text(placement: &Placement) -> String {
    serde_json::to_string(placement).expect("an enum of strings is always JSON")
}

/// A unique key of the tenants' table can only be the id or the slug.
fn taken(error: Error) -> Error {
    if error.kind() == ErrorKind::Conflict { super::taken() } else { error }
}
