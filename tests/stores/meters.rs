//! Every store of quota counters passes the suite of `tenancy::testing`, and the suite rejects each deliberately broken
//! one.

use std::panic::AssertUnwindSafe;

use async_trait::async_trait;
use futures_util::FutureExt;
use sqlx::Postgres;
use tenancy::clock::Timestamp;
use tenancy::plan::Limit;
use tenancy::quota::meter::{
    Charge, ChargeLine, ChargeOutcome, Counter, CounterKey, CounterState, Hold, HoldEnd, LineCount, Meter,
    Resolution, ResolveOutcome,
};
use tenancy::store::{MemoryStore, RedisMeter, SqlStore};
use tenancy::tenant::TenantId;
use tenancy::{ErrorKind, Result, testing};

use crate::common::{Cleanup, TestBackend, redis_url};

#[tokio::test]
async fn the_memory_store_keeps_every_promise() {
    testing::meter(&MemoryStore::new()).await;
}

#[tokio::test]
async fn redis_keeps_every_promise() {
    let client = redis::Client::open(redis_url()).expect("TEST_REDIS_URL reads");
    testing::meter(&RedisMeter::connect(client).await.expect("Redis answers")).await;
}

/// A store with its tables in a database of its own.
pub(crate) async fn sql_store<DB: TestBackend>(connections: u32) -> (SqlStore<DB>, Cleanup) {
    let (pool, cleanup) = DB::fresh(connections).await;
    let store = SqlStore::new(pool);
    store.migrate().await.unwrap();
    (store, cleanup)
}

async fn the_sql_store_keeps_every_promise<DB: TestBackend>() {
    let (store, _cleanup) = sql_store::<DB>(8).await;
    testing::meter(&store).await;
}

/// A memory store with one deliberate fault.
#[derive(Debug)]
struct Broken {
    inner: MemoryStore,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    ChecksBeforeItCharges,
    ChargesEachLine,
    ForgetsHolds,
    ForgetsKeys,
    ForgetsWarnings,
    EndsNoHold,
    CommitsLate,
    ForgetsRenewals,
    RenewsLate,
    IgnoresSubjects,
    IgnoresGrace,
}

#[async_trait]
impl Meter for Broken {
    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome> {
        let mut charge = charge.clone();
        match self.fault {
            Fault::ChecksBeforeItCharges => {
                if let denied @ ChargeOutcome::Denied { .. } = self.dry_run(&charge).await? {
                    return Ok(denied);
                }
                tokio::task::yield_now().await;
                for line in &mut charge.lines {
                    (line.limit, line.hard_limit) = (Limit::Unlimited, Limit::Unlimited);
                }
            }
            Fault::ChargesEachLine if charge.lines.len() > 1 => {
                let mut counts = Vec::new();
                for (at, line) in charge.lines.iter().enumerate() {
                    let mut one = charge.clone();
                    one.lines = vec![line.clone()];
                    match self.inner.charge(&one).await? {
                        ChargeOutcome::Charged(more) => counts.extend(more),
                        ChargeOutcome::Denied { counts: more, .. } => {
                            counts.extend(more);
                            return Ok(ChargeOutcome::Denied { line: at, counts });
                        }
                        repeated @ ChargeOutcome::Repeated(_) => return Ok(repeated),
                    }
                }
                return Ok(ChargeOutcome::Charged(counts));
            }
            Fault::ForgetsHolds => charge.hold = None,
            Fault::ForgetsKeys => charge.key = None,
            Fault::ForgetsWarnings => charge.lines.iter_mut().for_each(|line| line.warn.clear()),
            Fault::IgnoresSubjects => charge.lines.iter_mut().for_each(|line| line.counter.subject.clear()),
            Fault::IgnoresGrace => charge.lines.iter_mut().for_each(|line| line.grace = None),
            _ => {}
        }
        self.inner.charge(&charge).await
    }

    async fn resolve(&self, resolution: &Resolution) -> Result<ResolveOutcome> {
        let mut resolution = resolution.clone();
        match self.fault {
            Fault::EndsNoHold => return Ok(ResolveOutcome::AlreadyResolved),
            Fault::CommitsLate if resolution.end == HoldEnd::Commit => resolution.end = HoldEnd::CommitAnyway,
            _ => {}
        }
        self.inner.resolve(&resolution).await
    }

    async fn renew(
        &self,
        tenant: &TenantId,
        hold: Hold,
        lines: &[ChargeLine],
        now: Timestamp,
    ) -> Result<bool> {
        match self.fault {
            Fault::ForgetsRenewals => Ok(true),
            Fault::RenewsLate => self.inner.renew(tenant, hold, lines, Timestamp::from_micros(0)).await,
            _ => self.inner.renew(tenant, hold, lines, now).await,
        }
    }

    async fn counters(
        &self,
        tenant: &TenantId,
        feature: Option<&str>,
        now: Timestamp,
        limit: u16,
    ) -> Result<Vec<Counter>> {
        self.inner.counters(tenant, feature, now, limit).await
    }

    async fn read(
        &self,
        tenant: &TenantId,
        keys: &[CounterKey],
        now: Timestamp,
    ) -> Result<Vec<CounterState>> {
        self.inner.read(tenant, keys, now).await
    }

    async fn delete_before(&self, before: Timestamp) -> Result<u64> {
        self.inner.delete_before(before).await
    }
}

impl Broken {
    /// What a charge would find, without charging.
    async fn dry_run(&self, charge: &Charge) -> Result<ChargeOutcome> {
        let counters = self.inner.counters(&charge.tenant, None, charge.now, u16::MAX).await?;
        for (at, line) in charge.lines.iter().enumerate() {
            let found = counters.iter().find(|counter| counter.key == line.counter);
            let total = found.map_or(0, |counter| counter.used + counter.held) + line.amount;
            if !line.hard_limit.allows(total) {
                return Ok(ChargeOutcome::Denied {
                    line: at,
                    counts: vec![LineCount::default(); charge.lines.len()],
                });
            }
        }
        Ok(ChargeOutcome::Charged(Vec::new()))
    }
}

#[tokio::test]
async fn the_suite_rejects_each_broken_meter() {
    for fault in [
        Fault::ChecksBeforeItCharges,
        Fault::ChargesEachLine,
        Fault::ForgetsHolds,
        Fault::ForgetsKeys,
        Fault::ForgetsWarnings,
        Fault::EndsNoHold,
        Fault::CommitsLate,
        Fault::ForgetsRenewals,
        Fault::RenewsLate,
        Fault::IgnoresSubjects,
        Fault::IgnoresGrace,
    ] {
        let broken = Broken { inner: MemoryStore::new(), fault };
        let verdict = AssertUnwindSafe(testing::meter(&broken)).catch_unwind().await;
        let panic = verdict.expect_err("the suite rejects it");
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        assert!(text.contains("promise broken"), "{fault:?}: {text}");
    }
}

/// Old rows are deleted, rows that are still needed are not.
async fn old_counters_are_deleted<DB: TestBackend>() {
    let (store, _cleanup) = sql_store::<DB>(4).await;
    testing::meter(&store).await;
    let now = Timestamp::from_micros(
        i64::try_from(
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros(),
        )
        .unwrap(),
    );
    assert_eq!(store.delete_before(Timestamp::from_seconds(now.seconds() - 86_400 * 40)).await.unwrap(), 0);
    let year = std::time::Duration::from_hours(24 * 400);
    assert!(store.delete_before(now.after(year)).await.unwrap() > 100);
    assert_eq!(
        store.delete_before(now.after(year)).await.unwrap(),
        0,
        "only counters without an end are left"
    );
}

on_every_database!(the_sql_store_keeps_every_promise, old_counters_are_deleted);

/// PostgreSQL: a transaction at a stricter isolation level loses a conflict by name, and never exceeds the limit.
#[tokio::test]
async fn q04_a_stricter_isolation_level_is_retried_or_named() {
    let (pool, _cleanup) = Postgres::fresh(8).await;
    sqlx::query(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', \
                 current_database()); END $$",
    )
    .execute(&pool)
    .await
    .unwrap();
    let options = (*pool.connect_options()).clone();
    let strict = sqlx::postgres::PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
    let store = SqlStore::new(strict);
    store.migrate().await.unwrap();
    let quotas = tenancy::quota::Quotas::new(std::sync::Arc::new(store));
    let (acme, _) = crate::meters::contexts().await;
    let charges = (0..40).map(|_| quotas.charge(&acme, CALLS, 1));
    let all = futures_util::future::join_all(charges).await;
    let kinds: Vec<_> =
        all.iter().filter_map(|outcome| outcome.as_ref().err().map(tenancy::Error::kind)).collect();
    assert!(
        kinds.iter().all(|kind| matches!(kind, ErrorKind::QuotaExceeded | ErrorKind::Retryable)),
        "{kinds:?}"
    );
    let counted = quotas.counters(&acme, None, 10).await.unwrap()[0].used;
    assert_eq!(counted, u64::try_from(all.iter().filter(|outcome| outcome.is_ok()).count()).unwrap());
    assert!(counted <= 10);
}

const CALLS: tenancy::quota::Quota = tenancy::quota::Quota::new("calls");

/// Two tenants of a catalog with one quota.
async fn contexts() -> (tenancy::TenantContext, tenancy::TenantContext) {
    let catalog = "version = 1\n[features]\ncalls = { kind = \"quota\", period = \"month\" }\n[plans.free]\nfeatures = { calls = 10 }";
    let catalog = tenancy::plan::Catalog::from_toml(catalog).unwrap();
    let store = std::sync::Arc::new(MemoryStore::new());
    let directory = tenancy::context::TenantDirectory::new(store, catalog);
    let mut both = Vec::new();
    for name in ["acme", "globex"] {
        let new = tenancy::tenant::NewTenant::active(name, "free").unwrap();
        let tenant = directory.store().insert(new).await.unwrap();
        let actor = tenancy::context::Actor::user("ada");
        both.push(directory.context(tenant.id(), actor).await.unwrap());
    }
    let globex = both.pop().unwrap();
    (both.pop().unwrap(), globex)
}
