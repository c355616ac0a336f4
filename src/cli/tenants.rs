//! The tenants that a command works on: one by its slug or its id, or all of them.

use std::sync::Arc;

use crate::context::Actor;
use crate::placement::Provision;
use crate::store::SqlStore;
use crate::tenant::{Placement, Region, Slug, Tenant, TenantId, TenantStatus, TenantStore};
use serde::Serialize;
use sqlx::pool::PoolOptions;

use super::output::{printable, text};

/// The actor of `tenancy tenants` in the audit log, and in receipts.
pub(crate) fn actor() -> Actor {
    Actor::system("tenancy tenants")
}

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
    find_if_exists(store, name, option).await?.ok_or_else(|| unknown(option))
}

/// As [`find`]. `None` if the list of tenants was read, and has no such tenant.
pub(crate) async fn find_if_exists<DB: Provision>(
    store: &SqlStore<DB>,
    name: &str,
    option: &str,
) -> Result<Option<Arc<Tenant>>, String> {
    let mut found = Vec::new();
    if let Ok(id) = TenantId::parse(name) {
        found.extend(store.by_id(&id).await.map_err(|e| unreadable(&e))?);
    }
    if let Ok(slug) = Slug::parse(name) {
        found.extend(store.by_slug(&slug).await.map_err(|e| unreadable(&e))?);
    }
    match &found[..] {
        [one, other] if one.id() != other.id() => {
            Err(format!("`{option}` is the id of one tenant and the slug of another; use the other's id"))
        }
        found => Ok(found.first().cloned()),
    }
}

/// The text for a tenant that does not exist.
pub(crate) fn unknown(option: &str) -> String {
    format!("no tenant has the slug or the id of `{option}`")
}

/// The next tenants after an id, in the order of the store. Without one, there are no more.
pub(crate) async fn after<DB: Provision>(
    store: &SqlStore<DB>,
    last: Option<&TenantId>,
) -> Result<Vec<Arc<Tenant>>, String> {
    store.list(last, PAGE).await.map_err(|e| unreadable(&e))
}

/// How many tenants [`each`] left out.
#[derive(Default)]
pub(crate) struct LeftOut {
    /// Those of other regions.
    elsewhere: usize,
    /// Those whose provisioning is not finished.
    unfinished: usize,
}

impl LeftOut {
    /// Prints the numbers on standard error.
    #[expect(clippy::print_stderr, reason = "remarks beside the report")]
    pub(crate) fn note(&self) {
        if self.unfinished > 0 {
            eprintln!("tenancy: left out, because their provisioning is not finished: {}", self.unfinished);
        }
        if self.elsewhere > 0 {
            eprintln!(
                "tenancy: left out, because they are of another region than `--region`: {}",
                self.elsewhere
            );
        }
    }
}

/// Visits the tenants that have a place and no region, or this one: all of them, or the one of `--tenant`.
pub(crate) async fn each<DB: Provision>(
    store: &SqlStore<DB>,
    name: Option<&str>,
    region: Option<&Region>,
    mut visit: impl AsyncFnMut(&Arc<Tenant>) -> Result<(), String>,
) -> Result<LeftOut, String> {
    let is_elsewhere = |tenant: &Tenant| tenant.region().is_some_and(|of| Some(of) != region);
    if let Some(name) = name {
        let tenant = find(store, name, "--tenant").await?;
        if !is_provisioned(&tenant) {
            return Err("the provisioning of this tenant is not finished, so it has no rows".to_owned());
        }
        if is_elsewhere(&tenant) {
            return Err(
                "this tenant is of another region; name it by `--region` where its rows are".to_owned()
            );
        }
        visit(&tenant).await?;
        return Ok(LeftOut::default());
    }
    let (mut last, mut left_out) = (None, LeftOut::default());
    loop {
        let page = after(store, last.as_ref()).await?;
        let Some(end) = page.last() else { return Ok(left_out) };
        last = Some(end.id().clone());
        for tenant in &page {
            if !is_provisioned(tenant) {
                left_out.unfinished += 1;
            } else if is_elsewhere(tenant) {
                left_out.elsewhere += 1;
            } else {
                visit(tenant).await?;
            }
        }
    }
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

/// A tenant in a line of JSON.
#[derive(Serialize)]
pub(crate) struct Named<'a> {
    tenant: &'a TenantId,
    slug: &'a Slug,
    place: &'a Placement,
}

pub(crate) fn named(tenant: &Tenant) -> Named<'_> {
    Named { tenant: tenant.id(), slug: tenant.slug(), place: tenant.placement() }
}

/// A tenant in lines.
pub(crate) fn described(tenant: &Tenant) -> String {
    let mut lines = vec![
        ("tenant", tenant.slug().to_string()),
        ("id", tenant.id().to_string()),
        ("name", printable(tenant.name())),
        ("status", format!("{}, set by {}", tenant.status(), tenant.status_set_by().as_str())),
        ("plan", printable(tenant.plan())),
        ("place", tenant.placement().to_string()),
    ];
    lines.extend(tenant.region().map(|region| ("region", region.to_string())));
    if let Some(suspension) = tenant.suspension() {
        lines.push(("reason", printable(suspension.reason())));
        lines.extend(suspension.user_message().map(|message| ("message", printable(message))));
    }
    lines.into_iter().fold(String::new(), |text, (key, value)| text + &format!("{key:<8} {value}\n"))
}
