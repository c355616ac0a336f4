//! A process that holds a lease, a reservation and a place is killed: nothing goes beyond the limit, and each ends by its
//! own time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{ConnectOptions, Database, Postgres, Sqlite};
use tenancy::clock::{Clock, ManualClock, SystemClock};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::quota::{Concurrency, CrashPolicy, LeaseOptions, LeasedQuotas, Quota, Quotas, Reservation};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, TenantId, TenantStore};
use tenancy::{ErrorKind, TenantContext};

use crate::common::TestBackend;
use crate::quota_fixture::used;

const STRICT: Quota = Quota::new("strict");
const GENEROUS: Quota = Quota::new("generous");
const TOKENS: Quota = Quota::new("tokens");
const EXPORTS: Concurrency = Concurrency::new("exports");

const CATALOG: &str = r#"
version = 1
[features]
strict   = { kind = "quota", period = "lifetime", timeout_ms = 60000 }
generous = { kind = "quota", period = "lifetime", timeout_ms = 60000 }
tokens   = { kind = "quota", period = "lifetime", timeout_ms = 60000 }
exports  = { kind = "concurrency", lease_seconds = 600, timeout_ms = 60000 }
[plans.free]
features = { strict = 100, generous = 100, tokens = 100, exports = 1 }
"#;

/// How much of each lease the process has spent when it is killed. The lease is a quarter of the limit.
const SPENT: u64 = 10;
const LEASE: u64 = 25;

/// For how long a lease of the process is held; its reservation and its place are held as long.
const HELD: Duration = Duration::from_mins(10);

fn leases(quotas: &Quotas) -> [(Quota, LeasedQuotas); 2] {
    [(STRICT, CrashPolicy::Strict), (GENEROUS, CrashPolicy::Generous)].map(|(quota, policy)| {
        let options = LeaseOptions::new(policy, 1_000).lifetime(HELD / 2);
        (quota, LeasedQuotas::new(quotas, options))
    })
}

fn directory<DB: TestBackend>(store: &Arc<SqlStore<DB>>) -> TenantDirectory {
    TenantDirectory::new(store.clone(), Catalog::from_toml(CATALOG).unwrap())
}

/// What the process does until it is killed.
async fn work<DB: TestBackend>(url: &str, tenant: &str) -> (Reservation, Reservation) {
    let pool = PoolOptions::<DB>::new().max_connections(2).connect(url).await.unwrap();
    let store = Arc::new(SqlStore::new(pool));
    let id = TenantId::parse(tenant).unwrap();
    let ctx = directory(&store).context(&id, Actor::user("ada")).await.unwrap();
    let quotas = Quotas::new(store);
    for (quota, node) in leases(&quotas) {
        for _ in 0..SPENT {
            node.charge(&ctx, quota, 1).await.unwrap();
        }
    }
    let reserved = quotas.reserve(&ctx, TOKENS, 30, HELD).await.unwrap();
    (reserved, quotas.acquire(&ctx, EXPORTS).await.unwrap())
}

/// The other tests start this one in a process of its own, and kill it. Without them it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed_waits_for_that() {
    let Ok(url) = std::env::var("TEST_QUOTA_URL") else { return };
    let tenant = std::env::var("TEST_QUOTA_TENANT").unwrap();
    let _held = match std::env::var("TEST_QUOTA_DATABASE").unwrap().as_str() {
        <Postgres as Database>::NAME => work::<Postgres>(&url, &tenant).await,
        _ => work::<Sqlite>(&url, &tenant).await,
    };
    #[expect(clippy::print_stdout, reason = "the other process reads it")]
    {
        println!("answer: ready");
    }
    std::future::pending::<()>().await;
}

/// A process that is killed at the latest when the value is dropped.
struct Process(Child);

impl Process {
    /// Starts a process, and kills it when it holds everything.
    fn start_and_kill(url: &str, database: &str, tenant: &TenantId) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["quota_crash::the_process_that_is_killed_waits_for_that", "--exact", "--nocapture"])
            .env("TEST_QUOTA_URL", url)
            .env("TEST_QUOTA_DATABASE", database)
            .env("TEST_QUOTA_TENANT", tenant.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Self(child.unwrap());
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("answer: ready")), "the process ended before it was killed");
        process.0.kill().unwrap();
        assert!(!process.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Charges one unit after the other until the limit, and returns how many.
async fn use_up(quotas: &Quotas, ctx: &TenantContext, quota: Quota) -> u64 {
    let mut charged = 0;
    loop {
        match quotas.charge(ctx, quota, 1).await {
            Ok(_) => charged += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
                return charged;
            }
        }
    }
}

async fn q26_what_a_killed_process_held_ends_by_its_time<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let url = pool.connect_options().to_url_lossy().to_string();
    let store = Arc::new(SqlStore::new(pool));
    store.migrate().await.unwrap();
    let directory = directory(&store);
    let context = async |name| {
        let tenant = store.insert(NewTenant::active(name, "free").unwrap()).await.unwrap();
        directory.context(tenant.id(), Actor::user("ada")).await.unwrap()
    };
    let (acme, globex) = (context("acme").await, context("globex").await);
    Process::start_and_kill(&url, DB::NAME, acme.tenant_id());

    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let quotas = Quotas::new(store.clone()).with_clock(clock.clone());
    assert_eq!(used(&quotas, &acme, "tokens").await, (0, 30));
    for feature in ["strict", "generous"] {
        assert_eq!(used(&quotas, &acme, feature).await, (0, LEASE), "the whole lease is held");
    }
    // All of it counts until its time is over.
    assert_eq!(use_up(&quotas, &acme, TOKENS).await, 70);
    assert_eq!(use_up(&quotas, &acme, STRICT).await, 100 - LEASE);
    assert_eq!(use_up(&quotas, &acme, GENEROUS).await, 100 - LEASE);
    assert_eq!(quotas.acquire(&acme, EXPORTS).await.unwrap_err().kind(), ErrorKind::ConcurrencyLimit);
    let place = quotas.acquire(&globex, EXPORTS).await.unwrap();
    assert_eq!(use_up(&quotas, &globex, STRICT).await, 100, "the other tenant has lost nothing");

    clock.advance_seconds(i64::try_from(HELD.as_secs()).unwrap() + 1);
    assert_eq!(use_up(&quotas, &acme, TOKENS).await, 30, "a reservation of a dead process is free");
    let strict = SPENT + (100 - LEASE) + use_up(&quotas, &acme, STRICT).await;
    assert!((100 - LEASE..=100).contains(&strict), "{strict}: never beyond the limit");
    let generous = SPENT + (100 - LEASE) + use_up(&quotas, &acme, GENEROUS).await;
    assert!(
        (100..=100 + LEASE).contains(&generous),
        "{generous}: nothing is lost, and one lease more at most"
    );
    quotas.acquire(&acme, EXPORTS).await.unwrap().release().await.unwrap();
    place.release().await.unwrap();
    assert_eq!(use_up(&quotas, &globex, GENEROUS).await, 100);
}

on_every_database!(q26_what_a_killed_process_held_ends_by_its_time);
