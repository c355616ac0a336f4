//! [`DeletionHook`]: deletes what belongs to a tenant outside of its tables.

use async_trait::async_trait;

use super::tenant_data::TenantData;
use crate::error::Result;
use crate::tenant::Tenant;

/// Deletes what belongs to a tenant outside of its tables: files, caches, a search index, a customer of Stripe.
///
/// ```
/// use futures_util::TryStreamExt;
/// use tenancy::operations::DeletionHook;
/// use tenancy::tenant::Tenant;
///
/// struct Files;
///
/// #[async_trait::async_trait]
/// impl DeletionHook<sqlx::Postgres> for Files {
///     fn name(&self) -> &str {
///         "files"
///     }
///
///     async fn delete(&self, acme: &Tenant, conn: &mut sqlx::PgConnection) -> tenancy::Result<u64> {
///         let paths = sqlx::query_scalar("SELECT path FROM uploads WHERE tenant_id::text = $1");
///         let paths: Vec<String> = paths
///             .bind(acme.id().to_string())
///             .fetch_all(conn)
///             .await
///             .map_err(tenancy::Error::from_sqlx)?;
///         for path in &paths {
///             // Delete the object. One that does not exist any more is no error.
///             println!("{path}");
///         }
///         Ok(paths.len() as u64)
///     }
/// }
/// ```
#[async_trait]
pub trait DeletionHook<DB: TenantData>: Send + Sync {
    /// The name in the receipt.
    fn name(&self) -> &str;

    /// Deletes, and returns how many things were deleted.
    ///
    /// It runs before any row is deleted, so that it can read which files there are. It can run again after it failed or was
    /// interrupted, so what is gone already is no error.
    ///
    /// # Security
    /// The connection is the one of the tables' owner, in the place of the tenant, with `app.tenant_id` set. Nothing adds
    /// the tenant to its statements.
    ///
    /// # Errors
    /// The deletion stops, and can be repeated.
    async fn delete(&self, tenant: &Tenant, conn: &mut DB::Connection) -> Result<u64>;
}
