//! [`Updated`] and [`Deleted`]: how many rows a write of the repository met, and whether there was one.

use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// How many rows an update met: none if the tenant has no such row, which is no error by itself.
///
/// ```
/// use tenancy::TenantScoped;
/// use tenancy::scope::Scope;
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "orders")]
/// struct Order {
///     #[tenant(id)]
///     id: i64,
///     status: String,
/// }
///
/// async fn pay(scope: &Scope<'_, sqlx::Sqlite>, id: i64) -> tenancy::Result<()> {
///     Order::update(scope, &Order { id, status: "paid".to_owned() }).await?.or_not_found()
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a row that is not there is not updated: call `found()`, or `or_not_found()?`"]
pub struct Updated(u64);

impl Updated {
    pub(super) fn new(rows: u64) -> Self {
        Self(rows)
    }

    /// How many rows there were.
    pub fn rows(&self) -> u64 {
        self.0
    }

    /// Whether there was one.
    pub fn found(&self) -> bool {
        self.0 > 0
    }

    /// An error if there was none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn or_not_found(self) -> Result<()> {
        or_not_found(self.0)
    }
}

/// How many rows a delete met, of which tenant: what a [`Gauge`](crate::quota::Gauge) takes back.
///
/// There is no way to make or to copy one, so places are given back for rows that were deleted, and once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a row that is not there is not deleted: call `found()` or `or_not_found()?`, or give it to a gauge"]
pub struct Deleted {
    rows: u64,
    tenant: TenantId,
}

impl Deleted {
    pub(super) fn new(rows: u64, tenant: TenantId) -> Self {
        Self { rows, tenant }
    }

    /// How many rows there were.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether there was one.
    pub fn found(&self) -> bool {
        self.rows > 0
    }

    /// An error if there was none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn or_not_found(self) -> Result<()> {
        or_not_found(self.rows)
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

fn or_not_found(rows: u64) -> Result<()> {
    if rows > 0 { Ok(()) } else { Err(Error::new(ErrorKind::NotFound, "no such row")) }
}
