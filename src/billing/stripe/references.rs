//! [`CheckoutReferences`]: signed tenant ids for the `client_reference_id` of a checkout.

use crate::error::{Error, ErrorKind, Result};
use crate::signed::{SigningKeys, signing_key_constructors};
use crate::tenant::TenantId;

/// The keys that sign the `client_reference_id` of checkouts and payment links, and verify it, with HMAC-SHA256.
///
/// The buyer of a payment link or a pricing table can change the `client_reference_id` in the URL. So
/// [`StripeWebhook`](super::StripeWebhook) uses one only if these keys signed it.
///
/// ```
/// use tenancy::billing::stripe::CheckoutReferences;
/// use tenancy::tenant::TenantId;
///
/// # let secret = [7; 32];
/// let references = CheckoutReferences::new("2026-11", secret)?;
/// let acme = TenantId::parse("acme")?;
///
/// // Stripe allows 200 letters, digits, `-` and `_`.
/// let reference = references.reference(&acme);
/// let link = format!("https://buy.stripe.com/test_1?client_reference_id={reference}");
/// assert_eq!(references.verify(&reference)?, acme);
/// assert!(references.verify("acme").is_err());
/// # Ok::<(), tenancy::Error>(())
/// ```
///
/// # Security
/// A reference does not expire, and is valid for every purchase: whoever has it can pay for the tenant. Return it only
/// to members of the tenant.
///
/// Whoever has a key can link a purchase to any tenant. Use random bytes, and use the key for nothing else. Several
/// installations on one Stripe account have different keys.
#[derive(Debug)]
pub struct CheckoutReferences {
    keys: SigningKeys,
}

/// The most characters that Stripe allows. A payment link drops a longer reference.
const MAX_REFERENCE_BYTES: usize = 200;
/// The length of an HMAC-SHA256 as base64url.
const CODE_BYTES: usize = 43;

impl CheckoutReferences {
    signing_key_constructors!("tenancy-checkout-1", "references");

    /// Returns the `client_reference_id` of a tenant: at most 200 letters, digits, `-` and `_`.
    pub fn reference(&self, tenant: &TenantId) -> String {
        // Stripe allows no `.`, which separates the four parts of a signed text.
        self.keys.sign(tenant.to_string(), None).replace('.', "_")
    }

    /// Returns the tenant whose reference this is.
    ///
    /// # Errors
    /// [`ErrorKind::SignatureInvalid`], always with the same text, unless one of the keys signed exactly this text;
    /// the reason is a `tracing` event of level `DEBUG`.
    pub fn verify(&self, reference: &str) -> Result<TenantId> {
        let contents = signed_text(reference).and_then(|signed| self.keys.verify(&signed, None));
        contents.and_then(|id| TenantId::parse(&id).map_err(|_| "it names no tenant")).map_err(|reason| {
            tracing::debug!(reason, "a checkout reference was rejected");
            Error::new(ErrorKind::SignatureInvalid, "the checkout reference is not valid")
        })
    }
}

/// The signed text that `reference` was made from. The prefix and the key's id contain no `_`, and the code has a fixed
/// length, so the places of the three separators are unambiguous.
fn signed_text(reference: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if reference.len() > MAX_REFERENCE_BYTES || !reference.bytes().all(allowed) {
        return Err("it is too long, or has a character that Stripe does not allow");
    }
    let (signed, code) = reference
        .len()
        .checked_sub(CODE_BYTES)
        .and_then(|at| Some((reference[..at].strip_suffix('_')?, &reference[at..])))
        .ok_or("it has no signature")?;
    match signed.splitn(3, '_').collect::<Vec<_>>()[..] {
        [prefix, id, contents] => Ok(format!("{prefix}.{id}.{contents}.{code}")),
        _ => Err("it does not have four parts"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn references(id: &str, secret: u8) -> CheckoutReferences {
        CheckoutReferences::new(id, [secret; 32]).unwrap()
    }

    #[test]
    fn a_reference_fits_and_names_its_tenant() {
        let long = references(&"k".repeat(32), 1);
        for id in [
            "acme",
            "7",
            "9223372036854775807",
            "018f3f5e-3a5a-7c3e-9d0a-000000000001",
            &"a-".repeat(31)[..61],
        ] {
            let tenant = TenantId::parse(id).unwrap();
            let reference = long.reference(&tenant);
            assert!(reference.len() <= MAX_REFERENCE_BYTES, "{reference}");
            assert!(reference.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
            assert_eq!(long.verify(&reference).unwrap(), tenant);
        }
        let widest = TenantId::parse(&"z".repeat(63)).unwrap();
        assert!(long.reference(&widest).len() <= MAX_REFERENCE_BYTES);
    }

    #[test]
    fn another_key_another_purpose_and_a_changed_text_are_rejected() {
        let own = references("2026", 1);
        let acme = TenantId::parse("acme").unwrap();
        let reference = own.reference(&acme);
        let rejected = |text: &str| own.verify(text).unwrap_err().kind() == ErrorKind::SignatureInvalid;
        for at in 0..reference.len() {
            for byte in [b'A', b'B', b'_', b'-', b'.'] {
                let mut changed = reference.clone().into_bytes();
                if changed[at] != byte {
                    changed[at] = byte;
                    assert!(rejected(str::from_utf8(&changed).unwrap()), "{changed:?}");
                }
            }
        }
        let dotted = reference.replace('_', ".");
        let login = SigningKeys::new("tenancy-login-1", "2026".into(), &[1; 32]).unwrap();
        for text in [
            "",
            "_",
            "acme",
            "é",
            &reference[1..],
            &reference[..reference.len() - 1],
            &format!("{reference}A"),
            &format!("{reference} "),
            &dotted,
            &references("2026", 2).reference(&acme),
            &references("2025", 1).reference(&acme),
            &login.sign("acme", None).replace('.', "_"),
            &"a".repeat(300),
        ] {
            assert!(rejected(text), "{text}");
        }
    }

    #[test]
    fn a_previous_key_verifies_and_does_not_sign() {
        let acme = TenantId::parse("acme").unwrap();
        let old = references("2025", 1).reference(&acme);
        let keys = references("2026", 2).with_previous_key("2025", [1; 32]).unwrap();
        assert_eq!(keys.verify(&old).unwrap(), acme);
        assert_ne!(keys.reference(&acme), old);
        for (id, secret) in
            [("2026", &[3; 32][..]), ("2024", &[3; 31]), ("2024", b""), ("", &[3; 32]), ("a_b", &[3; 32])]
        {
            let error = references("2026", 2).with_previous_key(id, secret).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{id}");
        }
        assert_eq!(CheckoutReferences::new("2026", "    ").unwrap_err().kind(), ErrorKind::Misconfigured);
        assert!(!format!("{keys:?}").contains('\u{1}') && format!("{keys:?}").contains("2026"));
    }

    proptest! {
        #[test]
        fn no_text_panics_or_verifies(text: String, letters in "[A-Za-z0-9_-]{0,220}") {
            let keys = references("2026", 1);
            prop_assert!(keys.verify(&text).is_err());
            prop_assert!(keys.verify(&letters).is_err());
        }
    }
}
