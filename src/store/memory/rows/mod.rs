//! The rows of a memory store, without its locks. The storage traits are implemented beside this folder.

#[cfg(feature = "stripe")]
mod billing;
mod domains;
mod tenants;

#[cfg(feature = "stripe")]
pub(super) use self::billing::BillingRows;
pub(super) use self::domains::DomainRows;
pub(super) use self::tenants::TenantRows;
