mod algorithm;
mod builder;
mod document;
mod issuer;
mod key;
mod public_key;
#[cfg(feature = "jwks")]
mod remote;
mod token;

use std::fmt;
use std::sync::Arc;

use tracing::debug;

pub use self::algorithm::JwtAlgorithm;
pub use self::builder::JwtSourceBuilder;
use self::issuer::{Issuer, TokenOutcome};
#[cfg(feature = "jwks")]
pub use self::remote::RemoteJwks;
use self::token::{Claims, Token, TokenError};
use super::bearer::bearer;
use super::view::{HeaderField, RequestView};
use super::{Source, SourceOutcome};
use crate::context::ResolvedBy;
use crate::error::{Error, ErrorKind, Result};

/// Reads the tenant from the claim of a verified JSON Web Token in the `Authorization` header.
///
/// The signature, the algorithm of the key, `exp`, `iss`, `aud`, `sub` and the tenant claim must all be there
/// and be right; `nbf` and `iat` must be right if they are there. Clocks may differ by 30 seconds.
///
/// # Security
/// This proves. A token is refused if it is longer than 8 KiB, has a `crit` header, a type other than
/// `at+jwt` or `JWT`, or a claim twice. Keys are those given here, or fetched from where it is said here: `jku`, `jwk`, `x5u` and
/// `x5c` are ignored. A client hears one text for every token that is not good; the reason is in the log at debug level.
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
/// The tokens of several issuers, each with keys of its own:
///
/// ```
/// use tenancy::resolve::JwtSource;
/// # use tenancy::tenant::TenantId;
/// # let acme = TenantId::random();
/// let ours = JwtSource::builder()
///     .issuer("https://login.example.com")
///     .audience("https://api.example.com")
///     .hs256(b"a secret of at least thirty-two bytes")
///     .build()?;
/// // One that a customer runs may speak for that customer only.
/// let theirs = JwtSource::builder()
///     .issuer("https://idp.acme.example")
///     .audience("https://api.example.com")
///     .hs256(b"a secret that is shared with Acme only")
///     .allowed_tenants([acme])
///     .build()?;
/// let source = ours.add_issuer(theirs)?;
/// # Ok::<(), tenancy::Error>(())
/// ```
pub struct JwtSource {
    issuers: Vec<Arc<Issuer>>,
    /// What API keys begin with that come in the same header.
    api_keys: Vec<String>,
}

impl JwtSource {
    /// A builder without issuer, audience and key: all three must be given.
    pub fn builder() -> JwtSourceBuilder {
        JwtSourceBuilder::default()
    }

    /// The tokens of this source, or of that one. The `iss` of a token says whose keys it is checked with, and no
    /// others are tried.
    ///
    /// Two sources of one resolver would not do: each would refuse the other's tokens.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if one `iss` could be that of both, or if one of them says only
    /// [who is calling](JwtSourceBuilder::identity_only) and the other could say the same of somebody else.
    pub fn add_issuer(mut self, other: Self) -> Result<Self> {
        for theirs in other.issuers {
            for ours in &self.issuers {
                if ours.name.overlaps(&theirs.name) {
                    let text =
                        "two issuers have one name: nothing would say whose keys a token is checked with";
                    return Err(Error::new(ErrorKind::Misconfigured, text));
                }
                if ours.may_confuse_people_with(&theirs) {
                    let text = "one issuer could name the people of the other; give each a `subject_prefix`, and none \
                                that another one begins with";
                    return Err(Error::new(ErrorKind::Misconfigured, text));
                }
            }
            self.issuers.push(theirs);
        }
        self.api_keys.extend(other.api_keys);
        Ok(self)
    }

    fn verify(&self, authorization: &[u8]) -> Result<SourceOutcome, TokenError> {
        let token = bearer(authorization).ok_or("not a bearer token")?;
        if self.is_api_key(token) {
            return Ok(SourceOutcome::Absent);
        }
        let parsed = Token::parse(token)?;
        let claims = Claims::parse(parsed.payload)?;
        let iss = claims.issuer()?;
        let issuer = self.issuers.iter().find(|it| it.name.matches(iss)).ok_or("another issuer")?;
        match issuer.judge(&parsed, &claims, true)? {
            TokenOutcome::Settled(signal) => Ok(signal),
            TokenOutcome::Wait(wait) => {
                let (issuer, token) = (Arc::clone(issuer), token.to_vec());
                Ok(SourceOutcome::Pending(Box::pin(async move {
                    wait.await;
                    again(&issuer, &token).unwrap_or_else(refused)
                })))
            }
        }
    }

    fn is_api_key(&self, token: &[u8]) -> bool {
        !token.contains(&b'.') && self.api_keys.iter().any(|start| token.starts_with(start.as_bytes()))
    }
}

/// Judges a token with the keys that are there now.
fn again(issuer: &Issuer, token: &[u8]) -> Result<SourceOutcome, TokenError> {
    let token = Token::parse(token)?;
    match issuer.judge(&token, &Claims::parse(token.payload)?, false)? {
        TokenOutcome::Settled(signal) => Ok(signal),
        TokenOutcome::Wait(_) => Err("a second wait"),
    }
}

fn refused(reason: TokenError) -> SourceOutcome {
    debug!(reason, "token refused");
    SourceOutcome::not_valid()
}

impl Source for JwtSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let verified = match request.header("authorization") {
            HeaderField::Absent => return SourceOutcome::Absent,
            HeaderField::Repeated => Err("several Authorization headers"),
            HeaderField::Once(value) => self.verify(value),
        };
        verified.unwrap_or_else(refused)
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Jwt
    }

    fn vary(&self) -> Option<&str> {
        Some("authorization")
    }
}

impl fmt::Debug for JwtSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSource").field("issuers", &self.issuers).field("api_keys", &self.api_keys).finish()
    }
}
