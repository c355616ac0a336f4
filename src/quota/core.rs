//! [`Core`]: the store, the clock and the warnings that charges and reservations share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::answer::{LastAnswer, in_time, is_outage};
use super::decision::{Decision, DecisionSource};
use super::line::{Line, decisions, denied, timeout};
use super::meter::{Charge, ChargeOutcome, Hold, LineCount, Meter};
use crate::clock::{Clock, Timestamp};
use crate::context::TenantContext;
use crate::error::Result;
use crate::plan::{FailurePolicy, Limit};

type OnWarning = Box<dyn Fn(&QuotaWarning<'_>) + Send + Sync>;

pub(super) struct Core {
    pub(super) meter: Arc<dyn Meter>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) on_warning: Option<OnWarning>,
    pub(super) key_lifetime: Duration,
    pub(super) last_answer: LastAnswer,
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

    /// Asks the store, and waits at most for this time.
    pub(super) async fn ask(&self, charge: &Charge, wait: Duration) -> Result<ChargeOutcome> {
        let outcome = in_time(wait, "quotas", self.meter.charge(charge)).await?;
        self.answered();
        Ok(outcome)
    }

    /// Charges or holds the lines. A store that does not answer is no error if the rule of every line allows that.
    pub(super) async fn charge(
        &self,
        ctx: &TenantContext,
        lines: &[Line],
        key: Option<&str>,
        hold: Option<Hold>,
        now: Timestamp,
    ) -> Result<Vec<Decision>> {
        let charge = self.to_charge(ctx, lines, key, hold, now);
        let (counts, source) = match self.ask(&charge, timeout(lines)).await {
            Ok(ChargeOutcome::Charged(counts)) => (counts, DecisionSource::Counted),
            Ok(ChargeOutcome::Repeated(mut counts)) => {
                // The first answer had the warning levels.
                for count in &mut counts {
                    count.reached.clear();
                }
                (counts, DecisionSource::Repeated)
            }
            Ok(ChargeOutcome::Denied { line, counts }) => {
                return Err(denied(ctx, &lines[line], &counts[line], now));
            }
            Err(error) if is_outage(&error) && is_open(lines) => {
                warn!(%error, tenant = %charge.tenant, "a charge is allowed without being counted");
                (vec![LineCount::default(); lines.len()], self.last_answer.fallback("quota", now))
            }
            Err(error) => return Err(error),
        };
        Ok(decisions(lines, counts, source, now))
    }

    pub(super) fn answered(&self) {
        self.last_answer.record(self.now());
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

/// Whether the lines are allowed while the store does not answer. Without a limit nothing can be exceeded.
fn is_open(lines: &[Line]) -> bool {
    lines.iter().all(|line| line.failure.policy == FailurePolicy::Open)
        || lines.iter().all(|line| line.charge.hard_limit == Limit::Unlimited)
}
