//! The one strict reader of host names: every way of writing a name has one normal form, or is refused.

use std::borrow::Cow;

/// The name half of an authority, in its normal form: lower case, without the dot at the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HostName<'a> {
    Name(Cow<'a, str>),
    /// An address names no tenant, however it is written.
    Address(Cow<'a, str>),
}

/// Why a name is refused. For logs; a client hears one text for all of them.
pub(crate) type DomainNameError = &'static str;

pub(crate) fn read_name(text: &str) -> Result<HostName<'_>, DomainNameError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 {
        return Err("too long");
    }
    let mut is_lower = true;
    for label in name.as_bytes().split(|byte| *byte == b'.') {
        for byte in label {
            is_lower &= !byte.is_ascii_uppercase();
            if !byte.is_ascii_alphanumeric() && *byte != b'-' {
                return Err("a byte that no host name has");
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
    // What a browser would read as an IPv4 address: `127.0.0.1`, and also `127.1` or `0x7f.1`.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || last.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(HostName::Address(name));
    }
    Ok(HostName::Name(name))
}
