//! [`TenantStore`] on SQL, and the statements on `tenancy_tenants` and `tenancy_slugs`.

use std::sync::Arc;

use async_trait::async_trait;

use super::SqlStore;
use super::query::{execute, fetch, notify, stored, text};
use crate::context::unknown_tenant;
use crate::database::{Conn, OpenTransaction, TxMode, Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::PlanTerms;
use crate::scope::Backend;
use crate::store::errors::{stale_version, tenant_exists};
use crate::store::invalidation::Invalidation;
use crate::store::timing::Timing;
use crate::tenant::{
    NewTenant, Placement, Region, Slug, StatusSource, Tenant, TenantId, TenantParts, TenantStatus,
    TenantStore,
};

#[async_trait]
impl<DB: Backend> TenantStore for SqlStore<DB> {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        let mut reader = self.reader().await?;
        tenant_where::<DB>(reader.conn(), TENANT_BY_ID, &id.to_string()).await.map(|t| t.map(Arc::new))
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        let mut reader = self.reader().await?;
        tenant_where::<DB>(reader.conn(), TENANT_BY_SLUG, slug.as_str()).await.map(|t| t.map(Arc::new))
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        // Every id is greater than the empty text.
        let after = after.map(ToString::to_string).unwrap_or_default();
        let mut reader = self.reader().await?;
        let rows = fetch::<DB>(
            reader.conn(),
            "SELECT id, slug, name, status, status_set_by, plan, placement, region, version, granted_plan, terms, suspension \
             FROM tenancy_tenants WHERE id > $1 ORDER BY id LIMIT $2",
            &[Value::Text(&after), Value::Int(limit.into())],
        )
        .await?;
        rows.iter().map(|row| read_tenant::<DB>(row).map(Arc::new)).collect()
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let tenant = insert_tenant::<DB>(&mut tx, tenant.into_tenant(), &self.timing).await?;
        tx.commit().await?;
        Ok(tenant)
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let saved = save_tenant::<DB>(&mut tx, tenant, &self.timing).await?;
        tx.commit().await?;
        Ok(saved)
    }
}

pub(super) const TENANT_BY_ID: &str = "SELECT id, slug, name, status, status_set_by, plan, placement, region, version, granted_plan, terms, suspension \
                            FROM tenancy_tenants WHERE id = $1";
const TENANT_BY_SLUG: &str = "SELECT id, slug, name, status, status_set_by, plan, placement, region, version, granted_plan, terms, suspension \
                              FROM tenancy_tenants WHERE slug = $1";

pub(super) async fn tenant_where<DB: Backend>(
    conn: Conn<'_, DB>,
    sql: &'static str,
    key: &str,
) -> Result<Option<Tenant>> {
    let rows = fetch::<DB>(conn, sql, &[Value::Text(key)]).await?;
    rows.first().map(read_tenant::<DB>).transpose()
}

fn read_tenant<DB: Backend>(row: &DB::Row) -> Result<Tenant> {
    let version = DB::int(row, 8).map_err(|e| database_error(&e))?;
    Ok(Tenant::from_stored(TenantParts {
        id: stored(TenantId::parse(&text::<DB>(row, 0)?))?,
        slug: stored(Slug::parse(&text::<DB>(row, 1)?))?,
        name: text::<DB>(row, 2)?,
        status: stored(TenantStatus::parse(&text::<DB>(row, 3)?))?,
        status_set_by: stored(StatusSource::parse(&text::<DB>(row, 4)?))?,
        plan: text::<DB>(row, 5)?,
        granted_plan: DB::text(row, 9).map_err(|e| database_error(&e))?,
        placement: serde_json::from_str::<Placement>(&text::<DB>(row, 6)?).map_err(|e| {
            Error::new(ErrorKind::Database, "the stored placement of a tenant is malformed").with_source(e)
        })?,
        region: DB::text(row, 7)
            .map_err(|e| database_error(&e))?
            .map(|region| stored(Region::parse(&region)))
            .transpose()?,
        terms: serde_json::from_str::<PlanTerms>(&text::<DB>(row, 10)?).map_err(|e| {
            Error::new(
                ErrorKind::Database,
                "the stored plan terms of a tenant are malformed; were they written by hand, or by a newer version?",
            )
            .with_source(e)
        })?,
        suspension: DB::text(row, 11)
            .map_err(|e| database_error(&e))?
            .map(|suspension| {
                serde_json::from_str(&suspension).map_err(|e| {
                    Error::new(ErrorKind::Database, "the stored suspension of a tenant is malformed").with_source(e)
                })
            })
            .transpose()?,
        version: u64::try_from(version).unwrap_or(0),
    }))
}

/// Inserts a tenant, and reserves its slug.
pub(super) async fn insert_tenant<DB: Backend>(
    tx: &mut OpenTransaction<DB>,
    tenant: Tenant,
    timing: &Timing,
) -> Result<Arc<Tenant>> {
    let placement = placement_text(tenant.placement());
    execute::<DB>(
        tx.conn(),
        "INSERT INTO tenancy_tenants (id, slug, name, status, status_set_by, plan, placement, region, version, granted_plan, terms, suspension) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        &[
            Value::Text(&tenant.id().to_string()),
            Value::Text(tenant.slug().as_str()),
            Value::Text(tenant.name()),
            Value::Text(tenant.status().as_str()),
            Value::Text(tenant.status_set_by().as_str()),
            Value::Text(tenant.plan()),
            Value::Text(&placement),
            Value::OptionalText(tenant.region().map(Region::as_str)),
            Value::Int(1),
            Value::OptionalText(tenant.granted_plan()),
            Value::Text(&terms_text(tenant.terms())),
            Value::OptionalText(suspension_text(&tenant).as_deref()),
        ],
    )
    .await
    .map_err(conflict_is_tenant_exists)?;
    reserve_slug::<DB>(tx, &tenant, timing).await?;
    notify::<DB>(tx.conn(), &Invalidation::Tenant(tenant.id().clone())).await?;
    Ok(Arc::new(tenant))
}

/// Updates a tenant if its stored version is the version that was read.
pub(super) async fn save_tenant<DB: Backend>(
    tx: &mut OpenTransaction<DB>,
    tenant: &Tenant,
    timing: &Timing,
) -> Result<Arc<Tenant>> {
    let id = tenant.id().to_string();
    let placement = placement_text(tenant.placement());
    let written = execute::<DB>(
        tx.conn(),
        "UPDATE tenancy_tenants SET slug = $3, name = $4, status = $5, status_set_by = $6, plan = $7, \
         placement = $8, region = $9, granted_plan = $10, terms = $11, suspension = $12, version = version + 1 WHERE id = $1 AND version = $2",
        &[
            Value::Text(&id),
            Value::Int(i64::try_from(tenant.version()).unwrap_or(i64::MAX)),
            Value::Text(tenant.slug().as_str()),
            Value::Text(tenant.name()),
            Value::Text(tenant.status().as_str()),
            Value::Text(tenant.status_set_by().as_str()),
            Value::Text(tenant.plan()),
            Value::Text(&placement),
            Value::OptionalText(tenant.region().map(Region::as_str)),
            Value::OptionalText(tenant.granted_plan()),
            Value::Text(&terms_text(tenant.terms())),
            Value::OptionalText(suspension_text(tenant).as_deref()),
        ],
    )
    .await
    .map_err(conflict_is_tenant_exists)?;
    if written == 1 {
        reserve_slug::<DB>(tx, tenant, timing).await?;
        notify::<DB>(tx.conn(), &Invalidation::Tenant(tenant.id().clone())).await?;
        return Ok(Arc::new(tenant.next_version()));
    }
    match tenant_where::<DB>(tx.conn(), TENANT_BY_ID, &id).await? {
        Some(_) => Err(stale_version()),
        None => Err(unknown_tenant()),
    }
}

/// Writes the slug of a tenant that was just saved, and starts the cool-down of its previous slug. The row of a slug
/// is its own lock: of two concurrent writers, the second finds the row of the first.
async fn reserve_slug<DB: Backend>(
    tx: &mut OpenTransaction<DB>,
    tenant: &Tenant,
    timing: &Timing,
) -> Result<()> {
    let (id, slug) = (tenant.id().to_string(), tenant.slug().as_str());
    let until = timing.now().after(timing.slug_cooldown).micros();
    execute::<DB>(
        tx.conn(),
        "UPDATE tenancy_slugs SET until_us = $3 WHERE tenant_id = $1 AND slug <> $2 AND until_us IS NULL",
        &[Value::Text(&id), Value::Text(slug), Value::Int(until)],
    )
    .await?;
    let deleting = tenant.status() == TenantStatus::Deleting;
    let written = execute::<DB>(
        tx.conn(),
        "INSERT INTO tenancy_slugs (slug, tenant_id, until_us) VALUES ($1, $2, $3) ON CONFLICT (slug) DO UPDATE \
         SET tenant_id = excluded.tenant_id, until_us = excluded.until_us \
         WHERE tenancy_slugs.tenant_id = excluded.tenant_id OR tenancy_slugs.until_us <= $4",
        &[
            Value::Text(slug),
            Value::Text(&id),
            Value::OptionalInt(deleting.then_some(until)),
            Value::Int(timing.now().micros()),
        ],
    )
    .await?;
    if written == 1 { Ok(()) } else { Err(tenant_exists()) }
}

pub(super) fn placement_text(placement: &Placement) -> String {
    serde_json::to_string(placement).expect("an enum of strings is always JSON")
}

fn terms_text(terms: &PlanTerms) -> String {
    serde_json::to_string(terms).expect("numbers, strings and lists of them are always JSON")
}

fn suspension_text(tenant: &Tenant) -> Option<String> {
    let text = |suspension| serde_json::to_string(suspension).expect("texts and a number are always JSON");
    tenant.suspension().map(text)
}

/// The only unique columns of `tenancy_tenants` are the id and the slug.
fn conflict_is_tenant_exists(error: Error) -> Error {
    if error.kind() == ErrorKind::Conflict { tenant_exists() } else { error }
}
