//! Bearer tokens, for the sources of API keys and JSON Web Tokens.

/// The token of an `Authorization: Bearer …` header; the scheme is case-insensitive (RFC 9110, section 11.1).
pub(super) fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, token) = authorization.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token)
}
