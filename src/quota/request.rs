//! [`QuotaRequest`]: a charge or a reservation of several quotas.

use std::sync::Arc;
use std::time::Duration;

use super::amount::checked_amount;
use super::core::Core;
use super::decision::Decision;
use super::key::Quota;
use super::line::{Line, quota_line};
use super::reservation::Reservation;
use crate::clock::Timestamp;
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};

/// A charge of several quotas. [`Quotas::request`](crate::quota::Quotas::request) begins one.
#[derive(Debug)]
#[must_use = "a request charges nothing until `run` or `reserve`"]
pub struct QuotaRequest<'a> {
    core: &'a Arc<Core>,
    ctx: &'a TenantContext,
    charges: Vec<(Quota, u64)>,
    subject: Option<&'a str>,
    key: Option<&'a str>,
}

impl<'a> QuotaRequest<'a> {
    pub(super) fn new(core: &'a Arc<Core>, ctx: &'a TenantContext) -> Self {
        Self { core, ctx, charges: Vec::new(), subject: None, key: None }
    }

    /// Adds `n` of a quota. The same quota twice adds both amounts.
    pub fn charge(mut self, quota: Quota, n: u64) -> Self {
        self.charges.push((quota, n));
        self
    }

    /// Sets the subject of the quotas that count [per subject](crate::plan::CountPer::Subject).
    pub fn subject(self, subject: &'a str) -> Self {
        Self { subject: Some(subject), ..self }
    }

    /// Sets a key that you choose for this charge, such as the id of the request. Repeated with the same key, also on
    /// another node, the charge counts once.
    pub fn idempotency_key(self, key: &'a str) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Charges all quotas, or none. The decisions are in the order of the calls of [`charge`](Self::charge).
    ///
    /// # Errors
    /// As [`Quotas::charge`](crate::quota::Quotas::charge), for the first quota in the order of the keys that does not have so much left;
    /// [`ErrorKind::Conflict`] if the idempotency key belongs to another charge.
    pub async fn run(self) -> Result<Vec<Decision>> {
        let now = self.core.now();
        let lines = self.lines(now)?;
        let decisions = self.core.charge(self.ctx, &lines, self.key, None, now).await?;
        self.core.warn(self.ctx, &decisions);
        Ok(self.in_order(&decisions))
    }

    /// Reserves all quotas, or none, for work whose cost is not known yet.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn reserve(self, lifetime: Duration) -> Result<Reservation> {
        let now = self.core.now();
        let lines = self.lines(now)?;
        Reservation::hold(self.core, self.ctx, lines, self.key, lifetime, now).await
    }

    /// The lines, sorted by their counters, each counter once.
    fn lines(&self, now: Timestamp) -> Result<Vec<Line>> {
        let mut lines: Vec<Line> = Vec::with_capacity(self.charges.len());
        for (quota, n) in &self.charges {
            let line = quota_line(self.ctx, *quota, self.subject, *n, now)?;
            match lines.iter_mut().find(|known| known.charge.counter == line.charge.counter) {
                Some(known) => known.charge.amount = checked_amount(known.charge.amount.saturating_add(*n))?,
                None => lines.push(line),
            }
        }
        if lines.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "the request has no quota; call `charge` first"));
        }
        lines.sort_by(|a, b| a.charge.counter.cmp(&b.charge.counter));
        Ok(lines)
    }

    fn in_order(&self, decisions: &[Decision]) -> Vec<Decision> {
        let of = |quota: &Quota| decisions.iter().find(|decision| decision.feature == quota.feature());
        self.charges.iter().filter_map(|(quota, _)| of(quota)).cloned().collect()
    }
}
