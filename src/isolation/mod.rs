//! How the rows of tenants are kept apart in the database itself: the second wall.
//!
//! [`Policies`] writes the row-level security of PostgreSQL from what `tenancy.toml` declares and what the database
//! says of its tables, and tells what a database lacks:
//!
//! ```no_run
//! # async fn run(conn: &mut sqlx::PgConnection) -> Result<(), Box<dyn std::error::Error>> {
//! use tenancy::isolation::Policies;
//! use tenancy_sql::Schema;
//!
//! let schema = Schema::from_toml(&std::fs::read_to_string("tenancy.toml")?)?;
//! let policies = Policies::new(&schema).runtime_role("app");
//!
//! let lacking = policies.plan(conn).await?;
//! std::fs::write("migrations/0007_policies.sql", lacking.sql())?; // for the migrations of your own,
//! policies.apply(conn).await?; // or at once, in one transaction
//! # Ok(()) }
//! ```

mod row;

pub use self::row::{Migration, Policies, Step, Unset};
