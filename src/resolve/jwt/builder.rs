use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::super::Naming;
use super::{JwtSource, Key};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// Puts a [`JwtSource`] together.
#[must_use]
pub struct JwtSourceBuilder {
    issuer: Option<String>,
    audiences: Vec<String>,
    claim: String,
    naming: Naming,
    tenants: Option<HashSet<TenantId>>,
    keys: Vec<Key>,
    fault: Option<Error>,
    clock: Arc<dyn Clock>,
}

impl Default for JwtSourceBuilder {
    fn default() -> Self {
        Self {
            issuer: None,
            audiences: Vec::new(),
            claim: "tenant_id".to_owned(),
            naming: Naming::Id,
            tenants: None,
            keys: Vec::new(),
            fault: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl JwtSourceBuilder {
    /// The issuer whose tokens are accepted: the exact text of their `iss`.
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        Self { issuer: Some(issuer.into()), ..self }
    }

    /// An audience that this program answers to; a token must name one of them in its `aud`.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The claim that carries the tenant's id, instead of `tenant_id`.
    pub fn tenant_claim(self, claim: impl Into<String>) -> Self {
        Self { claim: claim.into(), naming: Naming::Id, ..self }
    }

    /// The claim that carries the tenant's slug.
    ///
    /// # Security
    /// A slug may change hands, an id never does: a token outlives a rename. Prefer
    /// [`tenant_claim`](Self::tenant_claim).
    pub fn slug_claim(self, claim: impl Into<String>) -> Self {
        Self { claim: claim.into(), naming: Naming::Slug, ..self }
    }

    /// The only tenants that this issuer may speak for. Without this it may speak for all of them, which is
    /// right for an issuer of your own and wrong for one that a customer runs.
    pub fn only_tenants(self, tenants: impl IntoIterator<Item = TenantId>) -> Self {
        Self { tenants: Some(tenants.into_iter().collect()), ..self }
    }

    /// A shared secret of at least 32 bytes, for tokens signed with HS256.
    pub fn hs256(self, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        if secret.len() < 32 {
            return self.fault("an HS256 secret has at least 32 bytes; generate one");
        }
        self.key(Algorithm::HS256, DecodingKey::from_secret(secret))
    }

    /// The public key of an Ed25519 pair in PEM, for tokens signed with EdDSA.
    pub fn eddsa_pem(self, pem: impl AsRef<[u8]>) -> Self {
        match DecodingKey::from_ed_pem(pem.as_ref()) {
            Ok(key) => self.key(Algorithm::EdDSA, key),
            Err(_) => self.fault("this is not the PEM of an Ed25519 public key"),
        }
    }

    /// Names the key that was given just before: it is used only for tokens of this `kid`. A key without a
    /// name is tried for every token.
    pub fn kid(mut self, kid: impl Into<String>) -> Self {
        match self.keys.last_mut() {
            Some(key) if key.kid.is_none() => {
                key.kid = Some(kid.into());
                self
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
    /// [`ErrorKind::Misconfigured`] if the issuer, every audience or every key is missing, or one of the keys
    /// cannot be used.
    pub fn build(self) -> Result<JwtSource> {
        let Self { issuer, audiences, claim, naming, tenants, keys, fault, clock } = self;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let missing = |what: &str| misconfigured(format!("a token source needs {what}"));
        let issuer = issuer.filter(|issuer| !issuer.is_empty()).ok_or_else(|| missing("an issuer"))?;
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            return Err(missing("an audience"));
        }
        if claim.is_empty() {
            return Err(missing("the name of the tenant claim"));
        }
        if keys.is_empty() {
            return Err(missing("a key"));
        }
        if tenants.is_some() && !matches!(naming, Naming::Id) {
            return Err(missing("a claim with ids, not slugs, to bind its issuer to tenants"));
        }
        Ok(JwtSource { issuer, audiences, claim, naming, tenants, keys, clock })
    }

    fn key(mut self, algorithm: Algorithm, material: DecodingKey) -> Self {
        if (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &material).is_err() {
            return self.fault("this key does not fit its algorithm");
        }
        self.keys.push(Key { kid: None, algorithm, material });
        self
    }

    fn fault(mut self, text: &'static str) -> Self {
        self.fault.get_or_insert_with(|| misconfigured(text.to_owned()));
        self
    }
}

impl fmt::Debug for JwtSourceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSourceBuilder").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

fn misconfigured(text: String) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
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
            builder().hs256(secret).slug_claim("tenant").only_tenants([]),
        ];
        for (index, builder) in bad.into_iter().enumerate() {
            assert_eq!(builder.build().expect_err(&index.to_string()).kind(), ErrorKind::Misconfigured);
        }
        let source = builder().hs256(secret).kid("2026-01").build().unwrap();
        let debug = format!("{source:?}");
        assert!(debug.contains("2026-01") && !debug.contains("[7"), "{debug}");
    }
}
