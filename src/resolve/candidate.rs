//! A tenant as a request names it, and how the text of a request is read as one.

use crate::error::Result;
use crate::tenant::{Slug, TenantId};

/// A tenant as a request names it, not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Candidate {
    /// By its id.
    Id(TenantId),
    /// By its slug.
    Slug(Slug),
}

/// How a text names a tenant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Naming {
    /// A UUID or an integer is an id, anything else a slug.
    Either,
    Id,
    Slug,
}

impl Naming {
    pub(super) fn parse(self, text: &str) -> Result<Candidate> {
        let looks_like_an_id = || text.parse::<u64>().is_ok() || uuid::Uuid::try_parse(text).is_ok();
        match self {
            Self::Id => TenantId::parse(text).map(Candidate::Id),
            Self::Either if looks_like_an_id() => TenantId::parse(text).map(Candidate::Id),
            Self::Either | Self::Slug => Slug::parse(text).map(Candidate::Slug),
        }
    }
}
