//! The tenant-scoped tables, and the gauges of their limits.

use serde::Serialize;
use sqlx::FromRow;
use tenancy::TenantScoped;
use tenancy::clock::{Clock, SystemClock};
use tenancy::quota::Gauge;
use uuid::Uuid;

/// Counts a tenant's projects against the limit of its plan.
pub(crate) const PROJECTS: Gauge = Gauge::new("projects");
/// Counts a tenant's orders against the limit of its plan.
pub(crate) const ORDERS: Gauge = Gauge::new("orders");

/// Counts a tenant's members, by their e-mail addresses, against the seats of its plan.
pub(crate) const SEATS: Gauge = Gauge::new("seats");

/// A project of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, TenantScoped)]
#[tenant(table = "projects")]
pub struct Project {
    #[tenant(id)]
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) created_us: i64,
}

/// An order of a tenant, in one of its projects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, TenantScoped)]
#[tenant(table = "orders")]
pub struct Order {
    #[tenant(id)]
    pub(crate) id: Uuid,
    pub(crate) project_id: Uuid,
    pub(crate) title: String,
    pub(crate) amount_cents: i64,
    pub(crate) status: String,
    pub(crate) created_us: i64,
}

/// A person who belongs to a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow, TenantScoped)]
#[tenant(table = "members")]
pub struct Member {
    #[tenant(id)]
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) created_us: i64,
}

impl Project {
    pub(crate) fn new(name: String) -> Self {
        Self { id: Uuid::now_v7(), name, created_us: SystemClock.now().micros() }
    }
}

impl Member {
    pub(crate) fn new(email: String) -> Self {
        Self { id: Uuid::now_v7(), email, created_us: SystemClock.now().micros() }
    }
}

impl Order {
    pub(crate) fn new(project_id: Uuid, title: String, amount_cents: i64) -> Self {
        Self {
            id: Uuid::now_v7(),
            project_id,
            title,
            amount_cents,
            status: "open".to_owned(),
            created_us: SystemClock.now().micros(),
        }
    }
}
