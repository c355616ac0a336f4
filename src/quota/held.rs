//! [`Held`]: what a reservation has in the store, until it ends there.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::{error, warn};
use uuid::Uuid;

use super::answer::in_time;
use super::core::Core;
use super::line::{Line, timeout};
use super::meter::{Hold, HoldEnd, Resolution, ResolveOutcome};
use crate::clock::Timestamp;
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Held {
    pub(super) core: Arc<Core>,
    pub(super) ctx: TenantContext,
    pub(super) id: Uuid,
    pub(super) lines: Vec<Line>,
    /// In microseconds since the Unix epoch. A renewal moves it.
    expires: AtomicI64,
}

impl Held {
    pub(super) fn new(core: Arc<Core>, ctx: TenantContext, hold: Hold, lines: Vec<Line>) -> Self {
        Self { core, ctx, id: hold.id, lines, expires: AtomicI64::new(hold.expires.micros()) }
    }

    pub(super) fn expires(&self) -> Timestamp {
        Timestamp::from_micros(self.expires.load(Ordering::Relaxed))
    }

    /// How long a request waits for the store.
    pub(super) fn timeout(&self) -> Duration {
        timeout(&self.lines)
    }

    /// Ends it in the store, which may take this long to answer.
    pub(super) async fn resolve(
        &self,
        end: HoldEnd,
        used: u64,
        now: Timestamp,
        wait: Duration,
    ) -> Result<ResolveOutcome> {
        let lines = self.lines.iter().map(|line| {
            let mut line = line.charge.clone();
            line.amount = used;
            line
        });
        let resolution = Resolution {
            tenant: self.ctx.tenant_id().clone(),
            hold: self.id,
            lines: lines.collect(),
            end,
            now,
        };
        let outcome = in_time(wait, "quotas", self.core.meter.resolve(&resolution)).await?;
        self.core.answered();
        Ok(outcome)
    }

    /// Holds it for `lifetime` from now, at least.
    pub(super) async fn renew(&self, lifetime: Duration) -> Result<()> {
        let now = self.core.now();
        let (hold, tenant) = (Hold { id: self.id, expires: now.after(lifetime) }, self.ctx.tenant_id());
        let lines: Vec<_> = self.lines.iter().map(|line| line.charge.clone()).collect();
        let renewal = self.core.meter.renew(tenant, hold, &lines, now);
        if !in_time(self.timeout(), "quotas", renewal).await? {
            return Err(ended());
        }
        self.core.answered();
        self.expires.fetch_max(hold.expires.micros(), Ordering::Relaxed);
        Ok(())
    }

    /// Renews it in the background, until the handle aborts that.
    pub(super) fn keep_alive(self: Arc<Self>, lifetime: Duration) -> AbortHandle {
        let renewals = async move {
            loop {
                tokio::time::sleep(lifetime / 3).await;
                let (tenant, feature) = (self.ctx.tenant_id(), self.lines.first().map(|line| line.feature));
                match self.renew(lifetime).await {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => {
                        warn!(%error, %tenant, feature, "a place of a concurrency limit is not renewed yet");
                    }
                    Err(error) => {
                        error!(%error, %tenant, feature, "a place of a concurrency limit is lost while it is in use");
                        return;
                    }
                }
            }
        };
        tokio::spawn(renewals).abort_handle()
    }
}

/// The error of a renewal that came too late.
pub(super) fn ended() -> Error {
    Error::new(
        ErrorKind::Expired,
        "the reservation has ended or expired, so it holds nothing; renew it earlier, or reserve again",
    )
}
