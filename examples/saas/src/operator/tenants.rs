//! The tenants, with what they use; suspending and resuming them.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tenancy::clock::Timestamp;
use tenancy::quota::{Existing, GaugeRecount};
use tenancy::tenant::{Suspension, Tenant, TenantId, TenantStatus, TenantStore};
use tenancy::{Error, ErrorKind, Result, TenantScoped};
use url::form_urlencoded;

use super::actor;
use super::moves::targets;
use crate::demo::place_of;
use crate::model::{ORDERS, PROJECTS, Project, SEATS};
use crate::{App, AppDb};

const TENANTS_OF_A_PAGE: u16 = 20;

/// The body of a request that suspends a tenant. The message is shown to its users.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Suspend {
    reason: String,
    #[serde(default)]
    message: String,
}

/// The body of a request that resumes a tenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resume {
    reason: String,
}

impl<DB: AppDb> App<DB> {
    /// Returns a page of all tenants: `?after=ID`.
    pub(super) async fn operated_tenants(&self, query: Option<&str>) -> Result<Value> {
        let after =
            form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "after");
        let after = after.map(|(_, id)| TenantId::parse(&id)).transpose()?;
        let page = self.store.list(after.as_ref(), TENANTS_OF_A_PAGE).await?;
        let mut tenants = Vec::new();
        for tenant in &page {
            tenants.push(self.operated(tenant).await?);
        }
        let next = page.last().filter(|_| page.len() == usize::from(TENANTS_OF_A_PAGE)).map(|last| last.id());
        Ok(json!({ "tenants": tenants, "next": next }))
    }

    /// Returns one tenant.
    pub(super) async fn operated_tenant(&self, id: &str) -> Result<Value> {
        self.operated(&self.known(id).await?).await
    }

    /// The tenant with this id, as it is stored now.
    pub(super) async fn known(&self, id: &str) -> Result<Arc<Tenant>> {
        self.store.by_id(&parse(id)?).await?.ok_or_else(no_tenant)
    }

    /// Suspends a tenant, with an event in its audit log. It holds at once: the cache is notified.
    pub(super) async fn suspend(&self, id: &str, body: Suspend) -> Result<Value> {
        let mut suspension = Suspension::new(body.reason)?;
        if !body.message.trim().is_empty() {
            suspension = suspension.message(body.message)?;
        }
        let tenant = self.store.suspend(&parse(id)?, suspension, &actor()).await?;
        self.directory.store().committed(&tenant).await;
        self.operated(&tenant).await
    }

    /// Returns a tenant to the status that it had before.
    pub(super) async fn resume(&self, id: &str, body: Resume) -> Result<Value> {
        let tenant = self.store.resume(&parse(id)?, &body.reason, &actor()).await?;
        self.directory.store().committed(&tenant).await;
        self.operated(&tenant).await
    }

    async fn operated(&self, tenant: &Arc<Tenant>) -> Result<Value> {
        let plan = self.directory.catalog().plan(tenant.plan())?;
        let suspension = tenant.suspension().map(|suspension| {
            json!({
                "reason": suspension.reason(), "message": suspension.user_message(),
                "since": suspension.since().map(Timestamp::seconds),
            })
        });
        // A tenant whose place is not complete uses nothing. One whose place cannot be read does not hide the others.
        let usage = match tenant.status() {
            TenantStatus::Provisioning => Value::Null,
            _ => match self.used(tenant).await {
                Ok(usage) => Value::Array(usage),
                Err(error) => {
                    tracing::warn!(tenant.id = %tenant.id(), %error, "the usage of a tenant cannot be read");
                    json!({ "error": error.kind().code() })
                }
            },
        };
        Ok(json!({
            "id": tenant.id(), "slug": tenant.slug(), "name": tenant.name(), "status": tenant.status(),
            "plan": { "key": plan.key(), "title": plan.title() },
            "placement": place_of::<DB>(tenant.placement()), "targets": targets::<DB>(tenant), "suspension": suspension, "usage": usage,
        }))
    }

    /// What a tenant uses of each limit, also if it is suspended: a recount reads the rows of any tenant.
    async fn used(&self, tenant: &Arc<Tenant>) -> Result<Vec<Value>> {
        let mut usage = Vec::new();
        let reader = GaugeRecount::new(PROJECTS, &self.db, &self.directory, actor())?;
        let drift = reader
            .compare(tenant, async |tx| {
                for gauge in [PROJECTS, ORDERS, SEATS] {
                    let found = gauge.usage(&mut *tx).await?;
                    usage.push(
                        json!({ "feature": gauge.feature(), "used": found.used, "limit": found.limit }),
                    );
                }
                let snapshot = self.quotas.snapshot(tx.context()).await?;
                for quota in snapshot.features.iter().filter(|one| one.used.is_some()) {
                    usage.push(json!({ "feature": quota.key, "used": quota.used, "limit": quota.limit }));
                }
                Ok(Existing::Number(Project::count(&mut *tx).await?))
            })
            .await?;
        // How many projects there are; a gauge that counts another number has drifted.
        usage[0]["existing"] = json!(drift.counted);
        Ok(usage)
    }
}

/// What is no id at all is a tenant that is not there.
fn parse(id: &str) -> Result<TenantId> {
    TenantId::parse(id).map_err(|_| no_tenant())
}

fn no_tenant() -> Error {
    Error::new(ErrorKind::NotFound, "no such tenant")
}
