//! Names of headers and cookies, as HTTP allows them.

use crate::error::{Error, ErrorKind, Result};

/// The name of a header, in lower case. Underscores are refused, since proxies take them for hyphens.
pub(super) fn header_name(name: &str) -> Result<String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Error::new(
            ErrorKind::Misconfigured,
            "a header has a name of letters, digits and hyphens, such as `x-tenant`",
        ));
    }
    Ok(name.to_ascii_lowercase())
}

/// Whether a name may hold this byte where HTTP wants a token (RFC 9110, section 5.6.2).
pub(super) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}
