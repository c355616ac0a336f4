//! [`ReturnUrls`]: the URLs to which Stripe may send a customer back.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// The allowed origins, in lower case.
#[derive(Debug, Clone)]
pub(super) struct ReturnUrls(Arc<[String]>);

impl ReturnUrls {
    pub(super) fn new<O: AsRef<str>>(origins: impl IntoIterator<Item = O>) -> Result<Self> {
        let origins: Arc<[String]> = origins
            .into_iter()
            .map(|origin| origin.as_ref().trim_end_matches('/').to_ascii_lowercase())
            .collect();
        let is_valid = |origin: &String| origin_of(origin).is_some_and(|(_, length)| length == origin.len());
        if origins.is_empty() || !origins.iter().all(is_valid) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "give at least one origin for the return URLs, such as https://app.example.com or https://*.example.com",
            ));
        }
        Ok(Self(origins))
    }

    /// Checks that a URL belongs to an allowed origin.
    pub(super) fn check(&self, url: &str) -> Result<()> {
        let origin = origin_of(url).map(|(_, length)| url[..length].to_ascii_lowercase());
        let is_allowed = origin.is_some_and(|origin| self.0.iter().any(|allowed| matches(allowed, &origin)));
        if is_allowed {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "the return URL is of no allowed origin; use one of StripeBilling's return origins",
        ))
    }
}

/// The host with its port, and the length of the origin, if the text begins with `http://` or `https://` and a host.
fn origin_of(url: &str) -> Option<(&str, usize)> {
    let scheme = ["https://", "http://"]
        .into_iter()
        .find(|scheme| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))?;
    let after = &url[scheme.len()..];
    let host = &after[..after.find(['/', '?', '#']).unwrap_or(after.len())];
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'*' | b'[' | b']'));
    // A browser reads `\` as `/`, and ignores line breaks.
    let is_plain = url.bytes().all(|b| b > b' ' && b != b'\\' && b != 0x7f);
    (is_host && is_plain).then_some((host, scheme.len() + host.len()))
}

/// Whether an origin is the allowed one, or a subdomain of an allowed `*.`.
fn matches(allowed: &str, origin: &str) -> bool {
    match allowed.split_once("://*.") {
        Some((scheme, domain)) => origin
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            .and_then(|host| host.strip_suffix(domain))
            .and_then(|label| label.strip_suffix('.'))
            .is_some_and(|label| !label.is_empty() && !label.contains([':', '*'])),
        None => allowed == origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_an_allowed_origin_pass() {
        let urls = ReturnUrls::new([
            "https://App.example.com/",
            "http://localhost:3000",
            "https://*.shop.test:8443",
        ])
        .unwrap();
        for url in [
            "https://app.example.com",
            "https://app.example.com/done?session={CHECKOUT_SESSION_ID}",
            "HTTPS://APP.EXAMPLE.COM/#x",
            "http://localhost:3000/",
            "https://acme.shop.test:8443/billing",
            "https://a.b.shop.test:8443",
        ] {
            urls.check(url).unwrap();
        }
        for url in [
            "",
            "/done",
            "//app.example.com/",
            "javascript:alert(1)",
            "http://app.example.com/",
            "https://app.example.com.evil.test/",
            "https://app.example.com@evil.test/",
            "https://app.example.com:444/",
            "https://evil.test/https://app.example.com",
            "https://evil.test\\@app.example.com/",
            "https://evil.test\n.example.com/",
            "https://shop.test:8443/",
            "https://.shop.test:8443/",
            "https://evilshop.test:8443/",
            "https://x:1.shop.test:8443/",
            "https://*.shop.test:8443/",
            "http://localhost:30000/",
            "http://localhost/",
        ] {
            assert_eq!(urls.check(url).unwrap_err().kind(), ErrorKind::InvalidInput, "{url}");
        }
        let none: [&str; 0] = [];
        assert!(ReturnUrls::new(none).is_err());
        for origin in ["", "app.example.com", "https://", "https://a/b", "ftp://a", "https://a b"] {
            assert_eq!(ReturnUrls::new([origin]).unwrap_err().kind(), ErrorKind::Misconfigured, "{origin}");
        }
    }
}
