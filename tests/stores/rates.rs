//! Rates on one node and in Redis: the same tests on both, and what only one of them has.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tenancy::clock::{Clock, Timestamp};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::{Catalog, FeatureValue, Limit, NewOverride};
use tenancy::quota::{DecisionSource, Rate, RateDecision, Rates};
use tenancy::store::{MemoryStore, RedisRates};
use tenancy::tenant::{NewTenant, Tenant, TenantStore};
use tenancy::{Error, ErrorKind, Result, TenantContext};

use crate::common::redis_url;
use crate::node::until;
use crate::proxy::Proxy;

/// One in two seconds, three at once.
const SLOW: Rate = Rate::new("slow");
/// Ten at once, and one an hour: during a test none is free again.
const HOURLY: Rate = Rate::new("hourly");
const PER_USER: Rate = Rate::new("per_user");
const PER_KEY: Rate = Rate::new("per_key");
const PER_SUBJECT: Rate = Rate::new("per_subject");
const CLOSED: Rate = Rate::new("closed");
const FREE: Rate = Rate::new("free");
const NONE: Rate = Rate::new("none");
const TOO_FAST: Rate = Rate::new("too_fast");
const TOO_SLOW: Rate = Rate::new("too_slow");

const CATALOG: &str = r#"
version = 1
upgrade_url = "/upgrade"

[features]
slow        = { kind = "rate" }
hourly      = { kind = "rate", timeout_ms = 300 }
per_user    = { kind = "rate", per = "user" }
per_key     = { kind = "rate", per = "api_key" }
per_subject = { kind = "rate", per = "subject" }
closed      = { kind = "rate", on_failure = "closed", timeout_ms = 300 }
free        = { kind = "rate" }
none        = { kind = "rate" }
too_fast    = { kind = "rate" }
too_slow    = { kind = "rate" }
export      = { kind = "flag" }

[plans.small.features]
slow        = { limit = 1, seconds = 2, burst = 3 }
hourly      = { limit = 1, seconds = 3600, burst = 10 }
per_user    = { limit = 1, seconds = 3600, burst = 2 }
per_key     = { limit = 1, seconds = 3600, burst = 2 }
per_subject = { limit = 1, seconds = 3600, burst = 2 }
closed      = { limit = 1, seconds = 3600, burst = 10 }
free        = "unlimited"
none        = { limit = 0, seconds = 60 }
too_fast    = { limit = 1000000000, seconds = 1 }
too_slow    = { limit = 1, seconds = 4000000000, burst = 4000000000 }
export      = true

[plans.large]
extends = "small"
features = { hourly = { limit = 1, seconds = 3600, burst = 20 } }
"#;

/// A clock of microseconds.
#[derive(Debug)]
struct MicrosecondClock(AtomicI64);

impl MicrosecondClock {
    fn advance(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for MicrosecondClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Rates, and their clock if a test can advance it.
struct Node {
    rates: Rates,
    clock: Option<Arc<MicrosecondClock>>,
}

impl Node {
    fn local() -> Self {
        let clock = Arc::new(MicrosecondClock(AtomicI64::new(1_700_000_000_000_000)));
        Self { rates: Rates::local().with_clock(clock.clone()), clock: Some(clock) }
    }

    async fn redis() -> Self {
        Self { rates: redis_rates(&redis_url()).await.unwrap(), clock: None }
    }
}

async fn redis_rates(url: &str) -> Result<Rates> {
    let client = redis::Client::open(url).expect("the URL of Redis reads");
    Ok(Rates::redis(RedisRates::connect(client).await?))
}

/// Two tenants on the plan `small`.
struct Tenants {
    directory: TenantDirectory,
    acme: Arc<Tenant>,
    globex: Arc<Tenant>,
}

impl Tenants {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let directory = TenantDirectory::new(store.clone(), Catalog::from_toml(CATALOG).unwrap());
        let acme = store.insert(NewTenant::active("acme", "small").unwrap()).await.unwrap();
        let globex = store.insert(NewTenant::active("globex", "small").unwrap()).await.unwrap();
        Self { directory, acme, globex }
    }

    async fn contexts(&self) -> (TenantContext, TenantContext) {
        (self.context(&self.acme, "ada").await, self.context(&self.globex, "ada").await)
    }

    async fn context(&self, tenant: &Tenant, user: &str) -> TenantContext {
        self.directory.context(tenant.id(), Actor::user(user)).await.unwrap()
    }
}

/// Checks until one is denied. Returns how many were allowed, the error, and when the denied check began.
async fn drain(rates: &Rates, ctx: &TenantContext, rate: Rate) -> (u64, Error, Instant) {
    for allowed in 0..1_000 {
        let began = Instant::now();
        if let Err(error) = rates.check(ctx, rate).await {
            return (allowed, error, began);
        }
    }
    panic!("nothing is denied");
}

/// The time to wait, of a denied check.
fn wait_of(error: &Error) -> Duration {
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    error.plan_denial().unwrap().retry_after.unwrap()
}

/// Generates each test for one node and for Redis.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_one_node {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Node::local()).await;
            })*
        }

        mod in_redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Node::redis().await).await;
            })*
        }
    };
}

on_both!(
    a_burst_and_then_the_steady_rate,
    the_wait_is_exact_and_a_denied_check_does_not_extend_it,
    tenants_users_and_subjects_are_apart,
    concurrent_checks_never_allow_more_than_the_burst,
    several_are_allowed_all_or_none,
    limits_without_a_state,
    a_new_plan_takes_effect_at_once,
    more_than_a_limit_of_zero_has_a_burst,
    impossible_rates_are_errors,
);

async fn a_burst_and_then_the_steady_rate(node: Node) {
    let tenants = Tenants::new().await;
    let (acme, globex) = tenants.contexts().await;
    let began = Instant::now();
    let first = node.rates.check(&acme, SLOW).await.unwrap();
    let RateDecision { feature, limit, seconds, burst, remaining, source, .. } = first;
    assert_eq!((feature, limit, seconds, burst), ("slow", Limit::AtMost(1), 2, 3));
    assert_eq!((remaining, source), (Some(2), DecisionSource::Counted));
    assert_eq!(first.reset_after, Some(Duration::from_secs(2)));

    let (more, denied, _) = drain(&node.rates, &acme, SLOW).await;
    let free_again = if node.clock.is_some() { 0 } else { began.elapsed().as_secs() / 2 };
    assert!((2..=2 + free_again).contains(&more), "{more} after {:?}", began.elapsed());
    let wait = wait_of(&denied);
    assert!(wait <= Duration::from_secs(2) && wait > Duration::ZERO, "{wait:?}");
    let denial = denied.plan_denial().unwrap();
    assert_eq!((denial.limit, denial.used, denial.resets_at), (Some(1), None, None));
    assert_eq!((denial.feature.as_deref(), denial.plan.as_str()), (Some("slow"), "small"));
    assert_eq!(denial.upgrade_url.as_deref(), Some("/upgrade"));
    assert_eq!(node.rates.check(&globex, SLOW).await.unwrap().remaining, Some(2), "globex has its own");

    if let Some(clock) = &node.clock {
        for _ in 0..5 {
            clock.advance(Duration::from_secs(2));
            assert_eq!(node.rates.check(&acme, SLOW).await.unwrap().remaining, Some(0));
            assert_eq!(wait_of(&node.rates.check(&acme, SLOW).await.unwrap_err()), Duration::from_secs(2));
        }
        clock.advance(Duration::from_hours(1));
        assert_eq!(drain(&node.rates, &acme, SLOW).await.0, 3, "no more than the burst adds up");
    }
}

async fn the_wait_is_exact_and_a_denied_check_does_not_extend_it(node: Node) {
    let tenants = Tenants::new().await;
    let (acme, _) = tenants.contexts().await;
    let (_, denied, began) = drain(&node.rates, &acme, SLOW).await;
    let wait = wait_of(&denied);
    if let Some(clock) = &node.clock {
        for _ in 0..1_000 {
            assert_eq!(wait_of(&node.rates.check(&acme, SLOW).await.unwrap_err()), wait);
        }
        clock.advance(wait.checked_sub(Duration::from_micros(1)).unwrap());
        let left = wait_of(&node.rates.check(&acme, SLOW).await.unwrap_err());
        assert_eq!(left, Duration::from_micros(1));
        clock.advance(left);
        node.rates.check(&acme, SLOW).await.unwrap();
        return;
    }
    let mut last = wait;
    until("the rate is free again", async || match node.rates.check(&acme, SLOW).await {
        Ok(_) => true,
        Err(denied) => {
            let left = wait_of(&denied);
            assert!(left <= last, "{left:?} after {last:?}: a denied check extended the wait");
            last = left;
            false
        }
    })
    .await;
    // The clock of Redis and that of this process may differ by less than a millisecond in two seconds.
    assert!(began.elapsed() + Duration::from_millis(1) >= wait, "{:?} < {wait:?}", began.elapsed());
}

async fn tenants_users_and_subjects_are_apart(Node { rates, .. }: Node) {
    let tenants = Tenants::new().await;
    let (ada, globex) = tenants.contexts().await;
    let bob = tenants.context(&tenants.acme, "bob").await;
    assert_eq!(drain(&rates, &ada, PER_USER).await.0, 2);
    assert_eq!(drain(&rates, &bob, PER_USER).await.0, 2);
    assert_eq!(drain(&rates, &globex, PER_USER).await.0, 2, "ada of globex is another user");

    assert_eq!(drain(&rates, &ada, HOURLY).await.0, 10);
    assert_eq!(rates.check(&bob, HOURLY).await.unwrap_err().kind(), ErrorKind::RateLimited);
    assert_eq!(drain(&rates, &globex, HOURLY).await.0, 10);

    // Texts that a careless encoding would join to the same key.
    for subject in ["a", "a:", ":a", "1-a", "a:1-a", "_3a", "A", "ä", " ", "{a}"] {
        for ctx in [&ada, &globex] {
            assert_eq!(rates.check_for(ctx, PER_SUBJECT, 2, subject).await.unwrap().remaining, Some(0));
            let denied = rates.check_for(ctx, PER_SUBJECT, 1, subject).await.unwrap_err();
            assert_eq!(denied.kind(), ErrorKind::RateLimited, "{subject}");
        }
    }
    let missing = rates.check(&ada, PER_SUBJECT).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::InvalidInput);
    assert_eq!(rates.check(&ada, PER_KEY).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    for key in ["key_1", "key_2"] {
        let ctx = tenants.directory.context(tenants.acme.id(), Actor::api_key(key)).await.unwrap();
        assert_eq!(drain(&rates, &ctx, PER_KEY).await.0, 2);
    }
}

async fn concurrent_checks_never_allow_more_than_the_burst(Node { rates, .. }: Node) {
    let tenants = Tenants::new().await;
    let (acme, globex) = tenants.contexts().await;
    let tasks = (0..128).map(|at| {
        let (rates, ctx) = (rates.clone(), if at % 2 == 0 { acme.clone() } else { globex.clone() });
        tokio::spawn(async move { (at % 2, rates.check(&ctx, HOURLY).await) })
    });
    let mut allowed = [0, 0];
    for done in join_all(tasks).await {
        match done.unwrap() {
            (tenant, Ok(_)) => allowed[tenant] += 1,
            (_, Err(error)) => assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}"),
        }
    }
    assert_eq!(allowed, [10, 10]);
}

async fn several_are_allowed_all_or_none(Node { rates, .. }: Node) {
    let tenants = Tenants::new().await;
    let (acme, globex) = tenants.contexts().await;
    assert_eq!(rates.check_n(&acme, HOURLY, 6).await.unwrap().remaining, Some(4));
    let denied = rates.check_n(&acme, HOURLY, 5).await.unwrap_err();
    assert!(wait_of(&denied) > Duration::from_mins(55), "one more is free in an hour");
    assert_eq!(rates.check_n(&acme, HOURLY, 4).await.unwrap().remaining, Some(0), "five changed nothing");
    assert_eq!(rates.check_n(&globex, HOURLY, 10).await.unwrap().remaining, Some(0));

    // Waiting would never help: no rate limit, and nothing to wait for.
    for n in [0, 11, u32::MAX] {
        let never = rates.check_n(&acme, HOURLY, n).await.unwrap_err();
        assert_eq!(never.kind(), ErrorKind::InvalidInput, "{n}");
        assert!(never.plan_denial().is_none() && !never.is_transient());
    }
}

async fn limits_without_a_state(Node { rates, .. }: Node) {
    let tenants = Tenants::new().await;
    let (acme, _) = tenants.contexts().await;
    for _ in 0..50 {
        let free = rates.check_n(&acme, FREE, u32::MAX).await.unwrap();
        assert_eq!((free.limit, free.remaining, free.reset_after), (Limit::Unlimited, None, None));
    }
    let none = rates.check(&acme, NONE).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::FeatureNotInPlan);
    assert_eq!(none.plan_denial().unwrap().retry_after, None, "waiting does not help");
    for unknown in ["hourlyy", "export"] {
        let error = rates.check(&acme, Rate::new(unknown)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownFeature);
    }
    assert_eq!(rates.tracked_keys(), 0);
}

async fn a_new_plan_takes_effect_at_once(Node { rates, .. }: Node) {
    let tenants = Tenants::new().await;
    let (acme, globex) = tenants.contexts().await;
    assert_eq!(drain(&rates, &acme, HOURLY).await.0, 10);
    assert_eq!(drain(&rates, &globex, HOURLY).await.0, 10);

    let store = tenants.directory.store();
    let upgraded = store.update(&tenants.acme.with_plan("large")).await.unwrap();
    let large = tenants.context(&upgraded, "ada").await;
    assert_eq!(drain(&rates, &large, HOURLY).await.0, 20, "the larger burst, at once");
    assert_eq!(rates.check(&globex, HOURLY).await.unwrap_err().kind(), ErrorKind::RateLimited);

    let downgraded = store.update(&upgraded.with_plan("small")).await.unwrap();
    let small = tenants.context(&downgraded, "ada").await;
    assert_eq!(rates.check(&small, HOURLY).await.unwrap_err().kind(), ErrorKind::RateLimited, "as it was");

    let rate = FeatureValue::rate(4, Duration::from_hours(4));
    let now = Timestamp::from_seconds(1_700_000_000);
    let better = NewOverride::set("hourly", rate, "contract 17");
    let overridden = store.update(&downgraded.with_override(better, "ada", now).unwrap()).await.unwrap();
    let ctx = tenants.context(&overridden, "ada").await;
    assert_eq!(drain(&rates, &ctx, HOURLY).await.0, 4);
    assert_eq!(rates.check(&globex, HOURLY).await.unwrap_err().kind(), ErrorKind::RateLimited);
}

async fn more_than_a_limit_of_zero_has_a_burst(Node { rates, .. }: Node) {
    let tenants = Tenants::new().await;
    let now = Timestamp::from_seconds(1_700_000_000);
    let more = tenants.acme.with_override(NewOverride::add("none", 5, "contract 17"), "ada", now).unwrap();
    let more = tenants.directory.store().update(&more).await.unwrap();
    let ctx = tenants.context(&more, "ada").await;
    assert_eq!(rates.check_n(&ctx, NONE, 5).await.unwrap().remaining, Some(0));
    assert_eq!(rates.check_n(&ctx, NONE, 6).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

async fn impossible_rates_are_errors(Node { rates, .. }: Node) {
    let tenants = Tenants::new().await;
    let (acme, _) = tenants.contexts().await;
    for rate in [TOO_FAST, TOO_SLOW] {
        let error = rates.check(&acme, rate).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains(rate.feature()), "{error}");
    }
}

/// A state is deleted only when it equals a new one.
#[tokio::test(flavor = "multi_thread")]
async fn q14_the_memory_of_a_node_is_bounded_and_no_limit_starts_again() {
    let Node { rates, clock } = Node::local();
    let tenants = Tenants::new().await;
    let (acme, globex) = tenants.contexts().await;
    let fill = async |from: usize, to: usize| {
        for subject in from..to {
            rates.check_for(&acme, PER_SUBJECT, 1, &subject.to_string()).await.unwrap();
        }
    };
    fill(0, 70_000).await;
    assert_eq!(rates.tracked_keys(), 70_000, "each is in use");
    clock.unwrap().advance(Duration::from_hours(3));
    assert_eq!(drain(&rates, &globex, PER_USER).await.0, 2);
    fill(70_000, 140_000).await;
    until("the old states are deleted", async || rates.tracked_keys() <= 70_001).await;
    assert_eq!(rates.check(&globex, PER_USER).await.unwrap_err().kind(), ErrorKind::RateLimited);
    for subject in 70_000..140_000 {
        let used = rates.check_for(&acme, PER_SUBJECT, 2, &subject.to_string()).await;
        assert_eq!(used.unwrap_err().kind(), ErrorKind::RateLimited, "{subject}");
    }
}

/// One node by a clock of its own, as in an application.
#[tokio::test]
async fn a_node_has_a_clock_without_a_test() {
    let (rates, tenants) = (Rates::local(), Tenants::new().await);
    let (acme, globex) = tenants.contexts().await;
    let (_, denied, began) = drain(&rates, &acme, SLOW).await;
    assert_eq!(rates.check(&globex, SLOW).await.unwrap().remaining, Some(2));
    until("the rate is free again", async || rates.check(&acme, SLOW).await.is_ok()).await;
    assert!(began.elapsed() >= wait_of(&denied));
}

/// The keys of a tenant in Redis.
async fn keys_of(tenant: &Tenant) -> (redis::aio::MultiplexedConnection, Vec<String>) {
    let client = redis::Client::open(redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let pattern = format!("*{}*", tenant.id());
    let keys = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
    (connection, keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_share_one_limit_in_redis() {
    let tenants = Tenants::new().await;
    let (acme, globex) = tenants.contexts().await;
    let nodes = [Node::redis().await.rates, Node::redis().await.rates];
    let checks = (0..64).map(|at| nodes[at % 2].check(&acme, HOURLY));
    let allowed = join_all(checks).await.into_iter().flatten().count();
    assert_eq!(allowed, 10, "both nodes together");
    for node in &nodes {
        assert_eq!(node.check(&acme, HOURLY).await.unwrap_err().kind(), ErrorKind::RateLimited);
        assert!(node.check(&globex, HOURLY).await.is_ok());
    }
}

#[tokio::test]
async fn a_state_in_redis_expires_when_the_burst_is_whole() {
    let tenants = Tenants::new().await;
    let (acme, _) = tenants.contexts().await;
    let rates = Node::redis().await.rates;
    rates.check_n(&acme, HOURLY, 2).await.unwrap();
    let (mut connection, keys) = keys_of(&tenants.acme).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!(keys[0].starts_with('{'), "the tenant is the hash tag: {}", keys[0]);
    let ttl = async |connection: &mut redis::aio::MultiplexedConnection| -> i64 {
        redis::cmd("PTTL").arg(&keys[0]).query_async(connection).await.unwrap()
    };
    let first = ttl(&mut connection).await;
    assert!(first > 0 && first <= 7_200_001, "{first}");
    rates.check_n(&acme, HOURLY, 11).await.unwrap_err();
    rates.check_n(&acme, HOURLY, 9).await.unwrap_err();
    assert!(ttl(&mut connection).await <= first, "a denied check does not extend it");
    assert_eq!(keys_of(&tenants.globex).await.1.len(), 0);
}

#[tokio::test]
async fn q36_scripts_that_redis_forgot_are_loaded_again() {
    let tenants = Tenants::new().await;
    let (acme, _) = tenants.contexts().await;
    let rates = Node::redis().await.rates;
    assert_eq!(rates.check(&acme, HOURLY).await.unwrap().remaining, Some(9));
    let (mut connection, _) = keys_of(&tenants.acme).await;
    let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
    assert_eq!(rates.check(&acme, HOURLY).await.unwrap().remaining, Some(8), "counted once");
}

/// After a failover to a server whose clock is behind, nobody waits for the difference.
#[tokio::test]
async fn the_clock_of_redis_may_go_back() {
    let tenants = Tenants::new().await;
    let (acme, _) = tenants.contexts().await;
    let rates = Node::redis().await.rates;
    rates.check_n(&acme, SLOW, 3).await.unwrap();
    let (mut connection, keys) = keys_of(&tenants.acme).await;
    let value: String = redis::cmd("GET").arg(&keys[0]).query_async(&mut connection).await.unwrap();
    let (since, debt) = value.split_once(':').unwrap();
    let ahead = since.parse::<u64>().unwrap() + 3_600_000_000;
    let () = redis::cmd("SET")
        .arg(&keys[0])
        .arg(format!("{ahead}:{debt}"))
        .query_async(&mut connection)
        .await
        .unwrap();
    let wait = wait_of(&rates.check(&acme, SLOW).await.unwrap_err());
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    until("the rate is free again", async || rates.check(&acme, SLOW).await.is_ok()).await;
    let ttl: i64 = redis::cmd("PTTL").arg(&keys[0]).query_async(&mut connection).await.unwrap();
    assert!(ttl > 0, "a key that lost its end has one again");
}

#[tokio::test(flavor = "multi_thread")]
async fn q30_while_redis_is_down_the_rule_decides() {
    let tenants = Tenants::new().await;
    let (acme, globex) = tenants.contexts().await;
    let proxy = Proxy::start(&redis_url()).await;
    let rates = redis_rates(&proxy.url("redis")).await.unwrap();
    proxy.silence();
    let never = rates.check(&acme, HOURLY).await.unwrap();
    assert_eq!(never.source, DecisionSource::Fallback { age: None });
    proxy.close();
    // Fails when the proxy has closed the connection.
    assert!(rates.check(&acme, CLOSED).await.is_err());
    proxy.open();
    until("Redis answers", async || {
        rates.check(&acme, HOURLY).await.is_ok_and(|decision| decision.source == DecisionSource::Counted)
    })
    .await;

    // A connection that was closed, and one that stays open and is silent.
    for break_it in [Proxy::close, Proxy::silence] {
        break_it(&proxy);
        for ctx in [&acme, &globex] {
            let open = rates.check(ctx, HOURLY).await.unwrap();
            let DecisionSource::Fallback { age: Some(_) } = open.source else { panic!("{open:?}") };
            assert_eq!((open.remaining, open.reset_after), (None, None), "the numbers are unknown");
            let closed = rates.check(ctx, CLOSED).await.unwrap_err();
            assert_eq!(closed.kind(), ErrorKind::StoreUnavailable, "{closed}");
        }
        assert!(rates.check(&acme, FREE).await.is_ok(), "no limit needs no store");
        assert_eq!(rates.check_n(&acme, HOURLY, 11).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        proxy.close();
        assert!(rates.check(&acme, CLOSED).await.is_err());
        proxy.open();
        until("Redis answers again", async || rates.check(&acme, CLOSED).await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_node_does_not_start_without_redis() {
    let proxy = Proxy::start(&redis_url()).await;
    proxy.close();
    let error = redis_rates(&proxy.url("redis")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
}
