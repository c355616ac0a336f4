//! Stands in for `custom_domains.rs` when the feature `custom-domains` is off: a host under no base domain names no tenant.

use super::source::SourceOutcome;

#[derive(Debug, Clone)]
pub(super) struct CustomDomains;

impl CustomDomains {
    pub(super) fn none() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as its twin")]
    pub(super) fn read(&self, _: &str) -> SourceOutcome {
        SourceOutcome::Absent
    }
}
