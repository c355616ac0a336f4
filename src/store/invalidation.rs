//! [`Invalidation`]: what changed, as one process notifies the others.

use crate::tenant::TenantId;

/// What changed, so that caches in other processes query the store again.
///
/// It names a row and contains nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidation {
    /// A tenant: its status, its plan, its slug, or anything else in its row.
    Tenant(TenantId),
    /// A custom domain, by its name.
    Domain(String),
    /// An API key, by its id.
    ApiKey(String),
    /// The members of a tenant, which the application stores.
    Members(TenantId),
    /// Anything.
    All,
}

/// PostgreSQL rejects a message of 8000 bytes.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
const MAX_BYTES: usize = 7000;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
impl Invalidation {
    /// The message that is sent. A change whose name is too long is sent as a change of anything.
    pub(super) fn message(&self) -> String {
        let message = match self {
            Self::Tenant(id) => format!("tenant {id}"),
            Self::Domain(name) => format!("domain {name}"),
            Self::ApiKey(id) => format!("api-key {id}"),
            Self::Members(tenant) => format!("members {tenant}"),
            Self::All => "all".to_owned(),
        };
        if message.len() > MAX_BYTES { "all".to_owned() } else { message }
    }

    /// Reads a message. One that is malformed, or from a newer version of the crate, can mean a change of anything.
    #[cfg(all(feature = "cache", any(feature = "postgres", feature = "redis")))]
    pub(super) fn parse(message: &str) -> Self {
        let (kind, name) = message.split_once(' ').unwrap_or((message, ""));
        let tenant = |make: fn(TenantId) -> Self| TenantId::parse(name).map_or(Self::All, make);
        match kind {
            "tenant" => tenant(Self::Tenant),
            "members" => tenant(Self::Members),
            "domain" => Self::Domain(name.to_owned()),
            "api-key" => Self::ApiKey(name.to_owned()),
            _ => Self::All,
        }
    }
}

#[cfg(all(test, feature = "cache", any(feature = "postgres", feature = "redis")))]
mod tests {
    use super::{Invalidation, MAX_BYTES};
    use crate::tenant::TenantId;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for id in ["acme", "4711", "0190b7a4-2f2a-7c7e-b0f5-5f9f6f3c9b11"] {
            let id = TenantId::parse(id).unwrap();
            for change in [
                Invalidation::Tenant(id.clone()),
                Invalidation::Members(id),
                Invalidation::Domain("shop.acme.com".to_owned()),
                Invalidation::ApiKey("4ZfQ2".to_owned()),
                Invalidation::All,
            ] {
                assert_eq!(Invalidation::parse(&change.message()), change);
            }
        }
    }

    #[test]
    fn what_is_unknown_can_mean_anything() {
        for message in ["", "tenant", "tenant ", "tenant a b", "plan pro", "members \u{0}", "ALL"] {
            assert_eq!(Invalidation::parse(message), Invalidation::All, "{message:?}");
        }
        assert_eq!(Invalidation::ApiKey("k".repeat(MAX_BYTES)).message(), "all");
    }
}
