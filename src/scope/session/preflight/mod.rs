//! The checks of the database when a `TenantDb` is built: [`Preflight`], and the types of the tenant columns.

mod check;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_columns;
#[cfg(feature = "postgres")]
mod postgres_connection;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tenant_column;

pub(in crate::scope) use self::check::Preflight;
#[cfg(feature = "postgres")]
pub(super) use self::postgres_connection::check_connection;
pub(super) use self::tenant_column::agreed_type;
