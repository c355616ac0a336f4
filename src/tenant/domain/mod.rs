//! Custom domains of tenants: [`Domain`], its verification over DNS, and the [`DomainStore`].

#[cfg(feature = "dns")]
mod dns;
mod store;
mod verifier;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

#[cfg(feature = "dns")]
pub use self::dns::DnsResolver;
pub use self::store::{Challenge, DomainState, DomainStore, TenantDomain};
pub use self::verifier::{DomainVerifier, TxtLookup};
use super::host_name::{HostError, HostName, read_name};
use crate::error::{Error, ErrorKind, Result};

/// The label below the domain whose TXT record contains the challenge.
const CHALLENGE: &str = "_tenancy-challenge.";

/// A custom host name of a tenant, such as `shop.acme.com`, normalised to lower case without a trailing dot.
///
/// A domain is not a wildcard, not an IP address and not a single label. An internationalised name must be in its
/// ASCII form (`xn--…`), exactly as a browser encodes it.
///
/// ```
/// use tenancy::tenant::Domain;
///
/// assert_eq!(Domain::parse("Shop.ACME.com.")?, Domain::parse("shop.acme.com")?);
/// for bad in ["*.acme.com", "localhost", "127.0.0.1", "shöp.de", "xn--a.com"] {
///     assert!(Domain::parse(bad).is_err(), "{bad}");
/// }
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

impl Domain {
    /// Parses a domain.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], with the rule that the text violates. The error does not contain the text.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: HostError| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("not a custom domain: {why}; use a whole host name such as `shop.example.com`"),
            )
        };
        let name = match read_name(text).map_err(invalid)? {
            HostName::Name(name) => name,
            HostName::Address(_) => return Err(invalid("it is an address")),
        };
        if !name.contains('.') {
            return Err(invalid("it has one label only"));
        }
        if name.len() + CHALLENGE.len() > 253 {
            return Err(invalid("it is too long for the name of its TXT record"));
        }
        // RFC 5891 reserves `--` at the third place for encoded labels, so any other label with it is invalid.
        let is_encoded = |label: &str| label.get(2..4) == Some("--");
        if name.split('.').any(is_encoded)
            && idna::domain_to_ascii_strict(&name).map_or(true, |ascii| ascii != *name)
        {
            return Err(invalid("an encoded label (`xn--`) is not in the form that a browser makes"));
        }
        Ok(Self(name.into()))
    }

    /// The domain's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({})", self.0)
    }
}

impl Serialize for Domain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_domain_is_one_whole_host_name() {
        for (text, normal) in [
            ("acme.com", "acme.com"),
            ("Shop.ACME.co.uk.", "shop.acme.co.uk"),
            ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
            ("XN--MNCHEN-3YA.de", "xn--mnchen-3ya.de"),
        ] {
            assert_eq!(Domain::parse(text).expect(text).as_str(), normal);
        }
        let longest = format!("{}com", "a.".repeat(115));
        assert_eq!(longest.len(), 233);
        assert!(Domain::parse(&longest).is_ok());
        for bad in [
            "",
            ".",
            "acme",
            "localhost",
            "*.acme.com",
            "*",
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "[::1]",
            "acme.com..",
            ".acme.com",
            "acme..com",
            "acme.com:443",
            "acme_.com",
            "-acme.com",
            "münchen.de",
            "ac\u{ad}me.com",
            "acme\u{ff0e}com",
            "acme.com/x",
            "a@acme.com",
            // An encoded name that encodes nothing, plain ASCII, a capital (`Über`), or a soft hyphen.
            "xn--a.com",
            "xn--.com",
            "xn--acme-.com",
            "xn--ber-ska.de",
            "xn--mnchen-gja04d.de",
            "ab--cd.com",
            &format!("{longest}.aa"),
        ] {
            assert!(Domain::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_reads_back_as_itself(text in "[A-Za-z0-9.-]{1,40}|xn--[a-z0-9-]{1,12}[.]com|\\PC{0,20}") {
            if let Ok(domain) = Domain::parse(&text) {
                prop_assert_eq!(Domain::parse(domain.as_str()).unwrap(), domain);
            }
        }
    }
}
