//! [`Updated`], [`Deleted`] and [`Restored`]: the number of rows that an update, a delete or a restore changed.

use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// The number of rows that an update changed.
///
/// It is 0 if the tenant has no such row. [`or_not_found`](Self::or_not_found) turns that into an error.
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

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.0
    }

    /// Whether there was at least one row.
    pub fn found(&self) -> bool {
        self.0 > 0
    }

    /// Returns an error if there was no row.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub fn or_not_found(self) -> Result<()> {
        or_not_found(self.0)
    }
}

/// A number of rows with their tenant, which only a statement of the repository makes.
macro_rules! rows_of_tenant {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        #[derive(Debug, PartialEq, Eq)]
        pub struct $name {
            rows: u64,
            tenant: TenantId,
        }

        impl $name {
            pub(super) fn new(rows: u64, tenant: TenantId) -> Self {
                Self { rows, tenant }
            }

            /// The number of rows.
            pub fn rows(&self) -> u64 {
                self.rows
            }

            /// Whether there was at least one row.
            pub fn found(&self) -> bool {
                self.rows > 0
            }

            /// Returns an error if there was no row.
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
    };
}

rows_of_tenant! {
    /// The number of rows that a delete removed, with their tenant.
    ///
    /// Pass it to [`Gauge::release`](crate::quota::Gauge::release) to release the quota of these rows. It cannot be
    /// constructed or copied, so quota is released only for deleted rows, and only once.
    #[must_use = "a row that is not there is not deleted: call `found()` or `or_not_found()?`, or give it to a gauge"]
    Deleted
}

rows_of_tenant! {
    /// The number of rows that a restore changed, with their tenant.
    ///
    /// Pass it to [`Gauge::acquire_restored`](crate::quota::Gauge::acquire_restored) to count these rows again. It
    /// cannot be constructed or copied, so a row is counted only if it was restored, and only once.
    #[must_use = "a row that is not there is not restored: call `found()` or `or_not_found()?`, or give it to a gauge"]
    Restored
}

fn or_not_found(rows: u64) -> Result<()> {
    if rows > 0 { Ok(()) } else { Err(Error::new(ErrorKind::NotFound, "no such row")) }
}
