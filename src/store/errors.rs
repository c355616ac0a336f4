//! The errors that the stores share.

use crate::error::{Error, ErrorKind};

pub(super) fn tenant_exists() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "a tenant with this id or slug exists, or the slug is reserved for its former tenant; choose another",
    )
}

pub(super) fn stale_version() -> Error {
    Error::new(
        ErrorKind::StaleVersion,
        "the tenant was changed in the meantime; read it again and repeat the change",
    )
}

#[cfg(feature = "custom-domains")]
pub(super) fn domain_taken() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "this domain belongs to another tenant or is reserved for its former tenant; remove it there, or wait",
    )
}

#[cfg(feature = "custom-domains")]
pub(super) fn no_such_domain() -> Error {
    Error::new(ErrorKind::NotFound, "this tenant has neither this domain nor a claim to it; claim it first")
}

#[cfg(feature = "stripe")]
pub(super) fn subscription_of_another_tenant() -> Error {
    Error::new(ErrorKind::Conflict, "the subscription is stored for another tenant")
}

#[cfg(feature = "stripe")]
pub(super) fn checkout_exists() -> Error {
    Error::new(ErrorKind::Conflict, "a checkout with this id is stored")
}

#[cfg(feature = "api-keys")]
pub(super) fn key_exists() -> Error {
    Error::new(ErrorKind::Conflict, "an API key with this id exists; issue another")
}

#[cfg(feature = "api-keys")]
pub(super) fn no_such_key() -> Error {
    Error::new(ErrorKind::NotFound, "this tenant has no such API key")
}
