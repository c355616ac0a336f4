//! [`Backend`]: the public name of a supported database.

use super::preflight::Preflight;

/// A database that a [`TenantDb`](super::db::TenantDb) runs on: `sqlx::Sqlite` or `sqlx::Postgres`.
///
/// Sealed: only this crate implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a database of `tenancy`",
    label = "not a database of `tenancy`",
    note = "use `sqlx::Sqlite` with the feature `sqlite`, or `sqlx::Postgres` with the feature `postgres`"
)]
pub trait Backend: Preflight {}

#[cfg(feature = "postgres")]
impl Backend for sqlx::Postgres {}
#[cfg(feature = "sqlite")]
impl Backend for sqlx::Sqlite {}
