//! The audit log: [`AuditEvent`], the [`AuditSink`] that stores events, and the [`AuditPolicy`] of a data plane.
//!
//! An event about a change is written in the transaction of the change, with `Tx::record` of the
//! [`scope`](crate#modules) module: both are committed or neither is. An event that changes no row, such as a
//! rejected request or a login, is written to a sink directly.
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

/// The result of the action that an [`AuditEvent`] describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The action succeeded.
    Success,
    /// The action was rejected: by a plan, by a role, or because the row belongs to another tenant.
    Denied,
    /// The action was allowed and failed.
    Failed,
    /// The action is about to start; a later event of the same request has its result.
    Unknown,
}

/// Whether a transaction that changes rows must record an audit event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum AuditPolicy {
    /// A change needs no event.
    #[default]
    Optional,
    /// A transaction that changed rows or a gauge and recorded no event does not commit.
    Required,
}

/// An entry of the audit log: who did what to which object, when, in which request, and with which result.
///
/// An event contains only what you add. No field of a row is copied automatically, so no secret is either.
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

/// The object of an audit event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The kind of object, such as `order`.
    pub kind: String,
    /// The id of the object.
    pub id: String,
}

impl AuditEvent {
    /// Creates an event: the actor of `ctx` performed `action`, such as `order.update`, successfully and now.
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

    /// Sets the object of the action.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers pass ids and numbers, not borrows of them")]
    pub fn target(mut self, kind: impl Into<String>, id: impl ToString) -> Self {
        self.target = Some(Target { kind: kind.into(), id: id.to_string() });
        self
    }

    /// Sets the outcome. The default is [`Outcome::Success`].
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// Adds a detail. Details are stored in plain text: never add a secret.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers pass ids and numbers, not borrows of them")]
    pub fn detail(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.details.insert(name.into(), value.to_string());
        self
    }

    /// The id of the event: a UUID of version 7.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The tenant that the event belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// When the event was created.
    pub fn occurred(&self) -> Timestamp {
        self.occurred
    }

    /// Who performed the action.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The action, such as `order.update`.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// The object of the action, as set by [`target`](Self::target).
    pub fn about(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// The outcome, as set by [`outcome`](Self::outcome).
    pub fn ended(&self) -> Outcome {
        self.outcome
    }

    /// The details, as added by [`detail`](Self::detail).
    pub fn details(&self) -> &BTreeMap<String, String> {
        &self.details
    }

    /// The stored bytes: JSON with a fixed order of fields.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "only a database stores bytes")
    )]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and maps of strings are always JSON")
    }
}
