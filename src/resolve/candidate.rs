//! A tenant as a request names it, and how the text of a request is read as one.

use crate::error::Result;
use crate::tenant::{Slug, TenantId};

/// A tenant as a request names it, before the lookup.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Candidate {
    /// By its id.
    Id(TenantId),
    /// By its slug.
    Slug(Slug),
}

/// Whether a text names a tenant by id or by slug.
#[derive(Debug, Clone, Copy)]
pub(super) enum Naming {
    /// By id if the text is a UUID or an integer, otherwise by slug.
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
