//! Plan limits that hold under concurrency: a [`Gauge`] counts what a tenant has, in the caller's transaction.
//!
//! A [`Gauge`] counts things that exist. It is not a rate limiter, and flags of a plan need no gauge: see
//! [`Entitlements::require`](crate::plan::Entitlements::require).
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

mod gauge;

pub use self::gauge::{Gauge, Usage};
