//! The rows of a memory store, without its locks. The storage traits are implemented beside this folder.

#[cfg(feature = "stripe")]
mod billing;
#[cfg(feature = "custom-domains")]
mod domains;
mod tenants;

#[cfg(feature = "stripe")]
pub(super) use self::billing::BillingRows;
#[cfg(feature = "custom-domains")]
pub(super) use self::domains::DomainRows;
pub(super) use self::tenants::TenantRows;
