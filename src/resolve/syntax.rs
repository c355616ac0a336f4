//! Names of headers and cookies, as HTTP allows them.

use crate::error::{Error, ErrorKind, Result};

/// Checks the name of a header and returns it in lower case. Underscores are rejected: some proxies treat them as
/// hyphens.
pub(super) fn header_name(name: &str) -> Result<String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Error::new(
            ErrorKind::Misconfigured,
            "a header has a name of letters, digits and hyphens, such as `x-tenant`",
        ));
    }
    Ok(name.to_ascii_lowercase())
}

/// Whether an HTTP token may contain this byte (RFC 9110, section 5.6.2).
pub(super) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}
