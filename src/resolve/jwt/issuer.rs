//! The issuer of tokens: which of its tokens are valid, and for which tenants. Tokens are parsed in `token.rs`.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use jsonwebtoken::Algorithm;

use super::super::candidate::{Candidate, Naming};
use super::super::source::SourceOutcome;
use super::claim_path::ClaimPath;
use super::key::VerificationKey;
use super::token::{Claims, Token, TokenError};
use crate::clock::Clock;
use crate::context::Actor;
use crate::error::{Error, ErrorKind};
use crate::tenant::TenantId;

/// An issuer, its keys, and the tenants for which its tokens are valid.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: Name,
    pub(super) audiences: Vec<String>,
    /// The claim that names the tenant; `None` if the tokens name only callers.
    pub(super) claim: Option<(ClaimPath, Naming)>,
    pub(super) tenants: Option<HashSet<TenantId>>,
    pub(super) subject_prefix: String,
    pub(super) keys: Keys,
    pub(super) clock: Arc<dyn Clock>,
}

/// The `iss` of its tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Exact(String),
    /// The text before and after the tenant.
    Template(String, String),
}

/// The result of verifying a token.
pub(super) enum TokenOutcome {
    Done(SourceOutcome),
    /// Verify the token again after this: the key may then be present.
    Wait(Wait),
}

impl Issuer {
    /// Verifies a token that names this issuer. The cheap checks come first. The restriction to tenants comes last:
    /// only a token with a valid signature may write to the audit log of a tenant. `may_wait` allows a fetch of keys.
    pub(super) fn verify(
        &self,
        token: &Token<'_>,
        claims: &Claims,
        may_wait: bool,
    ) -> Result<TokenOutcome, TokenError> {
        claims.check_times(self.clock.now().seconds())?;
        claims.check_audience(&self.audiences)?;
        let subject = claims.subject()?;
        let candidate = match &self.claim {
            Some((claim, naming)) => Some((claims.tenant(claim, *naming)?, *naming)),
            None => None,
        };
        match self.keys.check(token, may_wait)? {
            Checked::Signed => {}
            Checked::Wait(wait) => return Ok(TokenOutcome::Wait(wait)),
            Checked::NoKeys => {
                let text = "the keys of the issuer cannot be fetched; try again later";
                let error = Error::new(ErrorKind::StoreUnavailable, text);
                return Ok(TokenOutcome::Done(SourceOutcome::Invalid(error)));
            }
        }
        let actor = match &*self.subject_prefix {
            "" => Actor::user(subject),
            prefix => Actor::user(format!("{prefix}{subject}")),
        };
        Ok(TokenOutcome::Done(match candidate {
            None => SourceOutcome::VerifiedActor(actor),
            Some((candidate, naming)) if self.may_act_for(&candidate, naming, claims.issuer()?) => {
                SourceOutcome::Verified { candidate, actor }
            }
            Some((candidate, _)) => SourceOutcome::Forbidden { candidate, actor },
        }))
    }

    /// Whether a `sub` of one issuer could equal a `sub` of the other, where only the `sub` identifies the caller.
    pub(super) fn may_confuse_people_with(&self, other: &Self) -> bool {
        let (prefix, other_prefix) = (&*self.subject_prefix, &*other.subject_prefix);
        (self.claim.is_none() || other.claim.is_none())
            && (prefix.starts_with(other_prefix) || other_prefix.starts_with(prefix))
    }

    fn may_act_for(&self, candidate: &Candidate, naming: Naming, iss: &str) -> bool {
        let listed = match (&self.tenants, candidate) {
            (None, _) => true,
            (Some(tenants), Candidate::Id(id)) => tenants.contains(id),
            (Some(_), Candidate::Slug(_)) => false,
        };
        let named = match &self.name {
            Name::Exact(_) => true,
            name @ Name::Template(..) => {
                name.tenant(iss).is_some_and(|tenant| naming.parse(tenant).is_ok_and(|it| it == *candidate))
            }
        };
        listed && named
    }
}

impl Name {
    pub(super) fn matches(&self, iss: &str) -> bool {
        match self {
            Self::Exact(name) => name == iss,
            Self::Template(..) => self.tenant(iss).is_some(),
        }
    }

    /// The text in place of `{tenant}`: letters, digits, `-` and `_`, so nothing with a meaning in a URL.
    fn tenant<'a>(&self, iss: &'a str) -> Option<&'a str> {
        let Self::Template(before, after) = self else { return None };
        let tenant = iss.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (!tenant.is_empty() && tenant.bytes().all(plain)).then_some(tenant)
    }

    /// Whether an `iss` could match both names.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), other) | (other, Self::Exact(name)) => other.matches(name),
            (Self::Template(before, after), Self::Template(other_before, other_after)) => {
                (before.starts_with(other_before) || other_before.starts_with(before))
                    && (after.ends_with(other_after) || other_after.ends_with(after))
            }
        }
    }
}

/// The keys of an issuer: those of the configuration, and those that are fetched.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) given: Vec<VerificationKey>,
    pub(super) fetched: Option<Arc<dyn FetchedKeys>>,
}

/// Completes when a fetch of keys has succeeded or failed.
pub(super) type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keys that the issuer publishes.
pub(super) trait FetchedKeys: Send + Sync + fmt::Debug {
    /// The keys that are usable now; `None` if none were fetched, or too long ago.
    fn current(&self) -> Option<Arc<[VerificationKey]>>;

    /// Completes when the keys differ from `seen`, or a fetch has failed; `None` if it is too early for a fetch.
    fn newer_than(&self, seen: Option<&Arc<[VerificationKey]>>) -> Option<Wait>;
}

enum Checked {
    Signed,
    Wait(Wait),
    /// No keys could be fetched.
    NoKeys,
}

impl Keys {
    fn check(&self, token: &Token<'_>, may_wait: bool) -> Result<Checked, TokenError> {
        const NOT_SIGNED: TokenError = "no key for this algorithm and kid, or the signature does not match";
        if self.given.iter().any(|key| key.verifies(token)) {
            return Ok(Checked::Signed);
        }
        let Some(fetched) = &self.fetched else { return Err(NOT_SIGNED) };
        if matches!(token.algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return Err("an HMAC algorithm, and no shared secret is configured for it");
        }
        let wait =
            |seen: Option<&Arc<[VerificationKey]>>| if may_wait { fetched.newer_than(seen) } else { None };
        let Some(keys) = fetched.current() else {
            return Ok(wait(None).map_or(Checked::NoKeys, Checked::Wait));
        };
        if keys.iter().any(|key| key.verifies(token)) {
            return Ok(Checked::Signed);
        }
        let known = self.given.iter().chain(&*keys).any(|key| key.kid.is_some() && key.kid == token.kid);
        if known {
            return Err(NOT_SIGNED);
        }
        wait(Some(&keys)).map(Checked::Wait).ok_or(NOT_SIGNED)
    }
}
