//! [`UsageIdentifier`]: the identifier of a meter event, which names the batch of usage, its tenant and the installation.

use sha2::{Digest, Sha256};

use super::tenant_names::TenantNames;
use super::verify::hex;
use crate::tenant::TenantId;

/// How an identifier begins.
const PREFIX: &str = "u";

/// The batch and the tenant of a meter event.
///
/// As text it is `u.INSTALLATION.BATCH.TENANT`, at most 97 characters: 8 digits of a hash, the 22 characters of
/// [`new_batch`](Self::new_batch), and a tenant id of up to 63 characters. Stripe accepts 100.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsageIdentifier {
    pub(super) batch: String,
    pub(super) tenant: TenantId,
}

impl UsageIdentifier {
    /// The id of a new batch.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) fn new_batch() -> String {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        URL_SAFE_NO_PAD.encode(uuid::Uuid::now_v7().as_bytes())
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) fn write(names: &TenantNames, batch: &str, tenant: &TenantId) -> String {
        format!("{PREFIX}.{}.{batch}.{tenant}", installation(names))
    }

    /// The parts of an identifier; `None` if another installation or another program wrote it.
    pub(super) fn parse(names: &TenantNames, text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let own = parts.next()? == PREFIX && parts.next()? == installation(names);
        let (batch, tenant) = (parts.next()?.to_owned(), TenantId::parse(parts.next()?).ok()?);
        (own && parts.next().is_none()).then_some(Self { batch, tenant })
    }
}

/// The first digits of a hash of the installation's name, which may have 64 characters.
fn installation(names: &TenantNames) -> String {
    let mut digits = hex(&Sha256::digest(names.installation()));
    digits.truncate(8);
    digits
}

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_short_and_read_by_its_installation_only() {
        let (plain, mut eu, mut us) =
            (TenantNames::default(), TenantNames::default(), TenantNames::default());
        eu.set_installation(&"e".repeat(64)).unwrap();
        us.set_installation("us").unwrap();
        for tenant in ["7", "acme", &"a".repeat(63), "01932d6e-0000-7000-8000-000000000001"] {
            let tenant = TenantId::parse(tenant).unwrap();
            for names in [&plain, &eu, &us] {
                let batch = UsageIdentifier::new_batch();
                let text = UsageIdentifier::write(names, &batch, &tenant);
                assert!(text.len() <= 97, "{text}");
                let expected = Some(UsageIdentifier { batch, tenant: tenant.clone() });
                for reader in [&plain, &eu, &us] {
                    let read = UsageIdentifier::parse(reader, &text);
                    assert_eq!(read.is_some(), std::ptr::eq(reader, names), "{text}");
                    assert!(read.is_none() || read == expected);
                }
            }
        }
        for text in ["", "u", "u.e3b0c442.x", "u.e3b0c442.x.", "x.e3b0c442.x.acme", "u.e3b0c442.x.acme.y"] {
            assert_eq!(UsageIdentifier::parse(&plain, text), None, "{text}");
        }
    }
}
