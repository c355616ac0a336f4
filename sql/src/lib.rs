//! The SQL of the `tenancy` crate as text: pure functions, no IO, no database.
//!
//! [`TableSpec`] describes one tenant-owned table; [`TableSpec::statements`] writes every statement that the
//! repository of that table runs. In each of them the tenant is the bind `$1` and stands in a predicate of the
//! statement's only table (or in the tenant column of an insert), so none can reach another tenant's row. The
//! text is the same for all tenants.
//!
//! ```
//! use tenancy_sql::{Dialect, TableSpec};
//!
//! let orders = TableSpec::new("orders", "tenant_id", "id", ["status", "total"])?;
//! assert_eq!(
//!     orders.statements(Dialect::Postgres).find,
//!     r#"SELECT "id", "status", "total" FROM "orders" WHERE "tenant_id" = $1 AND "id" = $2"#,
//! );
//! # Ok::<(), tenancy_sql::InvalidName>(())
//! ```
//!
//! With the feature `rewrite`, `rewrite` scopes a statement that a person wrote, or says why it cannot.

// The case files are read by the tests of the crate and by those within it.
#[cfg(all(test, feature = "rewrite"))]
extern crate self as tenancy_sql;

mod builder;
mod dialect;
mod filter;
mod filter_sql;
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
pub use name::InvalidName;
#[cfg(feature = "rewrite")]
pub use rejection::{Code, Rejection, Spot};
#[cfg(feature = "rewrite")]
pub use rewrite::{Bind, Rewritten, relations, rewrite, says_what_is_null, statements};
#[cfg(feature = "schema")]
pub use schema::{Schema, TenantType};
pub use table::{Deleted, Rows, SortKey, Table};
pub use table_spec::{Statements, TableSpec};
