//! The second wall: how the database itself keeps tenants apart, and whether it does.
//!
//! [`RlsPolicies`] writes the row-level security of PostgreSQL from what `tenancy.toml` declares and what the database
//! says of its tables, and tells what a database lacks. [`doctor`] examines a live database as the application's own
//! role.
//!
//! ```no_run
//! # async fn run(conn: &mut sqlx::PgConnection) -> Result<(), Box<dyn std::error::Error>> {
//! use tenancy::isolation::{RlsPolicies, doctor};
//! use tenancy::scope::Schema;
//!
//! let schema = Schema::from_toml(&std::fs::read_to_string("tenancy.toml")?)?;
//! let policies = RlsPolicies::new(&schema).runtime_role("app");
//!
//! let lacking = policies.plan(conn).await?;
//! std::fs::write("migrations/0007_policies.sql", lacking.sql())?; // for the migrations of your own,
//! policies.apply(conn).await?; // or at once, in one transaction
//!
//! doctor::examine(conn, &schema).await?.assert_clean();
//! # Ok(()) }
//! ```

pub mod doctor;
mod foreign_key;
mod own_tables;
mod policy;
mod rls;

pub use self::policy::MissingTenant;
pub use self::rls::{PolicyChange, PolicyPlan, RlsPolicies};
