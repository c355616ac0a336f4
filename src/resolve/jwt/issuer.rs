use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use jsonwebtoken::Algorithm;

use super::super::{Candidate, Naming, SourceOutcome};
use super::key::VerificationKey;
use super::token::{Claims, Token, TokenError};
use crate::clock::Clock;
use crate::context::Actor;
use crate::error::{Error, ErrorKind};
use crate::tenant::TenantId;

/// An issuer, and what its tokens are good for.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: Name,
    pub(super) audiences: Vec<String>,
    /// The claim that names the tenant, unless its tokens name none.
    pub(super) claim: Option<(String, Naming)>,
    pub(super) tenants: Option<HashSet<TenantId>>,
    pub(super) subject_prefix: String,
    pub(super) keys: Keys,
    pub(super) clock: Arc<dyn Clock>,
}

/// What stands in the `iss` of its tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Exact(String),
    /// What stands before and after the tenant.
    Template(String, String),
}

/// What came of a token.
pub(super) enum TokenOutcome {
    Settled(SourceOutcome),
    /// A key may be there after this.
    Wait(Wait),
}

impl Issuer {
    /// Judges a token that names this issuer. What costs least is asked first; the binding to tenants last, because a
    /// refusal that is told to a tenant must be about a token that is real.
    pub(super) fn judge(
        &self,
        token: &Token<'_>,
        claims: &Claims,
        patient: bool,
    ) -> Result<TokenOutcome, TokenError> {
        claims.check_times(self.clock.now().seconds())?;
        claims.check_audience(&self.audiences)?;
        let subject = claims.subject()?;
        let candidate = match &self.claim {
            Some((claim, naming)) => Some((claims.tenant(claim, *naming)?, *naming)),
            None => None,
        };
        match self.keys.check(token, patient)? {
            Checked::Signed => {}
            Checked::Wait(wait) => return Ok(TokenOutcome::Wait(wait)),
            Checked::Unknown => {
                let text = "the keys of the issuer cannot be fetched; try again later";
                let error = Error::new(ErrorKind::StoreUnavailable, text);
                return Ok(TokenOutcome::Settled(SourceOutcome::Invalid(error)));
            }
        }
        let actor = match &*self.subject_prefix {
            "" => Actor::user(subject),
            prefix => Actor::user(format!("{prefix}{subject}")),
        };
        Ok(TokenOutcome::Settled(match candidate {
            None => SourceOutcome::VerifiedActor(actor),
            Some((candidate, naming)) if self.speaks_for(&candidate, naming, claims.issuer()?) => {
                SourceOutcome::Verified { candidate, actor }
            }
            Some((candidate, _)) => SourceOutcome::Forbidden { candidate, actor },
        }))
    }

    /// Whether a `sub` of one could be taken for somebody of the other, where only the `sub` says who it is.
    pub(super) fn may_confuse_people_with(&self, other: &Self) -> bool {
        let (ours, theirs) = (&*self.subject_prefix, &*other.subject_prefix);
        (self.claim.is_none() || other.claim.is_none())
            && (ours.starts_with(theirs) || theirs.starts_with(ours))
    }

    fn speaks_for(&self, candidate: &Candidate, naming: Naming, iss: &str) -> bool {
        let listed = match (&self.tenants, candidate) {
            (None, _) => true,
            (Some(tenants), Candidate::Id(id)) => tenants.contains(id),
            (Some(_), Candidate::Slug(_)) => false,
        };
        let named = match &self.name {
            Name::Exact(_) => true,
            name @ Name::Template(..) => {
                name.tenant(iss).is_some_and(|tenant| naming.read(tenant).is_ok_and(|it| it == *candidate))
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

    /// What stands in the place of the tenant. Nothing that has a meaning in a URL can stand there.
    fn tenant<'a>(&self, iss: &'a str) -> Option<&'a str> {
        let Self::Template(before, after) = self else { return None };
        let tenant = iss.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (!tenant.is_empty() && tenant.bytes().all(plain)).then_some(tenant)
    }

    /// Whether one `iss` could be that of both.
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

/// The keys of an issuer: those that were given, and those that are fetched.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) given: Vec<VerificationKey>,
    pub(super) fetched: Option<Arc<dyn Fetched>>,
}

/// Until keys were fetched, or were not.
pub(super) type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keys that somebody else publishes.
pub(super) trait Fetched: Send + Sync + fmt::Debug {
    /// Those that may be used now, without waiting; `None` if none were fetched, or too long ago.
    fn at_hand(&self) -> Option<Arc<[VerificationKey]>>;

    /// Until there are others than those that were seen; `None` if it is too early to ask again.
    fn others_than(&self, seen: Option<&Arc<[VerificationKey]>>) -> Option<Wait>;
}

enum Checked {
    Signed,
    Wait(Wait),
    /// There are no keys to check with.
    Unknown,
}

impl Keys {
    fn check(&self, token: &Token<'_>, patient: bool) -> Result<Checked, TokenError> {
        const NOT_SIGNED: TokenError = "no key for this algorithm and kid, or the signature does not match";
        if self.given.iter().any(|key| key.verifies(token)) {
            return Ok(Checked::Signed);
        }
        let Some(fetched) = &self.fetched else { return Err(NOT_SIGNED) };
        if matches!(token.algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return Err("a secret is never published");
        }
        let wait =
            |seen: Option<&Arc<[VerificationKey]>>| if patient { fetched.others_than(seen) } else { None };
        let Some(keys) = fetched.at_hand() else {
            return Ok(wait(None).map_or(Checked::Unknown, Checked::Wait));
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
