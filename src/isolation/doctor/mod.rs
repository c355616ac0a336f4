//! The doctor: examines a live PostgreSQL database for everything that lets a query bypass row-level security.
//!
//! [`examine`] reads the catalogue for every known defect, from an exempt role to a key without the tenant column.
//! Then it probes: two tenants that do not exist try to reach each other's rows, and every change is rolled back. It
//! runs as the application's own role, on an ordinary connection, and needs no additional privileges.
//!
//! ```no_run
//! use sqlx::ConnectOptions;
//! use sqlx::postgres::PgConnectOptions;
//! use tenancy::isolation::doctor::{self, Check};
//! use tenancy::scope::Schema;
//!
//! # async fn run(url: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let schema = Schema::from_toml("shared = [\"countries\"]")?;
//! let mut conn = url.parse::<PgConnectOptions>()?.disable_statement_logging().connect().await?;
//! let report = doctor::examine(&mut conn, &schema).await?;
//! if !report.failures(&[Check::KeyWithoutTenant]).is_empty() {
//!     return Err(report.to_string().into());
//! }
//! # Ok(()) }
//! ```
//!
//! Where tenants have schemas and databases of their own, [`examine_places`] examines every one, and names the place of
//! each finding.
//!
//! A test over your migrations needs only [`Report::assert_clean`]. The command line has `tenancy doctor`.
//! `docs/reference/doctor-checks.md` lists every [`Check`].
//!
//! PostgreSQL marks a foreign key valid without checking the rows if their owner adds it under FORCE ROW LEVEL
//! SECURITY. The doctor checks the rows of such keys if the role sees all rows; otherwise a note counts the unchecked
//! keys.
//!
//! # What the probe does
//! The probe inserts a row of one tenant into each table whose column types allow it. The other tenant then tries to
//! read, change and delete that row, and to insert one. The probe keeps no change and sends no `NOTIFY`, but triggers
//! run and sequences advance. It reads a sample of a table with more than 100,000 rows, and writes nothing to a
//! read-only server. No statement waits longer than two seconds for a lock or runs longer than ten: one that does is
//! a finding. The probe is one statement for each 50 tables, so the size of a database is no limit. A batch that fails
//! leaves its tables unexamined, each with a finding.

mod broken;
mod catalog;
mod check;
mod citus;
mod code;
mod examination;
mod examined;
mod granted;
mod implicit;
mod keys;
mod objects;
mod place_probe;
mod place_role;
mod places;
mod policy;
mod probe;
mod probe_batch;
mod probe_table;
mod report;
mod routine;
mod sarif;
mod server;
mod tables;

use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;

use self::catalog::Part;
pub use self::check::{Check, Severity};
use self::examination::{examine_error, examined};
pub use self::places::{examine_place, examine_places, list_places};
pub use self::report::{Finding, Fix, Report};
use crate::error::Result;

/// Examines the database as the role of this connection.
///
/// sqlx logs a slow statement of the connection as a warning with its whole text, and those of the doctor are long. Open
/// the connection with [`disable_statement_logging`](sqlx::ConnectOptions::disable_statement_logging), as
/// [`examine_places`], [`TenantDb::doctor`](crate::scope::TenantDb::doctor) and the command line do.
///
/// The connection must not be inside a transaction. Each query is one message and its own transaction, so a caller
/// that drops the future leaves no transaction open.
///
/// # Errors
/// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the connection breaks, and
/// [`Database`](crate::ErrorKind::Database) if the server does not return the role of the connection. Any other
/// statement that the server rejects is a finding.
pub async fn examine(conn: &mut PgConnection, schema: &Schema) -> Result<Report> {
    Ok(examined(conn, schema, Part::Everything).await?.0)
}

/// Examines the database, and what of it Citus would not distribute. Run it before you distribute the tables; the
/// extension need not be installed.
///
/// The fix of [`Check::CitusRows`] distributes a table without losing its rows. A note lists the shared tables, which
/// are replicated first.
///
/// # Errors
/// As [`examine`].
pub async fn examine_for_citus(conn: &mut PgConnection, schema: &Schema) -> Result<Report> {
    let (mut report, catalog) = examined(conn, schema, Part::Everything).await?;
    citus::judge(conn, &catalog, schema, &mut report).await.map_err(examine_error)?;
    report.sort();
    Ok(report)
}

/// Examines the schemas of the `search_path` only: the schema of one tenant, if it is the `search_path`.
///
/// A database with a schema for each tenant can have thousands of them. [`examine`] reads all.
///
/// # Errors
/// As [`examine`].
pub async fn examine_search_path(conn: &mut PgConnection, schema: &Schema) -> Result<Report> {
    Ok(examined(conn, schema, Part::SearchPath).await?.0)
}

/// Examines the shared tables, and leaves out the schemas of tenants.
pub(crate) async fn examine_shared(conn: &mut PgConnection, schema: &Schema) -> Result<Report> {
    Ok(examined(conn, schema, Part::WithoutPlaces).await?.0)
}
