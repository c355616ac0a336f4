//! The SQL of the `tenancy` crate as text: pure functions, no IO, no database.
//!
//! [`TableSpec`] describes one tenant-owned table; [`TableSpec::statements`] returns every statement that the
//! repository of that table runs. Each statement binds the tenant as `$1`, in a predicate of its only table or in the
//! tenant column of an insert, so no statement reaches another tenant's row. The text is the same for all tenants.
//!
//! ```
//! use tenancy_sql::{Dialect, TableSpec};
//!
//! let orders = TableSpec::new("orders", "tenant_id", "id", ["status", "total"])?;
//! assert_eq!(
//!     orders.statements(Dialect::Postgres).find,
//!     r#"SELECT "id", "status", "total" FROM "orders" WHERE "tenant_id" = $1 AND "id" = $2"#,
//! );
//! # Ok::<(), tenancy_sql::SchemaError>(())
//! ```
//!
//! With the feature `rewrite`, the function `rewrite` scopes a hand-written statement to a tenant, or rejects it with
//! a reason.
#![warn(clippy::print_stdout, clippy::print_stderr)]

// Integration tests and unit tests both read the case files, and these name the crate `tenancy_sql`.
#[cfg(all(test, feature = "rewrite"))]
extern crate self as tenancy_sql;

mod builder;
mod dialect;
mod filter;
mod filter_sql;
#[cfg(feature = "rewrite")]
mod function_reasons;
#[cfg(feature = "schema")]
mod functions;
mod name;
#[cfg(feature = "rewrite")]
mod rejection;
#[cfg(feature = "rewrite")]
mod rewrite;
#[cfg(feature = "schema")]
mod schema;
mod table;
mod table_spec;

pub use dialect::Dialect;
pub use filter::{Comparison, Filter};
#[cfg(feature = "schema")]
pub use functions::is_pure;
pub use name::SchemaError;
#[cfg(feature = "rewrite")]
pub use rejection::{Code, Rejection, Spot};
#[cfg(feature = "rewrite")]
pub use rewrite::{Bind, Rewritten, check_nullability, relations, rewrite, statements};
#[cfg(feature = "schema")]
pub use schema::{Schema, TenantType};
pub use table::{Deleted, Rows, SortKey, Table};
pub use table_spec::{Statements, TableSpec};
