//! [`Preflight`]: the trait of the checks. `postgres.rs` and `sqlite.rs` implement it.

use std::future::Future;

use sqlx::Pool;
use tenancy_sql::Schema;

use super::tenant_column::TenantColumn;
use crate::database::{ConnectionMode, Driver, Enforcement};
use crate::error::Result;

/// Checks a database before a `TenantDb` uses it.
#[expect(unnameable_types, reason = "a sealed trait: `scope::Backend` is its public name")]
pub trait Preflight: Driver {
    /// The doctor's findings that the caller accepts.
    type Accepted: Default + Send + Sync;

    /// Rejects a database that does not match the settings, or that does not isolate tenants.
    fn preflight(
        pool: &Pool<Self>,
        enforcement: Enforcement,
        connection_mode: ConnectionMode,
        schema: &Schema,
        accepted: &Self::Accepted,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The tenant columns of the database, with their types.
    fn tenant_columns(
        pool: &Pool<Self>,
        schema: &Schema,
    ) -> impl Future<Output = Result<Vec<TenantColumn>>> + Send;
}
