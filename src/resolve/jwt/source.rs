//! The source of JSON Web Tokens: finds the issuer that a token names. The token is verified in `issuer.rs`.

use std::fmt;
use std::sync::Arc;

use tracing::debug;

use super::super::bearer::token;
use super::super::source::{Source, SourceOutcome, span_without_tenant};
use super::super::view::{HeaderField, RequestView};
use super::issuer::{Issuer, TokenOutcome};
use super::token::{Claims, Token, TokenError};
use crate::context::ResolvedBy;
use crate::error::{Error, ErrorKind, Result};

/// Reads the tenant from a claim of a JSON Web Token in the `Authorization` header, and verifies the token.
///
/// A token must have a valid signature by the algorithm of its key, and valid `exp`, `iss`, `aud`, `sub` and tenant
/// claims. `nbf` and `iat` are optional, but must be valid if present. Clocks may differ by 30 seconds. The builder can
/// change the scheme of the header, and the claim of the tenant.
///
/// # Security
/// This is a verified credential. A token is rejected if it is longer than 8 KiB, or has a `crit` header, a type
/// other than `at+jwt` or `JWT`, or a repeated claim. Keys come from the builder, or from the URL given to the
/// builder: `jku`, `jwk`, `x5u` and `x5c` are ignored. Every invalid token yields the same error; the reason is in
/// the log at debug level.
///
/// ```
/// use tenancy::resolve::JwtSource;
///
/// let source = JwtSource::builder()
///     .issuer("https://login.example.com")
///     .audience("https://api.example.com")
///     .hs256(b"a secret of at least thirty-two bytes")
///     .kid("2026-01")
///     .build()?;
/// # Ok::<(), tenancy::Error>(())
/// ```
///
/// The tokens of several issuers, each with its own keys:
///
/// ```
/// use tenancy::resolve::JwtSource;
/// # use tenancy::tenant::TenantId;
/// # let acme = TenantId::random();
/// let own_issuer = JwtSource::builder()
///     .issuer("https://login.example.com")
///     .audience("https://api.example.com")
///     .hs256(b"a secret of at least thirty-two bytes")
///     .build()?;
/// // An issuer that a customer runs may act for that customer only.
/// let customer_issuer = JwtSource::builder()
///     .issuer("https://idp.acme.example")
///     .audience("https://api.example.com")
///     .hs256(b"a secret that is shared with Acme only")
///     .allowed_tenants([acme])
///     .build()?;
/// let source = own_issuer.add_issuer(customer_issuer)?;
/// # Ok::<(), tenancy::Error>(())
/// ```
pub struct JwtSource {
    issuers: Vec<Arc<Issuer>>,
    /// The scheme of the `Authorization` header.
    scheme: String,
    /// Schemes of the same header that other sources read.
    other_schemes: Vec<String>,
    /// The prefixes of API keys, which are sent in the same header.
    api_keys: Vec<String>,
}

impl JwtSource {
    pub(super) fn new(
        issuer: Issuer,
        scheme: String,
        other_schemes: Vec<String>,
        api_keys: Vec<String>,
    ) -> Self {
        Self { issuers: vec![Arc::new(issuer)], scheme, other_schemes, api_keys }
    }

    /// Accepts the tokens of the other source as well. The `iss` of a token selects the issuer; the keys of other
    /// issuers are not tried.
    ///
    /// Do not give a resolver two token sources instead: each rejects the tokens of the other.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if an `iss` could belong to both, or if the two have different
    /// [schemes](super::JwtSourceBuilder::scheme). Also if one of them names
    /// [only callers](super::JwtSourceBuilder::identity_only), and the other could use the same subject for another
    /// person.
    pub fn add_issuer(mut self, other: Self) -> Result<Self> {
        if !self.scheme.eq_ignore_ascii_case(&other.scheme) {
            let text = "two issuers have different schemes; give both the same `scheme`";
            return Err(Error::new(ErrorKind::Misconfigured, text));
        }
        for added in other.issuers {
            for existing in &self.issuers {
                if existing.name.overlaps(&added.name) {
                    let text = "two issuers have the same `iss`, so the keys of a token are ambiguous";
                    return Err(Error::new(ErrorKind::Misconfigured, text));
                }
                if existing.may_confuse_people_with(&added) {
                    let text = "one issuer could name the people of the other; give each a `subject_prefix` that \
                                does not begin with the other";
                    return Err(Error::new(ErrorKind::Misconfigured, text));
                }
            }
            self.issuers.push(added);
        }
        self.api_keys.extend(other.api_keys);
        self.other_schemes.extend(other.other_schemes);
        Ok(self)
    }

    fn verify(&self, authorization: &[u8]) -> Result<SourceOutcome, TokenError> {
        if self.other_schemes.iter().any(|scheme| token(authorization, scheme).is_some()) {
            return Ok(SourceOutcome::Absent);
        }
        let token = token(authorization, &self.scheme).ok_or("another scheme")?;
        if self.is_api_key(token) {
            return Ok(SourceOutcome::Absent);
        }
        let parsed = Token::parse(token)?;
        let claims = Claims::parse(parsed.payload)?;
        let iss = claims.issuer()?;
        let issuer = self.issuers.iter().find(|it| it.name.matches(iss)).ok_or("another issuer")?;
        match issuer.verify(&parsed, &claims, true)? {
            TokenOutcome::Done(outcome) => Ok(outcome),
            TokenOutcome::Wait(wait) => {
                let (issuer, token) = (Arc::clone(issuer), token.to_vec());
                Ok(SourceOutcome::Pending(Box::pin(async move {
                    wait.await;
                    verify_again(&issuer, &token).unwrap_or_else(rejected)
                })))
            }
        }
    }

    fn is_api_key(&self, token: &[u8]) -> bool {
        !token.contains(&b'.') && self.api_keys.iter().any(|prefix| token.starts_with(prefix.as_bytes()))
    }
}

/// Verifies a token with the keys that are present after a fetch.
fn verify_again(issuer: &Issuer, token: &[u8]) -> Result<SourceOutcome, TokenError> {
    let token = Token::parse(token)?;
    match issuer.verify(&token, &Claims::parse(token.payload)?, false)? {
        TokenOutcome::Done(outcome) => Ok(outcome),
        TokenOutcome::Wait(_) => Err("a second wait"),
    }
}

fn rejected(reason: TokenError) -> SourceOutcome {
    span_without_tenant().in_scope(|| debug!(reason, "token rejected"));
    SourceOutcome::not_valid()
}

impl Source for JwtSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let verified = match request.header("authorization") {
            HeaderField::Absent => return SourceOutcome::Absent,
            HeaderField::Repeated => Err("several Authorization headers"),
            HeaderField::Once(value) => self.verify(value),
        };
        verified.unwrap_or_else(rejected)
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Jwt
    }

    fn vary(&self) -> Option<&str> {
        Some("authorization")
    }

    fn challenge(&self) -> Option<&str> {
        Some(&self.scheme)
    }
}

impl fmt::Debug for JwtSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSource")
            .field("issuers", &self.issuers)
            .field("scheme", &self.scheme)
            .field("other_schemes", &self.other_schemes)
            .field("api_keys", &self.api_keys)
            .finish()
    }
}
