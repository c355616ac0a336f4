//! [`Memo`]: the entitlements of a tenant that were compiled last, so that not every request compiles them.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::entitlements::{Entitlements, KeyTable};
use crate::clock::Timestamp;

/// It belongs to the terms that it was compiled from: a copy of the terms, which may be changed, has none.
#[derive(Default)]
pub(super) struct Memo(RwLock<Option<Compiled>>);

struct Compiled {
    entitlements: Arc<Entitlements>,
    /// The time from one start or end of an override to the next.
    from: Timestamp,
    until: Timestamp,
}

impl Memo {
    /// What was compiled by the catalog with these keys, for this plan, and is still right at this time.
    pub(super) fn get(&self, keys: &Arc<KeyTable>, plan: &str, now: Timestamp) -> Option<Arc<Entitlements>> {
        let compiled = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Compiled { entitlements, from, until } = compiled.as_ref()?;
        let is_current = Arc::ptr_eq(&entitlements.values.keys, keys) && entitlements.plan() == plan;
        (is_current && *from <= now && now < *until).then(|| entitlements.clone())
    }

    /// Keeps what was compiled for `now`. `changes` are the starts and ends of the overrides.
    pub(super) fn set(
        &self,
        entitlements: &Arc<Entitlements>,
        now: Timestamp,
        changes: impl Iterator<Item = Timestamp>,
    ) {
        let (mut from, mut until) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        for change in changes {
            if change <= now { from = from.max(change) } else { until = until.min(change) }
        }
        let compiled = Compiled { entitlements: entitlements.clone(), from, until };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(compiled);
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}
