//! What is decided in memory, in nanoseconds.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use governor::state::keyed::DashMapStateStore;
use governor::{RateLimiter, clock::MonotonicClock};
use tenancy::TenantContext;
use tenancy::quota::{CrashPolicy, LeaseOptions, LeasedQuotas, Quotas, Rates};
use tenancy::store::MemoryStore;
use tenancy::tenant::TenantId;
use tokio::runtime::Runtime;

use super::{CALLS, EXPORT, PER_USER, REQUESTS, quantile};

/// Runs a future that waits for nothing. It is not moved, as in `.await`.
macro_rules! ready {
    ($future:expr) => {
        match pin!($future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it waits"),
        }
    };
}

/// Short, so that most rounds run without an interruption.
const ROUNDS: usize = 501;
const CALLS_PER_ROUND: usize = 5_000;

/// Something to measure: its group, its name, by how many threads it is called, and a call for a tenant.
struct Variant<'a> {
    group: &'static str,
    name: &'static str,
    threads: usize,
    call: Box<dyn Fn(&TenantContext) + Sync + 'a>,
}

/// The nanoseconds of a call by each thread. One thread calls it for one tenant after another, several for the first.
fn measure(variant: &Variant<'_>, contexts: &[TenantContext]) -> f64 {
    let run = |contexts: &[TenantContext]| {
        for ctx in contexts.iter().cycle().take(CALLS_PER_ROUND) {
            (variant.call)(ctx);
        }
    };
    let start = Instant::now();
    match variant.threads {
        1 => run(contexts),
        threads => std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| run(&contexts[..1]));
            }
        }),
    }
    start.elapsed().as_secs_f64() * 1e9 / CALLS_PER_ROUND as f64
}

type Governor =
    RateLimiter<(TenantId, &'static str), DashMapStateStore<(TenantId, &'static str)>, MonotonicClock>;

fn governor() -> Governor {
    let burst = NonZeroU32::new(500_000_000).unwrap();
    let quota = governor::Quota::with_period(Duration::from_millis(1)).unwrap().allow_burst(burst);
    RateLimiter::dashmap_with_clock(quota, MonotonicClock)
}

/// Leases so large that none is spent.
fn leased(runtime: &Runtime, contexts: &[TenantContext]) -> LeasedQuotas {
    let options = LeaseOptions::new(CrashPolicy::Strict, 1 << 36).lifetime(Duration::from_hours(1));
    let leased = LeasedQuotas::new(&Quotas::new(Arc::new(MemoryStore::new())), options);
    runtime.block_on(async {
        for ctx in contexts {
            leased.charge(ctx, CALLS, 1).await.unwrap();
        }
    });
    leased
}

#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
pub(super) fn compare(runtime: &Runtime, contexts: &[TenantContext]) {
    let (plain, bare, rates, leased) =
        (DashMap::new(), governor(), Rates::local(), leased(runtime, contexts));
    for ctx in contexts {
        plain.insert(ctx.tenant_id().clone(), AtomicU64::new(1 << 40));
    }
    let counter = || -> Box<dyn Fn(&TenantContext) + Sync + '_> {
        Box::new(|ctx| spend(&plain.get(ctx.tenant_id()).unwrap()))
    };
    let charge = || -> Box<dyn Fn(&TenantContext) + Sync + '_> {
        Box::new(|ctx| assert!(ready!(leased.charge(ctx, CALLS, 1)).is_ok()))
    };
    let check = |rate| -> Box<dyn Fn(&TenantContext) + Sync + '_> {
        let rates = &rates;
        Box::new(move |ctx| {
            black_box(ready!(rates.check(ctx, rate)).unwrap());
        })
    };
    let one = AtomicU64::new(1 << 40);
    let variants = [
        Variant {
            group: "plain code",
            name: "a counter, checked subtraction",
            threads: 1,
            call: Box::new(|_| spend(&one)),
        },
        Variant {
            group: "plain code",
            name: "the monotonic clock",
            threads: 1,
            call: Box::new(|_| {
                black_box(Instant::now());
            }),
        },
        Variant {
            group: "plain code",
            name: "a flag of the plan",
            threads: 1,
            call: Box::new(|ctx| {
                black_box(EXPORT.is_on(black_box(ctx.entitlements())).unwrap());
            }),
        },
        Variant { group: "1,000 tenants", name: "DashMap of counters", threads: 1, call: counter() },
        Variant { group: "1,000 tenants", name: "LeasedQuotas::charge", threads: 1, call: charge() },
        Variant { group: "one tenant, 2 threads", name: "DashMap of counters", threads: 2, call: counter() },
        Variant { group: "one tenant, 2 threads", name: "LeasedQuotas::charge", threads: 2, call: charge() },
        Variant {
            group: "1,000 tenants, rates",
            name: "governor",
            threads: 1,
            call: Box::new(|ctx| bare.check_key(&(ctx.tenant_id().clone(), "requests")).unwrap()),
        },
        Variant {
            group: "1,000 tenants, rates",
            name: "Rates::check, per tenant",
            threads: 1,
            call: check(REQUESTS),
        },
        Variant {
            group: "1,000 tenants, rates",
            name: "Rates::check, per user",
            threads: 1,
            call: check(PER_USER),
        },
    ];
    let mut times = vec![Vec::new(); variants.len()];
    for round in 0..=ROUNDS {
        for (variant, times) in variants.iter().zip(&mut times) {
            let time = measure(variant, contexts);
            // The first round creates the states.
            if round > 0 {
                times.push(time);
            }
        }
    }
    println!("\nin memory: lower quartile of {ROUNDS} rounds; relative to the first of the group");
    let mut first = (variants[0].group, 0);
    for (at, Variant { group, name, .. }) in variants.iter().enumerate() {
        if at == 0 || *group != first.0 {
            first = (group, at);
            println!("  {group}");
        }
        let [this, first] = [at, first.1].map(|at| quantile(times[at].clone(), 0.25));
        println!("    {name:<32} {this:>7.1} ns  x{:.2}", this / first);
    }
}

fn spend(counter: &AtomicU64) {
    let left = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
    black_box(left.unwrap());
}
