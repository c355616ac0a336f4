//! Measures what a request pays for its plan in memory: a flag, and a check of a rate. The check of a rate is compared
//! with the bare check of governor, for the same keys.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use governor::state::keyed::DashMapStateStore;
use governor::{RateLimiter, clock::MonotonicClock};
use tenancy::TenantContext;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::{Catalog, Flag};
use tenancy::quota::{Rate, Rates};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, TenantId, TenantStore};
use tokio::runtime::Runtime;

const EXPORT: Flag = Flag::new("export");
const REQUESTS: Rate = Rate::new("requests");
const PER_USER: Rate = Rate::new("requests_per_user");

/// No check is denied, and each state is in use.
const CATALOG: &str = "
    version = 1
    [features]
    export            = { kind = \"flag\" }
    requests          = { kind = \"rate\" }
    requests_per_user = { kind = \"rate\", per = \"user\" }
    [plans.free]
    features = { export = true, requests = { limit = 1000, seconds = 1, burst = 500000000 }, requests_per_user = { limit = 1000, seconds = 1, burst = 500000000 } }
";

const TENANTS: usize = 1_000;

async fn contexts() -> Vec<TenantContext> {
    let store = Arc::new(MemoryStore::new());
    let directory = TenantDirectory::new(store.clone(), Catalog::from_toml(CATALOG).unwrap());
    let mut all = Vec::new();
    for n in 0..TENANTS {
        let tenant = store.insert(NewTenant::active(&format!("tenant-{n}"), "free").unwrap()).await.unwrap();
        all.push(directory.context(tenant.id(), Actor::user("ada")).await.unwrap());
    }
    all
}

fn quota(criterion: &mut Criterion) {
    let contexts = Runtime::new().unwrap().block_on(contexts());
    let mut next = contexts.iter().cycle();
    let mut group = criterion.benchmark_group("plan");
    group.bench_function("flag", |bencher| {
        let entitlements = contexts[0].entitlements();
        bencher.iter(|| EXPORT.is_on(black_box(entitlements)).unwrap());
    });

    let burst = NonZeroU32::new(500_000_000).unwrap();
    let quota = governor::Quota::with_period(Duration::from_millis(1)).unwrap().allow_burst(burst);
    let bare: RateLimiter<(TenantId, &'static str), DashMapStateStore<_>, MonotonicClock> =
        RateLimiter::dashmap_with_clock(quota, MonotonicClock);
    group.bench_function("governor, keyed", |bencher| {
        bencher.iter(|| {
            let ctx = next.next().unwrap();
            bare.check_key(&(ctx.tenant_id().clone(), "requests")).unwrap();
        });
    });

    let rates = Rates::local();
    let mut check = |name: &str, rate: Rate| {
        let mut next = contexts.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let ctx = next.next().unwrap();
                rates.check(ctx, rate).now_or_never().expect("it waits for nothing").unwrap()
            });
        });
    };
    check("rate, per tenant", REQUESTS);
    check("rate, per user", PER_USER);
}

criterion_group!(benches, quota);
criterion_main!(benches);
