//! The builder of a [`JwtSource`], which checks the configuration at start-up.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::Algorithm;

use super::super::bearer::BEARER;
use super::super::candidate::Naming;
use super::algorithm::JwtAlgorithm;
use super::claim_path::ClaimPath;
use super::document;
use super::issuer::{Issuer, Keys, Name};
use super::key::VerificationKey;
use super::public_key::PublicKey;
use super::source::JwtSource;
use super::token::TokenError;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// Builds a [`JwtSource`]: one issuer, its audiences and its keys. See [`JwtSource`] for an example.
#[must_use]
pub struct JwtSourceBuilder {
    name: Option<Name>,
    audiences: Vec<String>,
    claim: Option<(ClaimPath, Naming)>,
    tenants: Option<HashSet<TenantId>>,
    subject_prefix: String,
    pub(super) keys: Keys,
    /// Whether `kid` may name the last key.
    unnamed: bool,
    scheme: String,
    other_schemes: Vec<String>,
    api_keys: Vec<String>,
    fault: Option<TokenError>,
    clock: Arc<dyn Clock>,
}

impl Default for JwtSourceBuilder {
    fn default() -> Self {
        Self {
            name: None,
            audiences: Vec::new(),
            claim: Some(("tenant_id".into(), Naming::Id)),
            tenants: None,
            subject_prefix: String::new(),
            keys: Keys::default(),
            unnamed: false,
            scheme: BEARER.to_owned(),
            other_schemes: Vec::new(),
            api_keys: Vec::new(),
            fault: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl JwtSource {
    /// A builder without issuer, audience and key: all three must be given.
    pub fn builder() -> JwtSourceBuilder {
        JwtSourceBuilder::default()
    }
}

impl JwtSourceBuilder {
    /// Sets the issuer: the exact `iss` of its tokens. For several issuers, see [`JwtSource::add_issuer`].
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        let issuer = issuer.into();
        if issuer.contains(['{', '}']) {
            return self.fault("set an issuer with a tenant in its name with `issuer_template`");
        }
        Self { name: Some(Name::Exact(issuer)), ..self }
    }

    /// Sets the issuer to a template with a tenant in place of `{tenant}`, as in
    /// `https://login.example.com/{tenant}/v2.0`. All tenants share its keys, so the `iss` and the tenant claim of a
    /// token must name the same tenant.
    pub fn issuer_template(self, template: impl AsRef<str>) -> Self {
        match template.as_ref().split_once("{tenant}") {
            Some((before, after)) if !before.is_empty() && !after.contains(['{', '}']) => {
                Self { name: Some(Name::Template(before.to_owned(), after.to_owned())), ..self }
            }
            _ => self.fault("an issuer template contains `{tenant}` once, and text before it"),
        }
    }

    /// Adds an audience of this program. The `aud` of a token must contain one of them.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Sets the claim that contains the tenant id, instead of `tenant_id`: a name, or the names of objects inside each
    /// other. A name with dots is one name.
    ///
    /// ```
    /// use tenancy::resolve::JwtSource;
    ///
    /// JwtSource::builder().tenant_claim("org_id"); // {"org_id": "..."}
    /// JwtSource::builder().tenant_claim(["o", "id"]); // {"o": {"id": "..."}}
    /// JwtSource::builder().tenant_claim("https://example.com/org"); // {"https://example.com/org": "..."}
    /// ```
    pub fn tenant_claim(self, claim: impl Into<ClaimPath>) -> Self {
        Self { claim: Some((claim.into(), Naming::Id)), ..self }
    }

    /// Sets the claim that contains the tenant's slug, as [`tenant_claim`](Self::tenant_claim) does.
    ///
    /// # Security
    /// A slug can be reassigned to another tenant while a token is still valid; an id cannot. Prefer
    /// [`tenant_claim`](Self::tenant_claim).
    pub fn slug_claim(self, claim: impl Into<ClaimPath>) -> Self {
        Self { claim: Some((claim.into(), Naming::Slug)), ..self }
    }

    /// Reads only the caller from the tokens, not a tenant. Another source must name the tenant, and the
    /// [`Membership`](super::super::Membership) of the resolver must confirm that the caller is a member. A tenant
    /// claim is ignored.
    ///
    /// # Security
    /// The `sub` is looked up among all your members, so an issuer that you do not run could name any of them. Give
    /// it a [`subject_prefix`](Self::subject_prefix) with which no user id of your sessions or signed headers begins.
    pub fn identity_only(self) -> Self {
        Self { claim: None, ..self }
    }

    /// Restricts the issuer to these tenants. Without a restriction it may act for all tenants, which is right for
    /// your own issuer and wrong for one that a customer runs.
    ///
    /// A valid token for another tenant is rejected as a [conflict](ErrorKind::TenantConflict), and the rejection is
    /// written to the audit log of that tenant.
    pub fn allowed_tenants(self, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        Self { tenants: Some(tenants.into_iter().collect()), ..self }
    }

    /// Prepends this to each `sub`, as in `okta|`. So the same `sub` of two issuers yields two different users.
    pub fn subject_prefix(self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        if prefix.len() > 64 || prefix.chars().any(char::is_control) {
            return self.fault("a subject prefix has at most 64 bytes, and no control characters");
        }
        Self { subject_prefix: prefix, ..self }
    }

    /// Sets the scheme of the `Authorization` header, instead of `Bearer`, as in `Authorization: Token eyJ…`.
    ///
    /// A request with another scheme is rejected, unless [`ignore_scheme`](Self::ignore_scheme) names it.
    pub fn scheme(self, scheme: impl Into<String>) -> Self {
        let scheme = scheme.into();
        if !is_scheme(&scheme) {
            return self.fault("a scheme consists of letters, digits and hyphens");
        }
        Self { scheme, ..self }
    }

    /// Ignores requests with this scheme in the `Authorization` header, such as `Basic`: another source reads them.
    pub fn ignore_scheme(mut self, scheme: impl Into<String>) -> Self {
        let scheme = scheme.into();
        if !is_scheme(&scheme) {
            return self.fault("a scheme consists of letters, digits and hyphens");
        }
        self.other_schemes.push(scheme);
        self
    }

    /// Ignores bearer tokens that begin with `prefix` and `_` and contain no dot: API keys, which another source
    /// reads. Without this setting they are rejected, like every text that is not a token.
    pub fn ignore_api_keys(mut self, prefix: impl AsRef<str>) -> Self {
        let prefix = prefix.as_ref();
        let prefix = prefix.strip_suffix('_').unwrap_or(prefix);
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return self.fault("the prefix of API keys consists of letters, digits and `_`");
        }
        self.api_keys.push(format!("{prefix}_"));
        self
    }

    /// Adds a shared secret of at least 32 bytes, for tokens signed with HS256.
    pub fn hs256(self, secret: impl AsRef<[u8]>) -> Self {
        self.key(VerificationKey::secret(Algorithm::HS256, secret.as_ref()))
    }

    /// Adds a shared secret of at least 48 bytes, for tokens signed with HS384.
    pub fn hs384(self, secret: impl AsRef<[u8]>) -> Self {
        self.key(VerificationKey::secret(Algorithm::HS384, secret.as_ref()))
    }

    /// Adds a shared secret of at least 64 bytes, for tokens signed with HS512.
    pub fn hs512(self, secret: impl AsRef<[u8]>) -> Self {
        self.key(VerificationKey::secret(Algorithm::HS512, secret.as_ref()))
    }

    /// Adds a public key in PEM (`-----BEGIN PUBLIC KEY-----`), for tokens signed with this algorithm only. An RSA
    /// key must have at least 2048 bits.
    pub fn pem(self, algorithm: JwtAlgorithm, pem: impl AsRef<[u8]>) -> Self {
        self.key(
            PublicKey::from_pem(pem.as_ref()).and_then(|key| VerificationKey::public(algorithm.into(), &key)),
        )
    }

    /// Adds the public key of an Ed25519 pair in PEM, for tokens signed with EdDSA.
    pub fn eddsa_pem(self, pem: impl AsRef<[u8]>) -> Self {
        self.pem(JwtAlgorithm::EdDsa, pem)
    }

    /// Adds the public keys of a JSON Web Key Set that does not change.
    ///
    /// Each key verifies the algorithm in its `alg` only; an RSA key without `alg` verifies RS256. Keys that are not
    /// for signatures, too weak, of an unknown type, or secret are skipped.
    pub fn jwks(mut self, json: impl AsRef<[u8]>) -> Self {
        match document::keys(json.as_ref()) {
            Ok(keys) if keys.is_empty() => self.fault("this JWKS contains no usable key"),
            Ok(keys) => {
                self.keys.given.extend(keys);
                Self { unnamed: false, ..self }
            }
            Err(fault) => self.fault(fault),
        }
    }

    /// Sets the `kid` of the key that was added last: it verifies only tokens with this `kid`. A key without a `kid`
    /// is tried for every token.
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        match self.keys.given.last_mut() {
            Some(key) if self.unnamed => {
                key.kid = Some(kid.into());
                Self { unnamed: false, ..self }
            }
            _ => self.fault("`kid` must follow the key that it names, once"),
        }
    }

    /// Replaces the clock.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Builds the source.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the issuer, the audience or the key is missing, if a key cannot be used, or if
    /// the issuer is restricted to tenants that its tokens do not name by id.
    pub fn build(self) -> Result<JwtSource> {
        let Self { name, audiences, claim, tenants, subject_prefix, keys, fault, clock, .. } = self;
        let (scheme, other_schemes, api_keys) = (self.scheme, self.other_schemes, self.api_keys);
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
            return missing("a claim with ids, not slugs, to restrict its issuer to tenants");
        }
        if matches!(name, Name::Template(..)) && claim.is_none() {
            return missing("a tenant claim to compare with the tenant in the name of its issuer");
        }
        let issuer = Issuer { name, audiences, claim, tenants, subject_prefix, keys, clock };
        if other_schemes.iter().any(|other| other.eq_ignore_ascii_case(&scheme)) {
            let text = "the scheme of the tokens is also ignored; remove it from `ignore_scheme`";
            return Err(Error::new(ErrorKind::Misconfigured, text));
        }
        Ok(JwtSource::new(issuer, scheme, other_schemes, api_keys))
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

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
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
    fn a_missing_or_weak_part_is_rejected_at_the_start() {
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
            builder().hs256(secret).tenant_claim(["o", ""]),
            builder().hs256(secret).tenant_claim([""; 0]),
            builder().hs256(secret).scheme(""),
            builder().hs256(secret).scheme("Token "),
            builder().hs256(secret).scheme("Token").ignore_scheme("token"),
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
