//! Plan limits that hold under concurrency.
//!
//! | what is limited | type | where it is counted |
//! |---|---|---|
//! | what exists: seats, projects | `Gauge` | in the transaction that creates the row (feature `sqlite` or `postgres`) |
//! | what is used in a period: API calls, tokens | `Quota`, by `Quotas` (feature `quota`) | in a `Meter`: memory, SQL or Redis |
//! | the same at high speed | `LeasedQuotas` | in this node's share of it |
//! | work of unknown cost | `Reservation` | there |
//! | what is in work at a time | `Concurrency` | there |
//! | how often something happens | `Rate`, by `Rates` (feature `rates`) | in memory, or in Redis for all nodes |
//!
//! Flags of a plan need none of these: see [`Flag`](crate::plan::Flag).
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use tenancy::quota::Gauge;
//! use tenancy::scope::TenantDb;
//! use tenancy::TenantContext;
//!
//! const PROJECTS: Gauge = Gauge::new("projects");
//!
//! async fn create_project(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext) -> tenancy::Result<()> {
//!     let mut tx = db.begin(ctx).await?;
//!     PROJECTS.acquire(&mut tx, 1).await?; // fails with `LimitReached` at the plan's limit
//!     // .. insert the project ..
//!     tx.commit().await // commits the count and the project together
//! }
//!
//! # use tenancy::TenantScoped;
//! # #[derive(TenantScoped, sqlx::FromRow)]
//! # #[tenant(table = "projects")]
//! # struct Project { #[tenant(id)] id: i64 }
//! async fn delete_project(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<()> {
//!     let mut tx = db.begin(ctx).await?;
//!     let deleted = Project::delete(&mut tx, id).await?;
//!     PROJECTS.release(&mut tx, deleted).await?; // releases nothing if there was no such project
//!     tx.commit().await
//! }
//! # }
//! ```

mod amount;
#[cfg(feature = "quota")]
mod answer;
#[cfg(feature = "rates")]
pub(crate) mod bucket;
#[cfg(feature = "quota")]
mod core;
#[cfg(feature = "quota")]
mod count_key;
#[cfg(feature = "quota")]
pub(crate) mod counting;
#[cfg(feature = "quota")]
mod decision;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod gauge;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod gauge_drift;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod gauge_recount;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod gauge_resources;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod gauge_transfer;
#[cfg(feature = "quota")]
mod held;
#[cfg(feature = "quota")]
mod key;
#[cfg(feature = "quota")]
mod lease;
#[cfg(feature = "quota")]
mod lease_cell;
#[cfg(feature = "quota")]
mod lease_options;
#[cfg(feature = "quota")]
mod lease_table;
#[cfg(feature = "quota")]
mod leased;
#[cfg(feature = "quota")]
mod line;
#[cfg(feature = "quota")]
pub mod meter;
#[cfg(all(feature = "quota", feature = "metrics"))]
mod metrics;
#[cfg(all(feature = "quota", not(feature = "metrics")))]
#[path = "no_metrics.rs"]
mod metrics;
#[cfg(feature = "quota")]
mod quotas;
#[cfg(feature = "rates")]
mod rate_node;
#[cfg(feature = "rates")]
pub(crate) mod rates;
#[cfg(feature = "quota")]
mod request;
#[cfg(feature = "quota")]
mod reservation;
#[cfg(feature = "quota")]
mod returns;
#[cfg(feature = "quota")]
mod snapshot;

#[cfg(feature = "quota")]
pub use self::core::QuotaWarning;
#[cfg(feature = "quota")]
pub use self::decision::{Decision, DecisionSource};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::gauge::{Gauge, Usage};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::gauge_drift::GaugeDrift;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::gauge_recount::{Existing, GaugeRecount};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::gauge_transfer::GaugeTransfer;
#[cfg(feature = "quota")]
pub use self::key::{Concurrency, Quota, Rate};
#[cfg(feature = "quota")]
pub use self::lease_options::{CrashPolicy, LeaseOptions};
#[cfg(feature = "quota")]
pub use self::leased::LeasedQuotas;
#[cfg(feature = "quota")]
pub use self::quotas::Quotas;
#[cfg(feature = "rates")]
pub use self::rates::{RateDecision, Rates};
#[cfg(feature = "quota")]
pub use self::request::QuotaRequest;
#[cfg(feature = "quota")]
pub use self::reservation::Reservation;
#[cfg(feature = "quota")]
pub use self::snapshot::{FeatureUsage, UsageSnapshot};
