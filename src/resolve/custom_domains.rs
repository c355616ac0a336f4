//! [`CustomDomains`]: finds the tenant that has verified the domain of a host.

use std::sync::Arc;

use tracing::debug;

use super::candidate::Candidate;
use super::source::{SourceOutcome, span_without_tenant};
use crate::context::unknown_tenant;
use crate::tenant::{Domain, DomainStore};

/// The store of custom domains, if the source reads them.
#[derive(Debug, Clone)]
pub(super) struct CustomDomains(Option<Arc<dyn DomainStore>>);

impl CustomDomains {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn of(store: Arc<dyn DomainStore>) -> Self {
        Self(Some(store))
    }

    /// The tenant of a custom domain.
    pub(super) fn read(&self, name: &str) -> SourceOutcome {
        let Some(store) = &self.0 else { return SourceOutcome::Absent };
        let Ok(domain) = Domain::parse(name) else { return SourceOutcome::Invalid(unknown_tenant()) };
        if let Some(tenant) = store.peek_domain(&domain) {
            return SourceOutcome::Unverified(Candidate::Id(tenant));
        }
        let store = store.clone();
        SourceOutcome::Pending(Box::pin(async move {
            match store.by_domain(&domain).await {
                Ok(Some(tenant)) => SourceOutcome::Unverified(Candidate::Id(tenant)),
                Ok(None) => {
                    span_without_tenant()
                        .in_scope(|| debug!("no tenant has verified the domain of this host"));
                    SourceOutcome::Invalid(unknown_tenant())
                }
                Err(error) => SourceOutcome::Invalid(error),
            }
        }))
    }
}
