mod builder;
mod token;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use tracing::debug;

pub use self::builder::JwtSourceBuilder;
use self::token::{Claims, Fault, Token};
use super::view::{Field, RequestView};
use super::{Candidate, Naming, Signal, Source};
use crate::clock::Clock;
use crate::context::{Actor, ResolvedBy};
use crate::error::{Error, ErrorKind};
use crate::tenant::TenantId;

/// Reads the tenant from the claim of a verified JSON Web Token in the `Authorization` header.
///
/// The signature, the algorithm of the key, `exp`, `iss`, `aud`, `sub` and the tenant claim must all be there
/// and be right; `nbf` and `iat` must be right if they are there. Clocks may differ by 30 seconds.
///
/// # Security
/// This proves. A token is refused if it is longer than 8 KiB, has a `crit` header, a type other than
/// `at+jwt` or `JWT`, or a claim twice. Keys are those given here: `jku`, `jwk`, `x5u` and `x5c` are ignored.
/// A client hears one text for every refusal; the reason is in the log at debug level.
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
pub struct JwtSource {
    issuer: String,
    audiences: Vec<String>,
    claim: String,
    naming: Naming,
    tenants: Option<HashSet<TenantId>>,
    keys: Vec<Key>,
    clock: Arc<dyn Clock>,
}

impl JwtSource {
    /// A builder without issuer, audience and key: all three must be given.
    pub fn builder() -> JwtSourceBuilder {
        JwtSourceBuilder::default()
    }

    fn verify(&self, authorization: &[u8]) -> Result<(Candidate, Actor), Fault> {
        let token = Token::parse(authorization)?;
        let fits = |key: &&Key| {
            key.algorithm == token.algorithm
                && (key.kid.is_none() || key.kid.as_deref() == token.kid.as_deref())
        };
        let mut keys = self.keys.iter().filter(fits).peekable();
        keys.peek().ok_or("no key for this algorithm and kid")?;
        if !keys.any(|key| key.verifies(&token)) {
            return Err("the signature does not match");
        }
        let claims = Claims::parse(token.payload)?;
        claims.check_times(self.clock.now().seconds())?;
        claims.check_issuer(&self.issuer)?;
        claims.check_audience(&self.audiences)?;
        let subject = claims.subject()?;
        let candidate = claims.tenant(&self.claim, self.naming)?;
        if let Some(tenants) = &self.tenants {
            match &candidate {
                Candidate::Id(id) if tenants.contains(id) => {}
                _ => return Err("the issuer may not speak for this tenant"),
            }
        }
        Ok((candidate, Actor::user(subject)))
    }
}

impl Source for JwtSource {
    fn read(&self, request: &dyn RequestView) -> Signal {
        let verified = match request.header("authorization") {
            Field::Absent => return Signal::Absent,
            Field::Repeated => Err("several Authorization headers"),
            Field::Once(value) => self.verify(value),
        };
        match verified {
            Ok((candidate, actor)) => Signal::Proven { candidate, actor },
            Err(reason) => {
                debug!(reason, "token refused");
                Signal::Invalid(Error::new(ErrorKind::CredentialInvalid, "the credential is not valid"))
            }
        }
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
        f.debug_struct("JwtSource")
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("claim", &self.claim)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A key with the one algorithm it is for: a token cannot choose.
struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    material: DecodingKey,
}

impl Key {
    /// Asks its provider by name: `jsonwebtoken::decode` asks for the default one, and panics in a program in
    /// which another crate turned the second one on.
    fn verifies(&self, token: &Token<'_>) -> bool {
        (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm, &self.material)
            .is_ok_and(|verifier| verifier.verify(token.message, &token.signature).is_ok())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
