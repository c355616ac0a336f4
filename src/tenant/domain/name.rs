//! The one strict reader of host names: every way of writing a name has one normal form, or is refused.

/// The name half of an authority, in its normal form: lower case, without the dot at the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HostName {
    Name(String),
    /// An address names no tenant, however it is written.
    Address(String),
}

/// Why a name is refused. For logs; a client hears one text for all of them.
pub(crate) type Fault = &'static str;

pub(crate) fn read_name(name: &str) -> Result<HostName, Fault> {
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Err("a byte that no host name has");
    }
    let mut name = name.to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    if name.len() > 253 {
        return Err("too long");
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
            return Err("not a label");
        }
    }
    // What a browser would read as an IPv4 address: `127.0.0.1`, and also `127.1` or `0x7f.1`.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if hex || last.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(HostName::Address(name));
    }
    Ok(HostName::Name(name))
}
