//! What was done, by whom: [`AuditEvent`], the [`AuditSink`] that takes events, and the [`AuditPolicy`] of a
//! data plane.
//!
//! An event about a change is written in the change's own transaction, with
//! `Tx::record` of the [`scope`](crate#modules) module: either both are there or neither is. An event about
//! something that changed no row (a refusal, a login) goes to a sink directly.
//!
//! ```
//! use tenancy::audit::{AuditEvent, AuditSink, MemorySink, Outcome};
//! # use std::sync::Arc;
//! # use tenancy::{context::{Actor, TenantDirectory}, plan::Catalog, store::MemoryStore, tenant::{NewTenant, Slug, TenantStatus, TenantStore}};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
//! # let store = Arc::new(MemoryStore::new());
//! # let catalog = Arc::new(Catalog::from_toml("version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }")?);
//! # let acme = store.insert(NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active)).await?;
//! # let ctx = TenantDirectory::new(store, catalog).context(acme.id(), Actor::user("ada")).await?;
//! let sink = MemorySink::new();
//! let event = AuditEvent::new(&ctx, "report.download")
//!     .target("report", "2026-11")
//!     .outcome(Outcome::Denied)
//!     .detail("reason", "not in the plan");
//! sink.write(&[event]).await?;
//! assert_eq!(sink.events()[0].action(), "report.download");
//! # Ok(()) }
//! ```

mod sink;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::sink::{AuditSink, MemorySink, TracingSink};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::context::{Actor, TenantContext};
use crate::tenant::TenantId;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was refused: by a plan, a role, or because the row is not the tenant's.
    Denied,
    /// It was allowed and did not work.
    Failed,
    /// It is about to begin; a later event of the same request says how it ended.
    Unknown,
}

/// Whether changes must be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum AuditPolicy {
    /// Changes need no event.
    #[default]
    Optional,
    /// A transaction that changed rows or a gauge and recorded no event does not commit.
    Required,
}

/// One thing that was done or tried, with who, on what, and how it ended.
///
/// Only what you put in is in it: no field of a row enters by itself, so no secret does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEvent {
    #[serde(rename = "v")]
    schema: u8,
    id: Uuid,
    tenant: TenantId,
    #[serde(rename = "occurred_us")]
    occurred: Timestamp,
    actor: Actor,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<String, String>,
    request_id: Uuid,
    plan: String,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The kind of thing, such as `order`.
    pub kind: String,
    /// Which one.
    pub id: String,
}

impl AuditEvent {
    /// A successful `action`, such as `order.update`, by the actor of `ctx`, now.
    pub fn new(ctx: &TenantContext, action: impl Into<String>) -> Self {
        Self::with_actor(
            ctx.tenant_id().clone(),
            ctx.actor().clone(),
            ctx.request_id(),
            ctx.entitlements().plan().to_owned(),
            action.into(),
        )
    }

    pub(crate) fn with_actor(
        tenant: TenantId,
        actor: Actor,
        request_id: Uuid,
        plan: String,
        action: String,
    ) -> Self {
        Self {
            schema: 1,
            id: Uuid::now_v7(),
            tenant,
            occurred: SystemClock.now(),
            actor,
            action,
            target: None,
            outcome: Outcome::Success,
            details: BTreeMap::new(),
            request_id,
            plan,
        }
    }

    #[cfg_attr(not(feature = "stripe"), expect(dead_code, reason = "only billing brings its own clock"))]
    pub(crate) fn at(mut self, occurred: Timestamp) -> Self {
        self.occurred = occurred;
        self
    }

    /// About this thing.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers pass ids and numbers, not borrows of them")]
    pub fn target(mut self, kind: impl Into<String>, id: impl ToString) -> Self {
        self.target = Some(Target { kind: kind.into(), id: id.to_string() });
        self
    }

    /// With another outcome than success.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// With a fact worth keeping. Never put a secret here.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers pass ids and numbers, not borrows of them")]
    pub fn detail(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.details.insert(name.into(), value.to_string());
        self
    }

    /// The event's own id: a UUID of version 7.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Whose event it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// When it happened.
    pub fn occurred(&self) -> Timestamp {
        self.occurred
    }

    /// Who did it.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// What was done.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// What it was done to.
    pub fn about(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// How it ended.
    pub fn ended(&self) -> Outcome {
        self.outcome
    }

    /// The facts kept with it.
    pub fn details(&self) -> &BTreeMap<String, String> {
        &self.details
    }

    /// The exact bytes that are stored: JSON in a fixed order of fields.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "only a database stores bytes")
    )]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and maps of strings are always JSON")
    }
}
