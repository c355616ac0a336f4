//! Examines a live database: whether it would keep tenants apart if a query did not.
//!
//! The doctor asks the catalogue for everything that is known to open row-level security, from a role that is exempt to
//! a key without its tenant, and then tries: two tenants that do not exist reach for each other's rows, and all of it is
//! undone. It runs as the application's own role, on a connection like any other of its pool, and needs no rights.
//!
//! ```no_run
//! use sqlx::Connection;
//! use sqlx::postgres::PgConnection;
//! use tenancy::isolation::doctor::{self, Check};
//! use tenancy::scope::Schema;
//!
//! # async fn run(url: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let schema = Schema::from_toml("shared = [\"countries\"]")?;
//! let mut conn = PgConnection::connect(url).await?;
//! let report = doctor::examine(&mut conn, &schema).await?;
//! if !report.failures(&[Check::KeyWithoutTenant]).is_empty() {
//!     return Err(report.to_string().into());
//! }
//! # Ok(()) }
//! ```
//!
//! In a test, [`Report::assert_clean`] is all of it. On the command line it is `tenancy doctor`. `docs/doctor.md` lists
//! every [`Check`].
//!
//! A foreign key that an owner added under FORCE ROW LEVEL SECURITY is marked valid without a look at the rows. Whether rows
//! break one is checked where the role sees all rows; otherwise a note says that it was not.
//!
//! # What the probe does
//! A row of one tenant is made in each table where the types of its columns allow it, and the other tenant tries to see,
//! change and delete it, and to add one. Nothing of it is kept, and no `NOTIFY` is sent; but triggers run, and sequences
//! go on. Of a table with more than a hundred thousand rows a sample is read. On a server that is read only nothing is
//! written. Nothing waits longer than two seconds for a lock, nor ten for an answer: what does is a finding.

mod broken;
mod catalog;
mod check;
mod code;
mod granted;
mod implicit;
mod keys;
mod objects;
mod policy;
mod probe;
mod relation;
mod report;
mod routine;
mod sarif;
mod server;
mod tables;

use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;

use self::catalog::Catalog;
pub use self::check::{Check, Severity};
pub use self::report::{Finding, Fix, Report};
use crate::error::{Error, ErrorKind, Result};

/// Examines the database as the role of this connection.
///
/// The connection must not be inside a transaction. Whoever stops waiting leaves none behind: each question is one
/// message, and its own transaction.
///
/// # Errors
/// [`ErrorKind::StoreUnavailable`] if the connection breaks, and [`ErrorKind::Database`] if the server does not even say
/// which role this is. What else the server refuses is a finding.
pub async fn examine(conn: &mut PgConnection, schema: &Schema) -> Result<Report> {
    let catalog = Catalog::read(conn, schema).await.map_err(unanswered)?;
    let mut findings = Vec::new();
    server::judge(&catalog, schema, &mut findings);
    tables::judge(&catalog, schema, &mut findings);
    keys::judge(&catalog, schema, &mut findings);
    code::judge(&catalog, schema, &mut findings);
    routine::judge(&catalog, schema, &mut findings);
    implicit::judge(&catalog, schema, &mut findings);
    granted::judge(&catalog, &mut findings);
    let mut report = Report {
        role: catalog.server.role.clone(),
        database: catalog.server.database.clone(),
        tables: catalog.tenants(schema).filter(|(table, _)| !table.partition).count(),
        proven: 0,
        findings,
        notes: Vec::new(),
    };
    probe::run(conn, &catalog, schema, &mut report).await.map_err(unanswered)?;
    broken::run(conn, &catalog, schema, &mut report).await.map_err(unanswered)?;
    report.sort();
    Ok(report)
}

fn unanswered(error: sqlx::Error) -> Error {
    let kind = match error {
        sqlx::Error::Database(_) | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => ErrorKind::Database,
        _ => ErrorKind::StoreUnavailable,
    };
    Error::new(kind, "the database does not answer the doctor").with_source(error)
}
