//! The only parser of hosts, and a strict one: every spelling of a host has one normal form, or is rejected.

use std::net::Ipv6Addr;

use super::view::{HeaderField, HttpVersion, RequestView};
use crate::tenant::read_name;
pub(super) use crate::tenant::{HostError, HostName as Host};

/// The host and port of a request in normal form: lower case, without a trailing dot.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    pub(super) host: Host<'a>,
    pub(super) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// The authority of a request, or why it has none.
    ///
    /// Stricter than RFC 9112, section 3.2.2: if both the target and `Host` contain an authority, they must be equal.
    pub(super) fn of(request: &'a dyn RequestView) -> Result<Self, HostError> {
        let target = request.authority().map(|text| Self::parse(text.as_bytes())).transpose()?;
        let header = match request.header("host") {
            HeaderField::Absent => None,
            HeaderField::Once(value) => Some(Self::parse(value)?),
            HeaderField::Repeated => return Err("several Host headers"),
        };
        match (target, header, request.version()) {
            (Some(target), Some(header), _) if target != header => Err("the target and Host disagree"),
            (None, _, HttpVersion::Http2 | HttpVersion::Http3) => Err("no :authority"),
            (_, None, HttpVersion::Http10 | HttpVersion::Http11) => Err("no Host header"),
            (Some(authority), ..) | (None, Some(authority), _) => Ok(authority),
        }
    }

    pub(super) fn parse(raw: &'a [u8]) -> Result<Self, HostError> {
        let text = std::str::from_utf8(raw).map_err(|_| "not ASCII")?;
        if let Some(bracketed) = text.strip_prefix('[') {
            let (address, port) = bracketed.split_once(']').ok_or("an unclosed bracket")?;
            let address: Ipv6Addr = address.parse().map_err(|_| "not an IPv6 address")?;
            let port = match port.strip_prefix(':') {
                Some(digits) => Some(read_port(digits)?),
                None if port.is_empty() => None,
                None => return Err("text after the bracket"),
            };
            return Ok(Self { host: Host::Address(address.to_string().into()), port });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, digits)) => (name, Some(read_port(digits)?)),
            None => (text, None),
        };
        Ok(Self { host: read_name(name)?, port })
    }
}

fn read_port(digits: &str) -> Result<u16, HostError> {
    if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("not a port");
    }
    digits.parse().ok().filter(|port| *port != 0).ok_or("not a port")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(raw: &str) -> Option<String> {
        match Authority::parse(raw.as_bytes()) {
            Ok(Authority { host: Host::Name(name), .. }) => Some(name.into_owned()),
            _ => None,
        }
    }

    #[test]
    fn one_host_has_one_normal_form() {
        for raw in ["acme.example.com", "ACME.Example.COM", "acme.example.com.", "acme.example.com:8443"] {
            assert_eq!(name(raw).as_deref(), Some("acme.example.com"), "{raw}");
        }
    }

    #[test]
    fn malformed_hosts_are_rejected() {
        let long_label = format!("{}.example.com", "a".repeat(64));
        let long_name = format!("{}com", "a.".repeat(126));
        for raw in [
            "",
            ".",
            "..",
            ".example.com",
            "acme..example.com",
            "acme.example.com..",
            "acme.example.com:",
            "acme.example.com:0",
            "acme.example.com:99999",
            "acme.example.com:80:90",
            "acme.example.com:abc",
            "acme.example.com:+80",
            "acme@evil.com",
            "acme.example.com, evil.com",
            "a b",
            "a/x",
            "a?x",
            "a#x",
            "a\\x",
            "acme%2eexample.com",
            "acme%00.example.com",
            "a\0b",
            "a\tb",
            "a\rb",
            "a_b.example.com",
            "-acme.example.com",
            "acme-.example.com",
            "ac\u{ad}me.example.com",
            "ac\u{200d}me.example.com",
            "acme\u{ff0e}example.com",
            "\u{24d0}cme.example.com",
            "[::1",
            "[::1]x",
            "[acme]",
            "[::1]:",
            "::1",
            &long_label,
            &long_name,
        ] {
            assert!(Authority::parse(raw.as_bytes()).is_err(), "{raw:?}");
        }
        assert!(Authority::parse(b"acm\xe9.example.com").is_err());
    }

    #[test]
    fn addresses_are_not_names() {
        for raw in ["127.0.0.1", "127.1", "0x7f.1", "acme.example.0x7f", "[::1]", "[::1]:80", "1"] {
            let host = Authority::parse(raw.as_bytes()).expect(raw).host;
            assert!(matches!(host, Host::Address(_)), "{raw}: {host:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_a_normal_form_stays(raw in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Authority::parse(&raw);
        }

        #[test]
        fn the_normal_form_reads_back_as_itself(raw in "[A-Za-z0-9.-]{1,40}(:[0-9]{1,5})?") {
            if let Some(normal) = name(&raw) {
                prop_assert_eq!(name(&normal), Some(normal));
            }
        }
    }
}
