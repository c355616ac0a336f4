//! The metrics and spans of connections, provisioning, migrations and quotas. No label has a tenant in it.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, poll};
use metrics::set_default_local_recorder;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sqlx::pool::PoolOptions;
use sqlx::{Pool, Postgres, Sqlite};
use tenancy::placement::{ConnectionLimits, SqliteFiles};
use tenancy::quota::{Quota, Quotas};
use tenancy::scope::row::SupportsRow;
use tenancy::scope::{TenantDb, TenantDbBuilder};
use tenancy::store::SqlStore;
use tenancy::tenant::{Placement, Tenant, TenantStatus, TenantStore};
use tenancy::{ErrorKind, TenantContext, TenantScoped};
use tracing_subscriber::fmt::format::FmtSpan;
use uuid::Uuid;

use crate::common::{Fixture, Placing, TestBackend, placed};
use crate::log::Log;
use crate::node::{Deployment, Transport, until};
use crate::place_fixture::{App, TestPlaces};
use crate::quota_fixture::World;

#[derive(Debug, TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: Uuid,
}

/// The counters, and how often each histogram recorded, since the last call: `name{label=value,..}`.
pub(crate) fn counts(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<String> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => {
                assert!(
                    values.iter().all(|seconds| (0.0..600.0).contains(&seconds.into_inner())),
                    "{values:?}"
                );
                values.len() as u64
            }
            DebugValue::Gauge(_) => continue,
        };
        if count > 0 {
            counts.insert(format!("{}{{{}}}", key.key().name(), labels.join(",")), count);
        }
    }
    counts
}

fn expected<S: AsRef<str>>(counts: &[(S, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| (name.as_ref().to_owned(), *count)).collect()
}

/// The gauges, by name and pool.
fn gauges(snapshotter: &Snapshotter) -> BTreeMap<String, String> {
    let all = snapshotter.snapshot().into_vec().into_iter();
    let gauge = |(key, _, _, value): (metrics_util::CompositeKey, _, _, _)| {
        let DebugValue::Gauge(value) = value else { return None };
        let pool = key.key().labels().next().unwrap();
        assert_eq!(pool.key(), "pool");
        Some((format!("{} {}", key.key().name(), pool.value()), value.to_string()))
    };
    all.filter_map(gauge).collect()
}

/// Counts the tenant's orders while a connection is idle: that is not measured.
///
/// A connection is returned a moment after its last user. Where no pool shows that it is idle, this repeats the count.
async fn count_on_an_idle_connection<DB>(
    db: &TenantDb<DB>,
    pool: Option<&Pool<DB>>,
    ctx: &TenantContext,
    snapshotter: &Snapshotter,
) where
    DB: TestBackend + SupportsRow<Order>,
{
    let measured = async || {
        counts(snapshotter);
        assert_eq!(Order::count(&db.scope(ctx)).await.unwrap(), 0);
        counts(snapshotter)
    };
    if let Some(pool) = pool {
        until("the connection is idle", async || pool.num_idle() == 1).await;
        return assert_eq!(measured().await, BTreeMap::new());
    }
    until("a connection is idle, and nothing is measured", async || measured().await.is_empty()).await;
}

/// A pool beside the fixture with one connection, which it tests before each use.
fn one_connection<DB: TestBackend>(fixture: &Fixture<DB>, acquire_timeout: Duration) -> Pool<DB> {
    let options = PoolOptions::new().max_connections(1).acquire_timeout(acquire_timeout);
    options.connect_lazy_with((*fixture.pool.connect_options()).clone())
}

fn with_databases<DB: TestBackend>(
    fixture: &Fixture<DB>,
    db: TenantDbBuilder<DB>,
    shared: u32,
    wait: Duration,
) -> TenantDbBuilder<DB> {
    let mut databases = HashMap::new();
    for (n, ctx) in [&fixture.acme, &fixture.globex].into_iter().enumerate() {
        if let Placement::Database { name } = ctx.tenant().placement() {
            databases.insert(name.clone(), DB::config(&fixture.places[n + 1]));
        }
    }
    db.databases(databases, ConnectionLimits::new(shared + 1).per_database(1).wait(wait))
}

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(30);

fn waits(placement: &str, limit: &str) -> String {
    format!("tenancy_connection_wait_seconds{{placement={placement},limit={limit}}}")
}

fn timeouts(placement: &str, code: &str) -> String {
    format!("tenancy_connection_timeouts_total{{placement={placement},code={code}}}")
}

async fn a_statement_is_measured_only_if_it_waits<DB>(placement: &str)
where
    DB: TestBackend + SupportsRow<Order>,
{
    let fixture = Fixture::<DB>::new().await;
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = set_default_local_recorder(&recorder);
    let pool = one_connection(&fixture, LONG);
    let tested = with_databases(&fixture, TenantDb::from_pool(pool.clone()), 1, LONG);
    let private = with_databases(&fixture, DB::beside(&fixture.pool, 1), 1, LONG);
    for (db, pool) in [(tested, Some(&pool).filter(|_| placement != "database")), (private, None)] {
        let db = db.build().await.unwrap();
        for (holder, waiter) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
            // The first statement opens the connection.
            db.begin(holder).await.unwrap().rollback().await.unwrap();
            for _ in 0..5 {
                count_on_an_idle_connection(&db, pool, holder, &snapshotter).await;
            }

            // One that is dropped while it waits, and one that gets the connection.
            let held = db.begin(holder).await.unwrap();
            counts(&snapshotter);
            {
                let scope = db.scope(waiter);
                let dropped = pin!(Order::count(&scope));
                assert!(poll!(dropped).is_pending());
            }
            assert_eq!(counts(&snapshotter), expected(&[(waits(placement, "pool"), 1)]), "it was dropped");
            let mut waiting = pin!(db.begin(waiter));
            assert!(poll!(&mut waiting).is_pending());
            held.rollback().await.unwrap();
            waiting.await.unwrap().rollback().await.unwrap();
            assert_eq!(counts(&snapshotter), expected(&[(waits(placement, "pool"), 1)]));
        }
        db.close().await;
    }
}

async fn a_wait_that_runs_out_is_counted<DB>(placement: &str)
where
    DB: TestBackend + SupportsRow<Order>,
{
    let fixture = Fixture::<DB>::new().await;
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = set_default_local_recorder(&recorder);
    let own = if placement == "database" { "tenant-connection-limit" } else { "connection-limit" };
    let own_limit = if placement == "database" { "tenant" } else { "pool" };
    // The pool is in use: by the other tenant, and by the same one.
    let db = TenantDb::from_pool(one_connection(&fixture, SHORT));
    let db = with_databases(&fixture, db, 1, SHORT).build().await.unwrap();
    for (holder, waiter) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
        let held = begin(&db, holder).await;
        counts(&snapshotter);
        for (ctx, limit, code) in [(waiter, "pool", "connection-limit"), (holder, own_limit, own)] {
            let error = db.begin(ctx).await.unwrap_err();
            assert_eq!(error.kind().code(), code, "{error}");
            let found = counts(&snapshotter);
            assert_eq!(found, expected(&[(waits(placement, limit), 1), (timeouts(placement, code), 1)]));
        }
        held.rollback().await.unwrap();
    }
    db.close().await;

    // The tenant's share is in use. The other tenant does not wait for it.
    let shares = with_databases(&fixture, DB::beside(&fixture.pool, 3), 3, LONG);
    let shares = shares.max_connections_per_tenant(1).tenant_connection_wait(SHORT).build().await.unwrap();
    for (noisy, other) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
        let held = begin(&shares, noisy).await;
        counts(&snapshotter);
        assert_eq!(shares.begin(noisy).await.unwrap_err().kind(), ErrorKind::TenantConnectionLimit);
        let code = "tenant-connection-limit";
        let found = counts(&snapshotter);
        assert_eq!(found, expected(&[(waits(placement, "tenant"), 1), (timeouts(placement, code), 1)]));
        if placement != "database" {
            assert_eq!(Order::count(&shares.scope(other)).await.unwrap(), 0);
            assert!(!counts(&snapshotter).contains_key(&waits(placement, "tenant")));
        }
        held.rollback().await.unwrap();
    }
    shares.close().await;
}

/// Begins a transaction; a connection that another one just returned may not be idle yet.
async fn begin<'a, DB: TestBackend>(
    db: &'a TenantDb<DB>,
    ctx: &'a TenantContext,
) -> tenancy::scope::Tx<'a, DB> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match db.begin(ctx).await {
            Ok(tx) => return tx,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    }
}

macro_rules! in_each_placement {
    ($($module:ident $db:ty, $placing:ident, $label:literal;)+) => { $(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn a_statement_is_measured_only_if_it_waits() {
                placed(Placing::$placing, super::a_statement_is_measured_only_if_it_waits::<$db>($label)).await;
            }

            #[tokio::test]
            async fn a_wait_that_runs_out_is_counted() {
                placed(Placing::$placing, super::a_wait_that_runs_out_is_counted::<$db>($label)).await;
            }
        }
    )+ };
}

in_each_placement! {
    sqlite_shared Sqlite, Shared, "shared";
    sqlite_file Sqlite, Database, "database";
    postgres_shared Postgres, Shared, "shared";
    postgres_schema Postgres, Schema, "schema";
    postgres_database Postgres, Database, "database";
}

async fn health_sets_the_gauges_of_connections<DB: TestBackend>() {
    let fixture = Fixture::<DB>::new().await;
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = set_default_local_recorder(&recorder);
    let alone = DB::beside(&fixture.pool, 2).build().await.unwrap();
    let with_databases =
        with_databases(&fixture, DB::beside(&fixture.pool, 2), 2, LONG).build().await.unwrap();
    for (db, pools) in [(alone, 1), (with_databases, 2)] {
        for ctx in [&fixture.acme, &fixture.globex] {
            let held = db.begin(ctx).await.unwrap();
            let mut found = BTreeMap::new();
            // The connection of an earlier probe is returned a moment after its result.
            until("one connection is in use", async || {
                assert!(db.health(LONG).await.is_ready());
                found = gauges(&snapshotter);
                found["tenancy_connections_in_use shared"] == "1"
            })
            .await;
            assert_eq!(found["tenancy_connections_max shared"], "2");
            assert!(matches!(&*found["tenancy_connections_open shared"], "1" | "2"), "{found:?}");
            if pools == 2 {
                assert_eq!(found["tenancy_connections_max databases"], "1");
                assert_eq!(found["tenancy_connections_in_use databases"], "0");
                assert_eq!(found["tenancy_connections_open databases"], "0");
            }
            held.rollback().await.unwrap();
        }
        db.close().await;
        // A gauge keeps its value: what was set for the databases is not set again without them.
        assert_eq!(gauges(&snapshotter).len(), 3 * pools);
    }
}

#[tokio::test]
async fn health_sets_the_gauges_of_connections_on_sqlite() {
    health_sets_the_gauges_of_connections::<Sqlite>().await;
}

#[tokio::test]
async fn health_sets_the_gauges_of_connections_on_postgres() {
    health_sets_the_gauges_of_connections::<Postgres>().await;
}

/// Records the log of the library, with the end of each span.
pub(crate) fn logged(log: &Log) -> tracing::subscriber::DefaultGuard {
    let log = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter("tenancy=debug")
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(move || log.clone());
    tracing::subscriber::set_default(subscriber.finish())
}

fn class(tenant: &Tenant) -> &'static str {
    match tenant.placement() {
        Placement::Schema { .. } => "schema",
        _ => "database",
    }
}

async fn each_step_of_provisioning_has_a_span_and_is_counted<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        let (log, recorder) = (Log::default(), DebuggingRecorder::new());
        let snapshotter = recorder.snapshotter();
        let (_log, _metrics) = (logged(&log), set_default_local_recorder(&recorder));
        let steps = |counts: BTreeMap<String, u64>| {
            let steps = counts.into_iter().filter(|(name, _)| name.starts_with("tenancy_provisioning"));
            steps.collect::<BTreeMap<_, _>>()
        };
        let done = |step| format!("tenancy_provisioning_steps_total{{step={step},result=done}}");

        let acme = app.create(&app.provisioner(&[DB::PROJECTS]), &format!("acme-{n}"), kind).await.unwrap();
        let all = ["create", "migrate", "protect", "seed", "open"].map(|step| (done(step), 1));
        assert_eq!(steps(counts(&snapshotter)), expected(&all));
        let span = format!("provisioning{{tenant.id={} placement=\"{}\"}}", acme.id(), class(&acme));
        let text = log.take();
        for step in ["create", "migrate", "protect", "seed", "open"] {
            let ended =
                format!("{span}:step{{name=\"{step}\" outcome=\"done\"}}: tenancy::placement::observed: ");
            let of_step: Vec<&str> = text.lines().filter(|line| line.contains(&ended)).collect();
            let [event, close] = of_step[..] else { panic!("{step}: {text}") };
            assert!(event.contains("INFO") && event.contains("a step of provisioning is done"), "{event}");
            assert!(close.contains("close"), "{close}");
        }

        // A step that fails, for another tenant.
        let broken = app.provisioner(&[DB::PROJECTS, "CREATE TABLE projects (id bigint)"]);
        let error = app.create(&broken, &format!("globex-{n}"), kind).await.unwrap_err();
        let code = error.kind().code();
        let failed = format!("tenancy_provisioning_steps_total{{step=migrate,result={code}}}");
        assert_eq!(steps(counts(&snapshotter)), expected(&[(done("create"), 1), (failed, 1)]));
        let text = log.take();
        let line = text.lines().find(|line| line.contains("a step of provisioning failed")).unwrap();
        assert!(line.contains("WARN") && line.contains(&format!("outcome=\"{code}\"")), "{line}");
        assert!(line.contains("step{name=\"migrate\"") && !line.contains(&acme.id().to_string()), "{line}");

        // A place that exists before the first step.
        let initech = App::<DB>::new_tenant(&format!("initech-{n}"), kind).status(TenantStatus::Provisioning);
        let initech = app.store.insert(initech).await.unwrap();
        match initech.placement() {
            Placement::Schema { name } => {
                DB::raw(&app.pool, &format!("CREATE SCHEMA \"{name}\"")).await.unwrap();
            }
            // The file of an SQLite database.
            Placement::Database { name } if DB::kinds().len() == 1 => {
                std::fs::write(SqliteFiles::new(app.files.path()).unwrap().path(name), "").unwrap();
            }
            _ => continue,
        }
        let error = app.provisioner(&[DB::PROJECTS]).resume(initech.id()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        let failed = "tenancy_provisioning_steps_total{step=create,result=conflict}";
        assert_eq!(steps(counts(&snapshotter)), expected(&[(failed, 1)]));
        let text = log.take();
        assert!(text.contains("a step of provisioning failed"), "{text}");
        no_secret(&text, &[acme.slug().as_str(), initech.slug().as_str()]);
    }
}

pub(crate) fn no_secret(text: &str, slugs: &[&str]) {
    for said in ["postgres://", "sqlite:", "password"].iter().chain(slugs) {
        assert!(!text.contains(said), "{said}: {text}");
    }
}

async fn each_migrated_place_has_a_span_and_is_counted<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let (mut tenants, kinds) = (Vec::new(), DB::kinds());
    for (n, kind) in kinds.iter().enumerate() {
        for slug in [format!("acme-{n}"), format!("globex-{n}")] {
            tenants.push(app.create(&app.provisioner(&[DB::PROJECTS]), &slug, *kind).await.unwrap());
        }
    }
    let next = app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)"]);
    // The migration of the last place fails.
    let broken = tenants.pop().unwrap();
    DB::raw(&app.place(&broken), "CREATE TABLE extra (id bigint)").await.unwrap();

    let (log, recorder) = (Log::default(), DebuggingRecorder::new());
    let snapshotter = recorder.snapshotter();
    let (_log, _metrics) = (logged(&log), set_default_local_recorder(&recorder));
    let places = |counts: BTreeMap<String, u64>| {
        let places = counts.into_iter().filter(|(name, _)| name.starts_with("tenancy_migrated"));
        places.collect::<BTreeMap<_, _>>()
    };
    let counter = |result: &str| format!("tenancy_migrated_places_total{{result={result}}}");
    for result in ["migrated", "current"] {
        // The request that begins the run has a span of its own tenant.
        let ctx = app.context(&tenants[0]).await.unwrap();
        let run = ctx.in_span(async { next.migrations().run().collect::<Vec<_>>().await }).await;
        let failed: Vec<_> = run.into_iter().filter_map(|place| place.unwrap().result.err()).collect();
        let [error] = &failed[..] else { panic!("{failed:?}") };
        let code = error.kind().code();
        // The shared tables, and each tenant.
        let done = tenants.len() as u64 + 1;
        assert_eq!(places(counts(&snapshotter)), expected(&[(counter(result), done), (counter(code), 1)]));

        let text = log.take();
        let ended = |span: &str, outcome: &str| {
            let ended = format!("{span} outcome=\"{outcome}\"}}: tenancy::placement::observed: ");
            let lines: Vec<&str> = text.lines().filter(|line| line.contains(&ended)).collect();
            let [event, close] = lines[..] else { panic!("{ended}: {text}") };
            assert!(close.contains("close") && !event.contains(": migration{placement"), "{close}");
            // The run has no part in the span of the request.
            assert!(!event.contains(" tenant{"), "{event}");
            event.to_owned()
        };
        let level = if result == "migrated" { "INFO" } else { "DEBUG" };
        assert!(ended("migration{placement=\"shared\"", result).contains(level));
        let span =
            |tenant: &Tenant| format!("migration{{tenant.id={} placement=\"{}\"", tenant.id(), class(tenant));
        for tenant in &tenants {
            assert!(ended(&span(tenant), result).contains(level));
        }
        assert!(ended(&span(&broken), code).contains("WARN"));
        no_secret(&text, &[broken.slug().as_str(), tenants[0].slug().as_str()]);
    }
}

#[tokio::test]
async fn each_step_of_provisioning_has_a_span_and_is_counted_on_sqlite() {
    each_step_of_provisioning_has_a_span_and_is_counted::<Sqlite>().await;
}

#[tokio::test]
async fn each_step_of_provisioning_has_a_span_and_is_counted_on_postgres() {
    Box::pin(each_step_of_provisioning_has_a_span_and_is_counted::<Postgres>()).await;
}

#[tokio::test]
async fn each_migrated_place_has_a_span_and_is_counted_on_sqlite() {
    each_migrated_place_has_a_span_and_is_counted::<Sqlite>().await;
}

#[tokio::test]
async fn each_migrated_place_has_a_span_and_is_counted_on_postgres() {
    Box::pin(each_migrated_place_has_a_span_and_is_counted::<Postgres>()).await;
}

/// The kinds of changes by other processes.
#[tokio::test]
async fn each_change_by_a_process_is_counted_by_its_kind() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = set_default_local_recorder(&recorder);
    let deployment = Deployment::new(Transport::Postgres).await;
    let (writer, reader) = (deployment.node().await, deployment.node().await);
    let mut seen = BTreeMap::new();
    for slug in ["acme", "globex"] {
        let tenant = writer.insert(slug).await;
        until("the reader sees the tenant", async || {
            for (name, count) in counts(&snapshotter) {
                *seen.entry(name).or_insert(0) += count;
            }
            reader.tenant(slug).await.as_ref() == Some(&tenant)
                && seen.get("tenancy_cache_invalidations_total{kind=tenant}").is_some_and(|count| *count >= 2)
        })
        .await;
    }
    // Each of the two listeners began with an empty cache, and was notified of each tenant.
    assert_eq!(seen["tenancy_cache_invalidations_total{kind=all}"], 2, "{seen:?}");
    drop((writer, reader));
}

#[tokio::test]
async fn each_decision_without_the_store_is_counted() {
    const CALLS: Quota = Quota::new("calls");
    let catalog = "version = 1\n[features]\ncalls = { kind = \"quota\", period = \"lifetime\", \
        on_failure = \"open\", timeout_ms = 5000 }\n[plans.free]\nfeatures = { calls = 600 }\n";
    let world = World::new(catalog).await;
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = set_default_local_recorder(&recorder);
    // A store that is gone.
    let (pool, _cleanup) = Sqlite::fresh(1).await;
    pool.close().await;
    let quotas = Quotas::new(Arc::new(SqlStore::new(pool)));
    for ctx in [&world.acme, &world.globex] {
        quotas.charge(ctx, CALLS, 1).await.unwrap();
        assert_eq!(counts(&snapshotter).get("tenancy_quota_fallbacks_total{kind=quota}"), Some(&1));
    }
}
