//! The strict parser of host names: each spelling of a name has one normal form or is rejected. Domains and the
//! `Host` source use it.

use std::borrow::Cow;

/// The host of an authority, without the port, normalised to lower case without a trailing dot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HostName<'a> {
    Name(Cow<'a, str>),
    /// An IP address in any notation, which never identifies a tenant.
    Address(Cow<'a, str>),
}

/// Why a name is rejected. For logs and for [`Domain::parse`](super::Domain::parse).
pub(crate) type HostError = &'static str;

pub(crate) fn read_name(text: &str) -> Result<HostName<'_>, HostError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 {
        return Err("too long");
    }
    let mut is_lower = true;
    for label in name.as_bytes().split(|byte| *byte == b'.') {
        for byte in label {
            is_lower &= !byte.is_ascii_uppercase();
            if !byte.is_ascii_alphanumeric() && *byte != b'-' {
                return Err("a byte that is not allowed in a host name");
            }
        }
        let (Some(first), Some(last), ..=63) = (label.first(), label.last(), label.len()) else {
            return Err("not a label");
        };
        if *first == b'-' || *last == b'-' {
            return Err("not a label");
        }
    }
    let name = if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) };
    // Browsers parse `127.1` and `0x7f.1` as IPv4 addresses as well.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || last.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(HostName::Address(name));
    }
    Ok(HostName::Name(name))
}
