//! Gauges and quotas where other ways of counting exceed a limit: at every isolation level, and while rows are deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres};
use tenancy::audit::AuditPolicy;
use tenancy::context::TenantDirectory;
use tenancy::plan::Catalog;
use tenancy::quota::{Gauge, Quota, Quotas};
use tenancy::scope::row::SupportsRow;
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};
use tokio::task::JoinSet;

use crate::common::{Fixture, Order, TestBackend};

const PROJECTS: Gauge = Gauge::new("projects");
const CALLS: Quota = Quota::new("calls");

const HUNDRED: &str = r#"
version = 1
[features]
projects = { kind = "gauge" }
calls    = { kind = "quota", period = "lifetime", timeout_ms = 60000 }
[plans.free]
features = { projects = 100, calls = 100 }
[plans.pro]
extends = "free"
"#;

/// Both tenants of a fixture, under another catalog.
async fn under<DB: TestBackend>(fixture: &Fixture<DB>, catalog: &str) -> [TenantContext; 2] {
    let directory = TenantDirectory::new(fixture.store.clone(), Catalog::from_toml(catalog).unwrap());
    let again =
        async |ctx: &TenantContext| directory.context(ctx.tenant_id(), ctx.actor().clone()).await.unwrap();
    [again(&fixture.acme).await, again(&fixture.globex).await]
}

/// Runs 16 tasks until each is denied, and returns how often an attempt succeeded.
async fn until_denied<F>(attempt: impl Fn() -> F + Clone + Send + 'static) -> u64
where
    F: Future<Output = bool> + Send,
{
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let attempt = attempt.clone();
        tasks.spawn(async move {
            let mut succeeded = 0;
            while attempt().await {
                succeeded += 1;
            }
            succeeded
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// Inserts a row unless a count in the same statement finds a hundred.
async fn insert_if_few(pool: PgPool) -> bool {
    let sql = "INSERT INTO counted (id) SELECT gen_random_uuid() WHERE (SELECT count(*) FROM counted) < 100";
    sqlx::query(sql).execute(&pool).await.unwrap().rows_affected() == 1
}

/// A count in the statement that inserts sees no row of the others, so that guard exceeds its limit. The same load on a
/// gauge and on a quota does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn q02_a_count_in_the_statement_exceeds_the_limit_and_a_gauge_does_not() {
    let fixture = Fixture::<Postgres>::with(AuditPolicy::Optional, 16).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut most = 0;
    while most <= 100 {
        assert!(Instant::now() < deadline, "the count in the statement never exceeded its limit");
        fixture
            .raw("DROP TABLE IF EXISTS counted; CREATE TABLE counted (id uuid PRIMARY KEY)")
            .await
            .unwrap();
        let pool = fixture.pool.clone();
        until_denied(move || insert_if_few(pool.clone())).await;
        most = fixture.number("SELECT count(*) FROM counted").await;
    }

    let [acme, globex] = under(&fixture, HUNDRED).await;
    let quotas = Quotas::new(fixture.store.clone());
    for ctx in [&acme, &globex] {
        let (db, context) = (fixture.db.clone(), ctx.clone());
        let acquired = until_denied(move || {
            let (db, ctx) = (db.clone(), context.clone());
            async move {
                let mut tx = db.begin(&ctx).await.unwrap();
                match PROJECTS.acquire(&mut tx, 1).await {
                    Ok(_) => tx.commit().await.map(|()| true).unwrap(),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::LimitReached, "{error:?}");
                        false
                    }
                }
            }
        });
        assert_eq!(acquired.await, 100, "by a gauge");
        let (own, context) = (quotas.clone(), ctx.clone());
        let charged = until_denied(move || {
            let (quotas, ctx) = (own.clone(), context.clone());
            async move { quotas.charge(&ctx, CALLS, 1).await.is_ok() }
        });
        assert_eq!(charged.await, 100, "by a quota");
        assert_eq!(PROJECTS.usage(&fixture.db.scope(ctx)).await.unwrap().used, 100);
        assert_eq!(quotas.counters(ctx, None, 1).await.unwrap()[0].used, 100);
    }
}

/// How the attempts of many tasks ended.
#[derive(Default)]
struct Ends {
    acquired: AtomicU64,
    again: AtomicU64,
}

/// The transactions of the application have a stricter isolation level: a conflict is an error that says to try again. It
/// is neither an overshoot nor the limit of the plan.
async fn a_gauge_at_the_isolation_level(level: &str) -> u64 {
    let fixture = Fixture::<Postgres>::with(AuditPolicy::Optional, 4).await;
    let set = format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''{level}''', \
         current_database()); END $$"
    );
    fixture.raw(&set).await.unwrap();
    let options = (*fixture.pool.connect_options()).clone();
    let pool = PgPoolOptions::new().max_connections(16).connect_with(options).await.unwrap();
    let shown: String =
        sqlx::query_scalar("SHOW default_transaction_isolation").fetch_one(&pool).await.unwrap();
    assert_eq!(shown, level);
    let db = TenantDb::from_pool(pool).build().await.unwrap();
    let ends = Arc::new(Ends::default());
    let mut tasks = JoinSet::new();
    for task in 0..48 {
        let (db, ends) = (db.clone(), ends.clone());
        let ctx = if task % 4 == 0 { fixture.globex.clone() } else { fixture.acme.clone() };
        tasks.spawn(async move {
            let deadline = Instant::now() + Duration::from_mins(1);
            // Until it has a place, or until every place is taken.
            while Instant::now() < deadline {
                let mut tx = db.begin(&ctx).await.unwrap();
                let acquired = match PROJECTS.acquire(&mut tx, 1).await {
                    Ok(usage) => {
                        assert!(usage.limit.allows(usage.used));
                        tx.commit().await
                    }
                    Err(error) => Err(error),
                };
                match acquired {
                    Ok(()) => return ends.acquired.fetch_add(1, Ordering::SeqCst),
                    Err(error) if error.kind() == ErrorKind::LimitReached => {
                        let denial = error.plan_denial().unwrap();
                        assert_eq!((denial.limit, denial.used), (Some(5), Some(5)), "it is really full");
                        return 0;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Retryable, "{error:?}");
                        ends.again.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
            panic!("no end within a minute");
        });
    }
    tasks.join_all().await;
    // acme has 5 places for 36 tasks; globex has 50 for 12.
    assert_eq!(PROJECTS.usage(&db.scope(&fixture.acme)).await.unwrap().used, 5);
    assert_eq!(PROJECTS.usage(&db.scope(&fixture.globex)).await.unwrap().used, 12);
    assert_eq!(ends.acquired.load(Ordering::SeqCst), 17);
    ends.again.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn q04_a_gauge_at_a_stricter_isolation_level_is_exact_or_says_to_try_again() {
    for level in ["repeatable read", "serializable"] {
        let again = a_gauge_at_the_isolation_level(level).await;
        assert!(again > 0, "{level}: no two transactions met, so nothing was tested");
    }
}

/// Rows are deleted while others find the gauge full: the count is that of the rows at every moment.
async fn q06_releases_that_race_with_denials_keep_the_count_of_the_rows<
    DB: TestBackend + SupportsRow<Order>,
>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Optional, 12).await;
    let mut tasks = JoinSet::new();
    for task in 0..12_u64 {
        let db = fixture.db.clone();
        let ctx = if task % 4 == 3 { fixture.globex.clone() } else { fixture.acme.clone() };
        tasks.spawn(async move {
            let mut denied = 0;
            for n in 0..12_u64 {
                let mut tx = db.begin(&ctx).await.unwrap();
                if task == 0 {
                    // Under the lock both numbers are of one moment.
                    let usage = PROJECTS.lock(&mut tx).await.unwrap();
                    assert_eq!(usage.used, Order::count(&mut tx).await.unwrap());
                    assert!(usage.used <= 5);
                    tx.rollback().await.unwrap();
                    continue;
                }
                if (task + n) % 3 == 0 {
                    // Several choose the same row. It is released once.
                    if let Some(order) = Order::select().first(&mut tx).await.unwrap() {
                        let deleted = Order::delete(&mut tx, order.id).await.unwrap();
                        PROJECTS.release(&mut tx, deleted).await.unwrap();
                    }
                    tx.commit().await.unwrap();
                    continue;
                }
                match PROJECTS.acquire(&mut tx, 1).await {
                    Ok(usage) => {
                        Order::insert(&mut tx, &Order::new(1)).await.unwrap();
                        if n % 5 == 4 {
                            tx.rollback().await.unwrap();
                        } else {
                            tx.commit().await.unwrap();
                        }
                        assert!(usage.limit.allows(usage.used));
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::LimitReached, "{error:?}");
                        denied += 1;
                    }
                }
            }
            denied
        });
    }
    let denied: u64 = tasks.join_all().await.into_iter().sum();
    assert!(denied > 0, "none was denied, so nothing was tested");
    for ctx in [&fixture.acme, &fixture.globex] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        let rows = Order::count(&mut tx).await.unwrap();
        assert!(PROJECTS.reconcile(&mut tx, rows).await.unwrap().is_exact(), "{rows} rows");
        tx.rollback().await.unwrap();
    }
}

on_every_database!(q06_releases_that_race_with_denials_keep_the_count_of_the_rows);
