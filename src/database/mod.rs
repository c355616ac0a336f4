//! Connections, transactions, argument binding and the mapping of database errors.
//!
//! The data plane (`scope`) and the SQL stores (`store`) are built on it. Repositories and the application's own SQL
//! are in `scope`.

mod audit_row;
mod begin;
mod bind;
mod bulkhead;
#[cfg(feature = "postgres")]
mod citus;
mod conn;
mod connection_mode;
mod databases;
mod driver;
mod enforcement;
mod error;
mod lease;
mod limits;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
mod metrics;
#[cfg(any(feature = "dynamic", feature = "macros"))]
mod native;
#[cfg(not(any(feature = "dynamic", feature = "macros")))]
#[path = "no_native.rs"]
mod native;
mod own_tables;
mod pooled;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_own_tables;
mod privilege;
mod registry;
mod route;
mod row_limit;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sqlite_files;
#[cfg(feature = "sqlite")]
mod sqlite_limits;
mod statement_clock;
mod tenant_id;
mod transaction;
mod use_count;
mod value;
mod waiting;

pub(crate) use self::audit_row::insert_event;
pub(crate) use self::begin::Begin;
pub(crate) use self::bind::arguments;
pub(crate) use self::bulkhead::{Bulkhead, BulkheadPermit};
pub(crate) use self::conn::{Conn, TxMode};
pub use self::connection_mode::ConnectionMode;
pub(crate) use self::databases::Databases;
pub(crate) use self::driver::Driver;
pub use self::enforcement::Enforcement;
pub(crate) use self::error::{
    IsMoved, change_error, database_error, encoding_error, is_missing_table, statement_error, to_sqlx_error,
};
pub(crate) use self::lease::Lease;
pub use self::limits::ConnectionLimits;
pub(crate) use self::metrics::connections as measure_connections;
#[cfg(feature = "dynamic")]
pub(crate) use self::native::{ItemStream, StreamItem, first_row};
pub(crate) use self::own_tables::OwnTables;
#[cfg(any(feature = "postgres", feature = "operations"))]
pub(crate) use self::own_tables::own_grants;
#[cfg(feature = "postgres")]
pub(crate) use self::own_tables::{CONTROL_PLANE, OWN_GRANTS};
#[cfg(all(feature = "cache", feature = "postgres"))]
pub(crate) use self::postgres::{NOTIFY, NOTIFY_CHANNEL};
pub use self::registry::{DatabaseConfig, DatabaseRegistry};
pub(crate) use self::route::Route;
pub(crate) use self::row_limit::read_rows;
#[cfg(feature = "streaming")]
pub(crate) use self::row_limit::row_limit;
pub(crate) use self::source::Source;
#[cfg(feature = "sqlite")]
pub use self::sqlite_files::SqliteFiles;
pub(crate) use self::tenant_id::BoundTenant;
pub(crate) use self::transaction::OpenTransaction;
pub use self::use_count::ConnectionCount;
pub(crate) use self::use_count::UseCount;
pub(crate) use self::value::Value;
