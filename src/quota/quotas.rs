//! [`Quotas`]: charges, reserves and reports what a tenant uses, by the rules of its plan.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{LastAnswer, read};
use super::core::{Core, QuotaWarning};
use super::decision::Decision;
use super::key::{Concurrency, Quota};
use super::line::concurrency_line;
use super::meter::{Counter, Meter};
use super::request::QuotaRequest;
use super::reservation::Reservation;
use super::snapshot::{UsageSnapshot, snapshot};
use crate::clock::{Clock, SystemClock};
use crate::context::TenantContext;
use crate::error::Result;

/// Charges, reserves and reports what tenants use, by the rules of their plans. A clone is cheap.
///
/// ```
/// use std::sync::Arc;
/// use tenancy::quota::{Quota, Quotas};
/// # use tenancy::context::{Actor, TenantDirectory};
/// # use tenancy::{ErrorKind, plan::Catalog, store::MemoryStore, tenant::{NewTenant, TenantStore}};
///
/// const API_CALLS: Quota = Quota::new("api_calls");
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
/// # let catalog = Catalog::from_toml("version = 1\n[features]\napi_calls = { kind = \"quota\", period = \"month\" }\n[plans.free]\nfeatures = { api_calls = 2 }")?;
/// # let store = Arc::new(MemoryStore::new());
/// # let acme = store.insert(NewTenant::active("acme", "free")?).await?;
/// # let ctx = TenantDirectory::new(store.clone(), catalog).context(acme.id(), Actor::user("ada")).await?;
/// let quotas = Quotas::new(store); // or an `SqlStore`, or a `RedisMeter`
/// assert_eq!(quotas.charge(&ctx, API_CALLS, 1).await?.remaining(), Some(1));
/// quotas.charge(&ctx, API_CALLS, 1).await?;
/// let full = quotas.charge(&ctx, API_CALLS, 1).await.unwrap_err();
/// assert_eq!(full.kind(), ErrorKind::QuotaExceeded); // 429 in the web layer
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Quotas {
    core: Arc<Core>,
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quotas").field("meter", &self.core.meter).finish_non_exhaustive()
    }
}

impl Quotas {
    /// Counts in this store: a [`MemoryStore`](crate::store::MemoryStore) for one process, an `SqlStore` or a
    /// `RedisMeter` for several.
    pub fn new(meter: Arc<dyn Meter>) -> Self {
        Self {
            core: Arc::new(Core {
                meter,
                clock: Arc::new(SystemClock),
                on_warning: None,
                key_lifetime: Duration::from_hours(24),
                last_answer: LastAnswer::never(),
            }),
        }
    }

    /// Replaces the clock.
    ///
    /// # Panics
    /// If this value was cloned: configure it first.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.core_mut().clock = clock;
        self
    }

    /// Calls a function for each warning level that a tenant reaches: once for a period and a level, in one process of
    /// all. The levels that were reached are also in [`counters`](Self::counters).
    ///
    /// The function runs on the request, so let it only send a message.
    ///
    /// # Panics
    /// If this value was cloned: configure it first.
    #[must_use]
    pub fn on_warning(mut self, call: impl Fn(&QuotaWarning<'_>) + Send + Sync + 'static) -> Self {
        self.core_mut().on_warning = Some(Box::new(call));
        self
    }

    /// Sets for how long idempotency keys are kept; 24 hours by default.
    ///
    /// # Panics
    /// If this value was cloned: configure it first.
    #[must_use]
    pub fn idempotency_lifetime(mut self, lifetime: Duration) -> Self {
        self.core_mut().key_lifetime = lifetime;
        self
    }

    fn core_mut(&mut self) -> &mut Core {
        Arc::get_mut(&mut self.core).expect("`Quotas` is configured before it is cloned")
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The store.
    pub fn meter(&self) -> &Arc<dyn Meter> {
        &self.core.meter
    }

    /// Charges `n` of one quota if the tenant has so much left; otherwise changes nothing.
    ///
    /// # Errors
    /// [`QuotaExceeded`](crate::ErrorKind::QuotaExceeded), with the numbers in [`plan_denial`](crate::Error::plan_denial);
    /// [`UnknownFeature`](crate::ErrorKind::UnknownFeature) if the catalog has no such quota; [`InvalidInput`](crate::ErrorKind::InvalidInput) if `n` is 0 or over
    /// 2^53 − 1, or if the quota counts per user and the actor is none; [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store
    /// does not answer in time and the rule is [closed](crate::plan::FailurePolicy::Closed).
    pub async fn charge(&self, ctx: &TenantContext, quota: Quota, n: u64) -> Result<Decision> {
        let mut decisions = self.request(ctx).charge(quota, n).run().await?;
        Ok(decisions.remove(0))
    }

    /// Begins a charge of several quotas, or one with a subject or an idempotency key. All are charged or none.
    ///
    /// ```
    /// # use tenancy::quota::{Quota, Quotas}; use tenancy::TenantContext;
    /// const API_CALLS: Quota = Quota::new("api_calls");
    /// const TOKENS: Quota = Quota::new("tokens");
    ///
    /// async fn complete(quotas: &Quotas, ctx: &TenantContext, id: &str) -> tenancy::Result<()> {
    ///     quotas.request(ctx).charge(API_CALLS, 1).charge(TOKENS, 350).idempotency_key(id).run().await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn request<'a>(&'a self, ctx: &'a TenantContext) -> QuotaRequest<'a> {
        QuotaRequest::new(&self.core, ctx)
    }

    /// Reserves `n` of a quota for work whose cost is not known yet.
    ///
    /// [`Reservation::commit`] counts what was used. A reservation that is dropped, or whose process dies, is released:
    /// at once, or when `lifetime` ends.
    ///
    /// # Errors
    /// As [`charge`](Self::charge).
    pub async fn reserve(
        &self,
        ctx: &TenantContext,
        quota: Quota,
        n: u64,
        lifetime: Duration,
    ) -> Result<Reservation> {
        self.request(ctx).charge(quota, n).reserve(lifetime).await
    }

    /// Takes one place of a concurrency limit until the reservation is released or dropped.
    ///
    /// The place is renewed in the background, so work may take as long as it needs. A place whose process died is free
    /// after the `lease_seconds` of the catalog. So is one whose store does not answer for so long: the log says so, and
    /// [`renew`](Reservation::renew) returns an error.
    ///
    /// # Errors
    /// [`ConcurrencyLimit`](crate::ErrorKind::ConcurrencyLimit) if all places are taken; otherwise as [`charge`](Self::charge).
    pub async fn acquire(&self, ctx: &TenantContext, limit: Concurrency) -> Result<Reservation> {
        self.acquire_for(ctx, limit, None).await
    }

    /// Takes one place of a concurrency limit that counts [per subject](crate::plan::CountPer::Subject).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_for(
        &self,
        ctx: &TenantContext,
        limit: Concurrency,
        subject: Option<&str>,
    ) -> Result<Reservation> {
        let now = self.core.now();
        let line = concurrency_line(ctx, limit, subject, now)?;
        let lifetime = Duration::from_secs(limit.rule(ctx.entitlements())?.lease_seconds().into());
        let place = Reservation::hold(&self.core, ctx, vec![line], None, lifetime, now).await?;
        Ok(place.kept_alive(lifetime))
    }

    /// What the tenant may use, and what it has used in the current periods, for a user interface.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if the store cannot be reached, or does not answer in 5
    /// seconds.
    pub async fn snapshot(&self, ctx: &TenantContext) -> Result<UsageSnapshot> {
        read(snapshot(&*self.core.meter, ctx, self.core.now())).await
    }

    /// The counters of a tenant, also those of past periods: of one feature or of all, the newest first.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub async fn counters(
        &self,
        ctx: &TenantContext,
        feature: Option<&str>,
        limit: u16,
    ) -> Result<Vec<Counter>> {
        read(self.core.meter.counters(ctx.tenant_id(), feature, self.core.now(), limit)).await
    }
}
