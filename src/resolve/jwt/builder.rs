use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::Algorithm;

use super::super::Naming;
use super::document;
use super::issuer::{Issuer, Keys, Name};
use super::key::VerificationKey;
use super::public_key::PublicKey;
use super::token::TokenError;
use super::{JwtAlgorithm, JwtSource};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// Puts a [`JwtSource`] together.
#[must_use]
pub struct JwtSourceBuilder {
    name: Option<Name>,
    audiences: Vec<String>,
    claim: Option<(String, Naming)>,
    tenants: Option<HashSet<TenantId>>,
    subject_prefix: String,
    pub(super) keys: Keys,
    /// Whether the last key waits for a name.
    unnamed: bool,
    api_keys: Vec<String>,
    fault: Option<TokenError>,
    clock: Arc<dyn Clock>,
}

impl Default for JwtSourceBuilder {
    fn default() -> Self {
        Self {
            name: None,
            audiences: Vec::new(),
            claim: Some(("tenant_id".to_owned(), Naming::Id)),
            tenants: None,
            subject_prefix: String::new(),
            keys: Keys::default(),
            unnamed: false,
            api_keys: Vec::new(),
            fault: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl JwtSourceBuilder {
    /// The issuer whose tokens are accepted: the exact text of their `iss`. For several, see [`JwtSource::add_issuer`].
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        if issuer.contains(['{', '}']) {
            return self.fault("an issuer with a tenant in its name is given with `issuer_template`");
        }
        Self { name: Some(Name::Exact(issuer)), ..self }
    }

    /// The issuers whose `iss` is this text with a tenant in the place of `{tenant}`, as in
    /// `https://login.example.com/{tenant}/v2.0`. They share their keys, so what the `iss` says and what the tenant
    /// claim says must be the same tenant.
    pub fn issuer_template(self, template: impl AsRef<str>) -> Self {
        match template.as_ref().split_once("{tenant}") {
            Some((before, after)) if !before.is_empty() && !after.contains(['{', '}']) => {
                Self { name: Some(Name::Template(before.to_owned(), after.to_owned())), ..self }
            }
            _ => self.fault("an issuer template holds `{tenant}` once, and a text before it"),
        }
    }

    /// An audience that this program answers to; a token must name one of them in its `aud`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The claim that carries the tenant's id, instead of `tenant_id`.
    pub fn tenant_claim(self, claim: impl Into<String>) -> Self {
        Self { claim: Some((claim.into(), Naming::Id)), ..self }
    }

    /// The claim that carries the tenant's slug.
    ///
    /// # Security
    /// A slug may change hands, an id never does: a token outlives a rename. Prefer
    /// [`tenant_claim`](Self::tenant_claim).
    pub fn slug_claim(self, claim: impl Into<String>) -> Self {
        Self { claim: Some((claim.into(), Naming::Slug)), ..self }
    }

    /// The tokens say who is calling and name no tenant. Another source selects one, and the
    /// [`Membership`](super::super::Membership) of the resolver says whether it is theirs. What a token holds in a
    /// tenant claim all the same is not read.
    ///
    /// # Security
    /// Whoever the `sub` names is sought among all your members. An issuer that you do not run could name any of them: give
    /// it a [`subject_prefix`](Self::subject_prefix) with which no user of your sessions or signed headers begins.
    pub fn identity_only(self) -> Self {
        Self { claim: None, ..self }
    }

    /// The only tenants that this issuer may speak for. Without this it may speak for all of them, which is
    /// right for an issuer of your own and wrong for one that a customer runs.
    ///
    /// A good token for another tenant is refused as a [conflict](ErrorKind::TenantConflict), and told to that
    /// tenant's audit trail.
    pub fn allowed_tenants(self, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        Self { tenants: Some(tenants.into_iter().collect()), ..self }
    }

    /// Puts this before each `sub`, as in `okta|`, so that a person of this issuer is not taken for one of the same
    /// `sub` at another.
    pub fn subject_prefix(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        if prefix.len() > 64 || prefix.chars().any(char::is_control) {
            return self.fault("a subject prefix has at most 64 bytes, and none that cannot be printed");
        }
        Self { subject_prefix: prefix, ..self }
    }

    /// Leaves alone what begins with `prefix` and `_` and has no dot: API keys that come in the same header, for a
    /// source of their own. Without this they are refused, as everything that is no token.
    pub fn ignore_api_keys(mut self, prefix: impl AsRef<str>) -> Self {
        let prefix = prefix.as_ref();
        let prefix = prefix.strip_suffix('_').unwrap_or(prefix);
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return self.fault("the prefix of API keys is of letters, digits and `_`");
        }
        self.api_keys.push(format!("{prefix}_"));
        self
    }

    /// A shared secret of at least 32 bytes, for tokens signed with HS256.
    pub fn hs256(self, secret: impl AsRef<[u8]>) -> Self {
        self.key(VerificationKey::secret(Algorithm::HS256, secret.as_ref()))
    }

    /// A shared secret of at least 48 bytes, for tokens signed with HS384.
    pub fn hs384(self, secret: impl AsRef<[u8]>) -> Self {
        self.key(VerificationKey::secret(Algorithm::HS384, secret.as_ref()))
    }

    /// A shared secret of at least 64 bytes, for tokens signed with HS512.
    pub fn hs512(self, secret: impl AsRef<[u8]>) -> Self {
        self.key(VerificationKey::secret(Algorithm::HS512, secret.as_ref()))
    }

    /// A public key in PEM (`-----BEGIN PUBLIC KEY-----`), for tokens signed with this algorithm and no other. RSA keys
    /// have at least 2048 bits.
    pub fn pem(self, algorithm: JwtAlgorithm, pem: impl AsRef<[u8]>) -> Self {
        self.key(
            PublicKey::from_pem(pem.as_ref()).and_then(|key| VerificationKey::public(algorithm.into(), &key)),
        )
    }

    /// The public key of an Ed25519 pair in PEM, for tokens signed with EdDSA.
    pub fn eddsa_pem(self, pem: impl AsRef<[u8]>) -> Self {
        self.pem(JwtAlgorithm::EdDsa, pem)
    }

    /// The public keys of a JSON Web Key Set that does not change.
    ///
    /// Each is used for the one algorithm in its `alg`; without one, RSA keys are for RS256. Keys that are not for
    /// signatures, too weak, of a kind that is not known, or secret are left out.
    pub fn jwks(mut self, json: impl AsRef<[u8]>) -> Self {
        match document::keys(json.as_ref()) {
            Ok(keys) if keys.is_empty() => self.fault("this JWKS holds no key that can be used"),
            Ok(keys) => {
                self.keys.given.extend(keys);
                Self { unnamed: false, ..self }
            }
            Err(fault) => self.fault(fault),
        }
    }

    /// Names the key that was given just before: it is used only for tokens of this `kid`. A key without a
    /// name is tried for every token.
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        match self.keys.given.last_mut() {
            Some(key) if self.unnamed => {
                key.kid = Some(kid.into());
                Self { unnamed: false, ..self }
            }
            _ => self.fault("`kid` names the key given just before it, once"),
        }
    }

    /// With another clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The source.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the issuer, every audience or every key is missing, one of the keys cannot be
    /// used, or the issuer is bound to tenants that its tokens do not name by id.
    pub fn build(self) -> Result<JwtSource> {
        let Self { name, audiences, claim, tenants, subject_prefix, keys, api_keys, fault, clock, .. } = self;
        if let Some(fault) = fault {
            return Err(Error::new(ErrorKind::Misconfigured, fault));
        }
        let missing =
            |what: &str| Err(Error::new(ErrorKind::Misconfigured, format!("a token source needs {what}")));
        let Some(name) = name.filter(|name| *name != Name::Exact(String::new())) else {
            return missing("an issuer");
        };
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            return missing("an audience");
        }
        if claim.as_ref().is_some_and(|(claim, _)| claim.is_empty()) {
            return missing("the name of the tenant claim");
        }
        if keys.given.is_empty() && keys.fetched.is_none() {
            return missing("a key");
        }
        if tenants.is_some() && !matches!(claim, Some((_, Naming::Id))) {
            return missing("a claim with ids, not slugs, to bind its issuer to tenants");
        }
        if matches!(name, Name::Template(..)) && claim.is_none() {
            return missing("a tenant claim to compare with the tenant in the name of its issuer");
        }
        let issuer = Issuer { name, audiences, claim, tenants, subject_prefix, keys, clock };
        Ok(JwtSource { issuers: vec![Arc::new(issuer)], api_keys })
    }

    fn key(mut self, key: Result<VerificationKey, TokenError>) -> Self {
        match key {
            Ok(key) => {
                self.keys.given.push(key);
                Self { unnamed: true, ..self }
            }
            Err(fault) => self.fault(fault),
        }
    }

    pub(super) fn fault(mut self, text: TokenError) -> Self {
        self.fault.get_or_insert(text);
        self
    }
}

impl fmt::Debug for JwtSourceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSourceBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> JwtSourceBuilder {
        JwtSource::builder().issuer("https://idp").audience("api")
    }

    #[test]
    fn what_is_missing_or_weak_is_refused_at_the_start() {
        let secret = [7_u8; 32];
        let bad = [
            builder(),
            builder().hs256(""),
            builder().hs256([7_u8; 31]),
            builder().hs256([7_u8; 31]).hs256(secret),
            builder().kid("before any key").hs256(secret),
            builder().hs256(secret).kid("a").kid("b"),
            builder().eddsa_pem("-----BEGIN PUBLIC KEY-----\nnot one\n-----END PUBLIC KEY-----"),
            JwtSource::builder().audience("api").hs256(secret),
            JwtSource::builder().issuer("").audience("api").hs256(secret),
            JwtSource::builder().issuer("https://idp").hs256(secret),
            builder().hs256(secret).tenant_claim(""),
            builder().hs256(secret).slug_claim("tenant").allowed_tenants([]),
        ];
        for (index, builder) in bad.into_iter().enumerate() {
            assert_eq!(builder.build().expect_err(&index.to_string()).kind(), ErrorKind::Misconfigured);
        }
        let source = builder().hs256(secret).kid("2026-01").build().unwrap();
        let debug = format!("{source:?}");
        assert!(debug.contains("2026-01") && !debug.contains("[7"), "{debug}");
    }
}
