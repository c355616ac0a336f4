//! Fixture: each store of quota counters, as two nodes reach it, and two tenants under a catalog.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use sqlx::pool::PoolOptions;
use tenancy::clock::{ManualClock, Timestamp};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::quota::meter::{
    Charge, ChargeLine, ChargeOutcome, Counter, CounterKey, CounterState, Hold, Meter, Resolution,
    ResolveOutcome,
};
use tenancy::quota::{Concurrency, Quotas};
use tenancy::store::{MemoryStore, RedisMeter, SqlStore};
use tenancy::tenant::{NewTenant, TenantId};
use tenancy::{Error, ErrorKind, Result, TenantContext};
use tokio::task::JoinSet;

use crate::common::{Cleanup, TestBackend, redis_url};

/// 2033-05-18T03:33:00Z: the start of a minute, long before the end of a month. Redis deletes no counter of it today.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_999_999_980);

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOW))
}

/// One store of counters, as two nodes reach it: each with connections of its own.
pub(crate) struct Meters {
    pub(crate) nodes: [Arc<dyn Meter>; 2],
    _cleanup: Option<Cleanup>,
}

impl Meters {
    pub(crate) fn memory() -> Self {
        let store = Arc::new(MemoryStore::new());
        Self { nodes: [store.clone(), store], _cleanup: None }
    }

    pub(crate) async fn redis() -> Self {
        let node = async || {
            let client = redis::Client::open(redis_url()).expect("TEST_REDIS_URL reads");
            Arc::new(RedisMeter::connect(client).await.expect("Redis answers"))
        };
        Self { nodes: [node().await, node().await], _cleanup: None }
    }

    pub(crate) async fn sql<DB: TestBackend>() -> Self {
        let (pool, cleanup) = DB::fresh(8).await;
        let options = (*pool.connect_options()).clone();
        let other = PoolOptions::<DB>::new().max_connections(8).connect_with(options).await.unwrap();
        let store = SqlStore::new(pool);
        store.migrate().await.unwrap();
        Self { nodes: [Arc::new(store), Arc::new(SqlStore::new(other))], _cleanup: Some(cleanup) }
    }

    /// Both nodes, with this clock.
    pub(crate) fn quotas(&self, clock: &Arc<ManualClock>) -> [Quotas; 2] {
        self.nodes.clone().map(|meter| Quotas::new(meter).with_clock(clock.clone()))
    }
}

/// Runs each test on every store of quota counters.
macro_rules! on_every_meter {
    ($($test:ident),+ $(,)?) => {
        $crate::quota_fixture::on_every_meter!(@ memory, async { $crate::quota_fixture::Meters::memory() }; $($test)+);
        $crate::quota_fixture::on_every_meter!(@ redis, $crate::quota_fixture::Meters::redis(); $($test)+);
        $crate::quota_fixture::on_every_meter!(@ sqlite, $crate::quota_fixture::Meters::sql::<sqlx::Sqlite>(); $($test)+);
        $crate::quota_fixture::on_every_meter!(@ postgres, $crate::quota_fixture::Meters::sql::<sqlx::Postgres>(); $($test)+);
    };
    (@ $module:ident, $meters:expr; $($test:ident)+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test($meters.await).await;
            })+
        }
    };
}
pub(crate) use on_every_meter;

/// Two tenants on the plan `free`, each with the user `ada`.
pub(crate) struct World {
    pub(crate) directory: TenantDirectory,
    pub(crate) acme: TenantContext,
    pub(crate) globex: TenantContext,
}

impl World {
    pub(crate) async fn new(catalog: &str) -> Self {
        let store = Arc::new(MemoryStore::new());
        let directory = TenantDirectory::new(store, Catalog::from_toml(catalog).unwrap());
        let context = async |name| {
            let tenant = directory.store().insert(NewTenant::active(name, "free").unwrap()).await.unwrap();
            directory.context(tenant.id(), Actor::user("ada")).await.unwrap()
        };
        let (acme, globex) = (context("acme").await, context("globex").await);
        Self { directory, acme, globex }
    }

    /// The same tenant with another plan.
    pub(crate) async fn on_plan(&self, ctx: &TenantContext, plan: &str) -> TenantContext {
        self.directory.store().update(&ctx.tenant().with_plan(plan)).await.unwrap();
        self.directory.refresh(ctx).await.unwrap()
    }

    /// The same tenant with another actor.
    pub(crate) async fn acting(&self, ctx: &TenantContext, actor: Actor) -> TenantContext {
        self.directory.context(ctx.tenant_id(), actor).await.unwrap()
    }
}

/// What the newest counter of a feature has: used and held.
pub(crate) async fn used(quotas: &Quotas, ctx: &TenantContext, feature: &str) -> (u64, u64) {
    let counters = quotas.counters(ctx, Some(feature), 10).await.unwrap();
    counters.first().map_or((0, 0), |counter| (counter.used, counter.held))
}

/// Runs tasks at the same time, and returns what each returned.
pub(crate) async fn at_once<F>(tasks: usize, task: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let mut set = JoinSet::new();
    for n in 0..tasks {
        set.spawn(task(n));
    }
    set.join_all().await
}

/// Whether all places of a concurrency limit are taken.
pub(crate) async fn is_full(quotas: &Quotas, ctx: &TenantContext, limit: Concurrency) -> bool {
    match quotas.acquire(ctx, limit).await {
        Ok(place) => {
            place.release().await.unwrap();
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConcurrencyLimit, "{error}");
            true
        }
    }
}

/// A memory store that counts its calls, and can be down, slow or silent.
#[derive(Debug, Default)]
pub(crate) struct Flaky {
    inner: MemoryStore,
    calls: AtomicU64,
    pub(crate) charges: AtomicU64,
    pub(crate) in_work: AtomicU64,
    pub(crate) down: AtomicBool,
    /// It does nothing, and never answers.
    pub(crate) silent: AtomicBool,
    /// It yields before and after its work.
    pub(crate) yields: AtomicBool,
    /// It does what it is called for, and never answers.
    pub(crate) mute: AtomicBool,
    /// It charges, and answers with an error.
    pub(crate) loses_answers: AtomicBool,
}

impl Flaky {
    /// How often it was called.
    pub(crate) fn count(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn answer<T>(&self, answer: impl Future<Output = Result<T>>) -> Result<T> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StoreUnavailable, "the store of this test is down"));
        }
        never_if(&self.silent).await;
        self.in_work.fetch_add(1, Ordering::SeqCst);
        let slow = self.yields.load(Ordering::SeqCst);
        for _ in 0..if slow { 3 } else { 0 } {
            tokio::task::yield_now().await;
        }
        let answer = answer.await;
        for _ in 0..if slow { 3 } else { 0 } {
            tokio::task::yield_now().await;
        }
        self.in_work.fetch_sub(1, Ordering::SeqCst);
        never_if(&self.mute).await;
        answer
    }
}

async fn never_if(switch: &AtomicBool) {
    if switch.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl Meter for Flaky {
    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome> {
        self.charges.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer(self.inner.charge(charge)).await;
        if self.loses_answers.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StoreUnavailable, "the answer of this test is lost"));
        }
        answer
    }

    async fn resolve(&self, resolution: &Resolution) -> Result<ResolveOutcome> {
        self.answer(self.inner.resolve(resolution)).await
    }

    async fn renew(
        &self,
        tenant: &TenantId,
        hold: Hold,
        lines: &[ChargeLine],
        now: Timestamp,
    ) -> Result<bool> {
        self.answer(self.inner.renew(tenant, hold, lines, now)).await
    }

    async fn counters(
        &self,
        tenant: &TenantId,
        feature: Option<&str>,
        now: Timestamp,
        limit: u16,
    ) -> Result<Vec<Counter>> {
        self.answer(self.inner.counters(tenant, feature, now, limit)).await
    }

    async fn read(
        &self,
        tenant: &TenantId,
        keys: &[CounterKey],
        now: Timestamp,
    ) -> Result<Vec<CounterState>> {
        self.answer(self.inner.read(tenant, keys, now)).await
    }

    async fn delete_before(&self, before: Timestamp) -> Result<u64> {
        self.inner.delete_before(before).await
    }
}
