//! [`Timing`]: the clock and the cool-downs of a store, and the setters that the stores share.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock, Timestamp};

/// The clock of a store, and how long slugs and domains stay reserved after their tenant gave them up.
#[derive(Debug, Clone)]
pub(super) struct Timing {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) slug_cooldown: Duration,
    #[cfg(feature = "custom-domains")]
    pub(super) domain_cooldown: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            slug_cooldown: Duration::from_hours(90 * 24),
            #[cfg(feature = "custom-domains")]
            domain_cooldown: Duration::from_hours(30 * 24),
        }
    }
}

impl Timing {
    /// How long a claimed domain can be verified.
    #[cfg(feature = "custom-domains")]
    pub(super) const CLAIM_TTL: Duration = Duration::from_hours(7 * 24);

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The setters of a store that has a field `timing`.
macro_rules! timing_setters {
    () => {
        /// Replaces the system clock.
        #[must_use]
        pub fn with_clock(mut self, clock: std::sync::Arc<dyn crate::clock::Clock>) -> Self {
            self.timing.clock = clock;
            self
        }

        /// How long an old slug stays reserved for its tenant; 90 days by default.
        ///
        /// The cool-down begins when the slug is changed, or when the tenant becomes
        /// [`Deleting`](crate::tenant::TenantStatus::Deleting). A slug whose tenant row is deleted without that stays
        /// reserved forever.
        #[must_use]
        pub fn slug_cooldown(mut self, cooldown: std::time::Duration) -> Self {
            self.timing.slug_cooldown = cooldown;
            self
        }

        /// How long a removed domain stays reserved for its tenant; 30 days by default.
        #[cfg(feature = "custom-domains")]
        #[must_use]
        pub fn domain_cooldown(mut self, cooldown: std::time::Duration) -> Self {
            self.timing.domain_cooldown = cooldown;
            self
        }
    };
}

pub(super) use timing_setters;
