//! PostgreSQL row-level security: generates its policies, and examines whether a live database isolates tenants.
//!
//! [`RlsPolicies`] compares a database with the declaration in `tenancy.toml`, and writes the policies that it lacks.
//! [`doctor`] examines a live database as the application's own role. The setting that the policies read is set by
//! [`scope`](crate::scope).
//!
//! ```no_run
//! # async fn run(conn: &mut sqlx::PgConnection) -> Result<(), Box<dyn std::error::Error>> {
//! use tenancy::isolation::{RlsPolicies, doctor};
//! use tenancy::scope::Schema;
//!
//! let schema = Schema::from_toml(&std::fs::read_to_string("tenancy.toml")?)?;
//! let policies = RlsPolicies::new(&schema).runtime_role("app");
//!
//! let plan = policies.plan(conn).await?;
//! std::fs::write("migrations/0007_policies.sql", plan.sql())?; // as a migration,
//! policies.apply(conn).await?; // or at once, in one transaction
//!
//! doctor::examine(conn, &schema).await?.assert_clean();
//! # Ok(()) }
//! ```

pub(crate) mod catalog;
mod comparison;
pub mod doctor;
mod identifier;
mod keys;
mod own_tables;
mod policy;
mod rls;

pub use self::comparison::MissingTenant;
#[cfg(feature = "operations")]
pub(crate) use self::identifier::literal;
pub(crate) use self::identifier::quoted;
#[cfg(feature = "operations")]
pub(crate) use self::policy::FENCE;
pub use self::rls::{PolicyChange, PolicyPlan, RlsPolicies};
