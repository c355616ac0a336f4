//! The tokens of `Authorization` headers, for the sources of API keys and JSON Web Tokens.

/// The scheme of bearer tokens (RFC 6750).
pub(super) const BEARER: &str = "Bearer";

/// The token of an `Authorization` header with this scheme, which is case-insensitive (RFC 9110, section 11.1).
pub(super) fn token<'a>(authorization: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (found, token) = authorization.split_at_checked(scheme.len())?;
    found.eq_ignore_ascii_case(scheme.as_bytes()).then_some(())?;
    token.strip_prefix(b" ")
}
