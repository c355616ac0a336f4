//! [`CountKey`]: the name of what one node counts, and [`subject_of`].

use std::hash::{Hash, Hasher};

use crate::context::{Actor, TenantContext};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::CountPer;
use crate::tenant::{TenantId, TenantIdValue};

/// Whose rate it is. The fields are compared one by one, so no text of one field can pass for another.
#[derive(Clone, Eq)]
pub(super) struct CountKey {
    pub(super) tenant: TenantId,
    pub(super) feature: &'static str,
    /// Empty for the whole tenant.
    pub(super) subject: String,
}

/// As derived, but it compares no empty texts: their address is not in memory, so that takes 100 ns with AVX-512.
impl PartialEq for CountKey {
    fn eq(&self, other: &Self) -> bool {
        let is_same_feature = std::ptr::eq(self.feature, other.feature) || self.feature == other.feature;
        is_same_feature
            && self.tenant == other.tenant
            && self.subject.len() == other.subject.len()
            && (self.subject.is_empty() || self.subject == other.subject)
    }
}

/// Without the feature: the keys of one bucket seldom differ by it alone.
impl Hash for CountKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.tenant.value() {
            TenantIdValue::Uuid(id) => state.write_u128(id.as_u128()),
            TenantIdValue::Int(id) => state.write_i64(id),
            TenantIdValue::Text(id) => id.hash(state),
        }
        self.subject.hash(state);
    }
}

impl CountKey {
    /// What a context counts for a feature.
    ///
    /// # Errors
    /// As [`subject_of`].
    pub(super) fn new(
        ctx: &TenantContext,
        per: CountPer,
        subject: Option<&str>,
        feature: &'static str,
    ) -> Result<Self> {
        let subject = subject_of(ctx, per, subject, feature)?;
        Ok(Self { tenant: ctx.tenant_id().clone(), feature, subject })
    }
}

/// The subject of a counter: empty for the whole tenant.
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
