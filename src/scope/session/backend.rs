//! [`Backend`]: a supported database.

use tenancy_sql::Dialect;

use super::preflight::Preflight;

/// A database that a [`TenantDb`](super::db::TenantDb) runs on: `sqlx::Sqlite` or `sqlx::Postgres`.
///
/// Sealed: only this crate implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a database of `tenancy`",
    label = "not a database of `tenancy`",
    note = "use `sqlx::Sqlite` with the feature `sqlite`, or `sqlx::Postgres` with the feature `postgres`"
)]
pub trait Backend: Preflight {
    /// The dialect of its SQL.
    const DIALECT: Dialect;
}

#[cfg(feature = "postgres")]
impl Backend for sqlx::Postgres {
    const DIALECT: Dialect = Dialect::Postgres;
}

#[cfg(feature = "sqlite")]
impl Backend for sqlx::Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;
}
