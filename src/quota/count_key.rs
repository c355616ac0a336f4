//! [`CountKey`]: the name of what one node counts, and [`subject_of`].

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use crate::context::{Actor, TenantContext};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{CountPer, FeatureId};
use crate::tenant::{TenantId, TenantIdValue};

/// Whose count it is. The fields are compared one by one, so no text of one field can pass for another.
#[derive(Debug, Clone, Eq)]
pub(super) struct CountKey {
    pub(super) tenant: TenantId,
    feature: FeatureId,
    /// Empty for the whole tenant.
    pub(super) subject: String,
}

/// As derived, but it compares no empty texts: their address is not in memory, so that takes 100 ns with AVX-512.
impl PartialEq for CountKey {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (self.feature, other.feature);
        own.hash == others.hash
            && (std::ptr::eq(own.name, others.name) || own.name == others.name)
            && self.tenant == other.tenant
            && self.subject.len() == other.subject.len()
            && (self.subject.is_empty() || self.subject == other.subject)
    }
}

impl Hash for CountKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.feature.hash);
        match self.tenant.value() {
            TenantIdValue::Uuid(id) => id.as_u64_pair().hash(state),
            TenantIdValue::Int(id) => state.write_u64(id.cast_unsigned()),
            TenantIdValue::Text(id) => id.hash(state),
        }
        if !self.subject.is_empty() {
            self.subject.hash(state);
        }
    }
}

/// Hashes the keys of counts. No caller chooses the id of a tenant, so a number is only multiplied. A text, which callers
/// may choose, is hashed with `SipHash`. Both depend on random numbers.
#[derive(Debug, Clone)]
pub(super) struct CountHash {
    seed: u64,
    texts: RandomState,
}

impl Default for CountHash {
    fn default() -> Self {
        let texts = RandomState::new();
        Self { seed: texts.hash_one(0), texts }
    }
}

impl BuildHasher for CountHash {
    type Hasher = CountHasher;

    fn build_hasher(&self) -> CountHasher {
        CountHasher { hash: self.seed, texts: self.texts.clone() }
    }
}

pub(super) struct CountHasher {
    hash: u64,
    texts: RandomState,
}

impl Hasher for CountHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(self.texts.hash_one(bytes));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        let (low, high) = (self.hash ^ number).carrying_mul(ODD, 0);
        self.hash = low ^ high;
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// The fraction of the golden ratio.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl CountKey {
    /// What a context counts for a feature.
    ///
    /// # Errors
    /// As [`subject_of`].
    #[inline]
    pub(super) fn new(
        ctx: &TenantContext,
        per: CountPer,
        subject: Option<&str>,
        feature: FeatureId,
    ) -> Result<Self> {
        let subject = subject_of(ctx, per, subject, feature.name)?;
        Ok(Self { tenant: ctx.tenant_id().clone(), feature, subject })
    }

    /// The feature's key.
    #[cfg(feature = "rates")]
    pub(super) fn feature(&self) -> &'static str {
        self.feature.name
    }
}

/// The subject of a counter: empty for the whole tenant.
#[inline]
pub(super) fn subject_of(
    ctx: &TenantContext,
    per: CountPer,
    subject: Option<&str>,
    feature: &str,
) -> Result<String> {
    let missing = |what: &str| {
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("`{feature}` counts per {what}, and the request has none"),
        ))
    };
    match (per, ctx.actor()) {
        (CountPer::Tenant, _) => Ok(String::new()),
        (CountPer::User, actor @ Actor::User(_)) | (CountPer::ApiKey, actor @ Actor::ApiKey(_)) => {
            Ok(actor.to_string())
        }
        (CountPer::User, _) => missing("user"),
        (CountPer::ApiKey, _) => missing("API key"),
        (CountPer::Subject, _) => match subject {
            Some(subject) if !subject.is_empty() => Ok(subject.to_owned()),
            _ => missing("subject"),
        },
    }
}
