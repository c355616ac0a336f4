//! [`Core`]: the store, the clock and the warnings that charges and reservations share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tracing::{info, warn};

use super::decision::{Decision, DecisionSource};
use super::line::Line;
use super::meter::{Charge, ChargeOutcome, Hold, Meter};
use crate::clock::{Clock, Timestamp};
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{FailurePolicy, Limit};

type OnWarning = Box<dyn Fn(&QuotaWarning<'_>) + Send + Sync>;

pub(super) struct Core {
    pub(super) meter: Arc<dyn Meter>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) on_warning: Option<OnWarning>,
    pub(super) key_lifetime: Duration,
    /// When the store last answered, in microseconds; `i64::MIN` for never.
    pub(super) last_answer: AtomicI64,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("meter", &self.meter).finish_non_exhaustive()
    }
}

/// A warning level that a tenant reached.
#[derive(Debug)]
#[non_exhaustive]
pub struct QuotaWarning<'a> {
    /// The context of the charge that reached it.
    pub context: &'a TenantContext,
    /// The numbers of that charge.
    pub decision: &'a Decision,
    /// The level, in percent of the limit.
    pub percent: u16,
}

impl Core {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn to_charge(
        &self,
        ctx: &TenantContext,
        lines: &[Line],
        key: Option<&str>,
        hold: Option<Hold>,
        now: Timestamp,
    ) -> Charge {
        Charge {
            tenant: ctx.tenant_id().clone(),
            lines: lines.iter().map(|line| line.charge.clone()).collect(),
            key: key.map(|key| (key.to_owned(), now.after(self.key_lifetime))),
            hold,
            now,
        }
    }

    /// Asks the store. `None` if it does not answer and the policy allows that.
    pub(super) async fn send(
        &self,
        charge: &Charge,
        policy: FailurePolicy,
        wait: Duration,
    ) -> Result<Option<ChargeOutcome>> {
        let answer = match timeout(wait, self.meter.charge(charge)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(
                ErrorKind::StoreUnavailable,
                format!("the store of quotas did not answer in {} ms", wait.as_millis()),
            )),
        };
        match answer {
            Ok(outcome) => {
                self.answered();
                Ok(Some(outcome))
            }
            // Without a limit nothing can be exceeded.
            Err(error) if error.is_transient() && is_allowed(policy, charge) => {
                warn!(%error, tenant = %charge.tenant, "a charge is allowed without being counted");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn answered(&self) {
        self.last_answer.store(self.now().micros(), Ordering::Relaxed);
    }

    pub(super) fn fallback(&self) -> DecisionSource {
        let last = self.last_answer.load(Ordering::Relaxed);
        let age = (last != i64::MIN).then(|| {
            Duration::from_micros(u64::try_from(self.now().micros().saturating_sub(last)).unwrap_or(0))
        });
        DecisionSource::Fallback { age }
    }

    pub(super) fn warn(&self, ctx: &TenantContext, decisions: &[Decision]) {
        for decision in decisions {
            for percent in decision.reached.iter().copied() {
                let (tenant, feature) = (ctx.tenant_id(), decision.feature);
                info!(%tenant, feature, percent, used = decision.used, "a quota reached a warning level");
                if let Some(call) = &self.on_warning {
                    call(&QuotaWarning { context: ctx, decision, percent });
                }
            }
        }
    }
}

fn is_allowed(policy: FailurePolicy, charge: &Charge) -> bool {
    policy == FailurePolicy::Open || charge.lines.iter().all(|line| line.hard_limit == Limit::Unlimited)
}
