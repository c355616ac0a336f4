//! [`Slug`]: the name of a tenant in URLs, and the reserved names.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};

/// The name of a tenant in URLs: one DNS label in lower case. Unlike the id it can change.
///
/// A slug has 2 to 63 bytes of `a-z`, `0-9` and inner hyphens. It is not all digits and not a UUID, which could be
/// another tenant's id. It has no `--` as third and fourth character (RFC 5891 reserves those for encoded names), and
/// it is not a reserved word such as `www` or `api`.
///
/// ```
/// use tenancy::tenant::Slug;
///
/// assert_eq!(Slug::parse("ACME")?.as_str(), "acme");
/// assert!(Slug::parse("www").is_err());
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(Arc<str>);

impl Slug {
    /// Parses a slug. Upper-case ASCII letters become lower case, as in DNS.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], with the rule that the text violates.
    pub fn parse(text: &str) -> Result<Self> {
        let is_upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
        let lower = if is_upper { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) };
        match slug_fault(&lower) {
            Some(why) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("not a tenant slug: {why}; use 2 to 63 of a-z, 0-9 and inner hyphens"),
            )),
            None => Ok(Self(lower.into())),
        }
    }

    /// The slug's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text cannot be a slug, or `None` if it can.
pub(super) fn slug_fault(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    if !(2..=63).contains(&bytes.len()) {
        return Some("it must be 2 to 63 bytes long");
    }
    if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') {
        return Some("it has a character other than a-z, 0-9 and hyphen");
    }
    if bytes[0] == b'-' || bytes[bytes.len() - 1] == b'-' {
        return Some("it starts or ends with a hyphen");
    }
    if bytes.len() >= 4 && &bytes[2..4] == b"--" {
        return Some("it has `--` at the third place, which is reserved for encoded names");
    }
    if bytes.iter().all(u8::is_ascii_digit) {
        return Some("it has digits only");
    }
    // With or without hyphens: where a request may contain an id or a slug, this text would be an id.
    if matches!(bytes.len(), 32 | 36) && Uuid::try_parse(text).is_ok() {
        return Some("it reads as a UUID");
    }
    is_reserved(text).then_some("it is a reserved word")
}

/// Whether a browser, a mail server, a database or this crate gives a lower-case label another meaning than a tenant.
pub(crate) fn is_reserved(label: &str) -> bool {
    matches!(
        label,
        "admin"
            | "api"
            | "app"
            | "assets"
            | "auth"
            | "autoconfig"
            | "autodiscover"
            | "billing"
            | "blog"
            | "cdn"
            | "dashboard"
            | "default"
            | "docs"
            | "false"
            | "ftp"
            | "help"
            | "imap"
            | "internal"
            | "local"
            | "localhost"
            | "login"
            | "mail"
            | "mx"
            | "nan"
            | "ns1"
            | "ns2"
            | "null"
            | "pop"
            | "public"
            | "root"
            | "shared"
            | "smtp"
            | "static"
            | "status"
            | "support"
            | "system"
            | "tenant"
            | "true"
            | "undefined"
            | "unknown"
            | "webhooks"
            | "webmail"
            | "wpad"
            | "www"
    )
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slug({})", self.0)
    }
}

impl Serialize for Slug {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_one_dns_label() {
        for good in ["acme", "a1", "1a", "acme-corp", "a".repeat(63).as_str()] {
            assert_eq!(Slug::parse(good).unwrap().as_str(), good);
        }
        for bad in
            ["", "a", "-a", "a-", "a.b", "a_b", "xn--80ak", "123", "www", "API", "ä-b", &"a".repeat(64)]
        {
            assert!(Slug::parse(bad).is_err(), "{bad}");
        }
        for id in ["018f3f5e-3a5a-7c3e-9d0a-000000000001", "018F3F5E3A5A7C3E9D0A000000000001"] {
            assert!(Slug::parse(id).is_err(), "{id} is an id, perhaps of another tenant");
        }
    }
}
