//! The tenants that a command works on: one by its slug or its id, or all of them.

use std::sync::Arc;

use crate::placement::Provision;
use crate::store::SqlStore;
use crate::tenant::{Slug, Tenant, TenantId, TenantStatus, TenantStore};
use sqlx::pool::PoolOptions;

use super::output::text;

/// How many tenants are read at once.
const PAGE: u16 = 200;

/// The list of tenants in the database of this URL.
pub(crate) async fn store<DB: Provision>(url: &str) -> sqlx::Result<SqlStore<DB>> {
    PoolOptions::new().max_connections(2).connect(url).await.map(SqlStore::new)
}

/// The tenant that has this slug or this id, which `option` names.
pub(crate) async fn find<DB: Provision>(
    store: &SqlStore<DB>,
    name: &str,
    option: &str,
) -> Result<Arc<Tenant>, String> {
    let mut found = Vec::new();
    if let Ok(id) = TenantId::parse(name) {
        found.extend(store.by_id(&id).await.map_err(|e| unreadable(&e))?);
    }
    if let Ok(slug) = Slug::parse(name) {
        found.extend(store.by_slug(&slug).await.map_err(|e| unreadable(&e))?);
    }
    match &found[..] {
        [] => Err(format!("no tenant has the slug or the id of `{option}`")),
        [one, other] if one.id() != other.id() => {
            Err(format!("`{option}` is the id of one tenant and the slug of another; use the other's id"))
        }
        [one, ..] => Ok(one.clone()),
    }
}

/// The next tenants after an id, in the order of the store. Without one, there are no more.
pub(crate) async fn after<DB: Provision>(
    store: &SqlStore<DB>,
    last: Option<&TenantId>,
) -> Result<Vec<Arc<Tenant>>, String> {
    store.list(last, PAGE).await.map_err(|e| unreadable(&e))
}

/// Whether the place of a tenant is created. The provisioning of a new one may not have begun.
pub(crate) fn is_provisioned(tenant: &Tenant) -> bool {
    tenant.status() != TenantStatus::Provisioning
}

fn unreadable(error: &crate::Error) -> String {
    format!(
        "the list of tenants cannot be read: {}; check the URL of the database: `SqlStore::migrate` creates its tables",
        text(error)
    )
}
