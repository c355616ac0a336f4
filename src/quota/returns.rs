//! [`Returns`]: the leases that have ended, until the store has counted what they spent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, warn};
use uuid::Uuid;

use super::answer::in_time;
use super::core::Core;
use super::decision::DecisionSource;
use super::lease::Lease;
use super::line::{Line, decisions};
use super::meter::{HoldEnd, Resolution, ResolveOutcome};
use crate::context::TenantContext;

#[derive(Debug)]
pub(super) struct Returns {
    core: Arc<Core>,
    unsent: Mutex<HashMap<Uuid, Ended>>,
    /// Locked while all are sent.
    sending: tokio::sync::Mutex<()>,
}

/// A lease that has ended, and what it has spent.
#[derive(Debug, Clone)]
struct Ended {
    line: Line,
    ctx: TenantContext,
    timeout: Duration,
    rejections: u8,
    /// Until then the store may still create the hold: its charge had no answer.
    may_appear: Option<Instant>,
}

/// For how long a charge without an answer can still arrive at the store.
const IN_FLIGHT: Duration = Duration::from_mins(2);

/// How often a store may reject what was spent, before it is given up. It is in the log then.
const REJECTIONS: u8 = 100;

impl Returns {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, unsent: Mutex::default(), sending: tokio::sync::Mutex::default() }
    }

    fn unsent(&self) -> MutexGuard<'_, HashMap<Uuid, Ended>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a lease has spent, and gives back the rest. Also if this future is dropped: then later.
    pub(super) async fn end(&self, lease: &Lease, timeout: Duration) {
        let Some(spent) = lease.stop() else { return };
        let mut line = lease.line.clone();
        line.charge.amount = spent;
        let hold = lease.hold.id;
        let ended = Ended { line, ctx: lease.ctx.clone(), timeout, rejections: 0, may_appear: None };
        self.unsent().insert(hold, ended);
        self.send(hold).await;
    }

    /// Releases a hold whose charge had no answer: the store may have it, or get it later.
    pub(super) fn release(&self, hold: Uuid, line: &Line, ctx: &TenantContext, timeout: Duration) {
        let mut line = line.clone();
        line.charge.amount = 0;
        let may_appear = Some(Instant::now() + IN_FLIGHT);
        self.unsent().insert(hold, Ended { line, ctx: ctx.clone(), timeout, rejections: 0, may_appear });
    }

    /// Sends everything that the store has not counted yet.
    pub(super) async fn send_all(&self) {
        let _one_at_a_time = self.sending.lock().await;
        let holds: Vec<_> = self.unsent().keys().copied().collect();
        for hold in holds {
            self.send(hold).await;
        }
    }

    async fn send(&self, hold: Uuid) {
        let Some(ended) = self.unsent().get(&hold).cloned() else { return };
        let now = self.core.now();
        let spent = ended.line.charge.amount;
        let resolution = Resolution {
            tenant: ended.ctx.tenant_id().clone(),
            hold,
            lines: vec![ended.line.charge.clone()],
            end: if spent == 0 { HoldEnd::Release } else { HoldEnd::CommitAnyway },
            now,
        };
        let answer = in_time(ended.timeout, "quotas", self.core.meter.resolve(&resolution)).await;
        let (tenant, feature) = (ended.ctx.tenant_id(), ended.line.feature);
        match answer {
            Ok(ResolveOutcome::Expired) if ended.may_appear.is_some_and(|until| Instant::now() < until) => {
                return;
            }
            Ok(ResolveOutcome::Expired) if spent > 0 => {
                error!(%tenant, feature, spent, "the store has forgotten a lease; what it spent is not counted");
            }
            Ok(ResolveOutcome::Resolved(counts)) => {
                self.core.answered();
                let lines = [ended.line.clone()];
                let decisions = decisions(&lines, counts, DecisionSource::Counted, now);
                self.core.warn(&ended.ctx, &decisions);
            }
            Ok(_) => {}
            Err(error) if error.is_transient() => {
                warn!(%error, %tenant, feature, spent, "a lease is not counted yet");
                return;
            }
            Err(error) => {
                let mut unsent = self.unsent();
                let Some(kept) = unsent.get_mut(&hold).filter(|kept| kept.rejections < REJECTIONS) else {
                    unsent.remove(&hold);
                    error!(%error, %tenant, feature, spent, "the store rejects what a lease spent; it is not counted");
                    return;
                };
                kept.rejections += 1;
                warn!(%error, %tenant, feature, spent, "a lease is not counted yet");
                return;
            }
        }
        self.unsent().remove(&hold);
    }
}
