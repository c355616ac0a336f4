//! Connections, transactions, argument binding and the mapping of database errors.
//!
//! The data plane (`scope`) and the SQL stores (`store`) are built on it. Repositories and the application's own SQL
//! are in `scope`.

mod audit_row;
mod bind;
mod conn;
mod connection_mode;
mod driver;
mod error;
mod lease;
#[cfg(any(feature = "dynamic", feature = "macros"))]
mod native;
#[cfg(not(any(feature = "dynamic", feature = "macros")))]
#[path = "no_native.rs"]
mod native;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tenant_id;
mod transaction;
mod value;

pub(crate) use self::audit_row::insert_event;
pub(crate) use self::bind::arguments;
pub(crate) use self::conn::{Conn, TxMode};
pub use self::connection_mode::ConnectionMode;
pub(crate) use self::driver::Driver;
pub(crate) use self::error::{change_error, database_error, encoding_error};
pub(crate) use self::lease::Lease;
#[cfg(feature = "dynamic")]
pub(crate) use self::native::{ItemStream, StreamItem, first_row, to_sqlx_error};
pub(crate) use self::tenant_id::BoundTenant;
pub(crate) use self::transaction::OpenTransaction;
pub(crate) use self::value::Value;
