//! Behind PgBouncer in transaction mode, each statement reaches its own tenant, on changing server connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Postgres, SqlSafeStr};
use tenancy::audit::AuditEvent;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::quota::Gauge;
use tenancy::scope::select::PageRequest;
use tenancy::scope::{ConnectionMode, Enforcement, Schema};
use tenancy::store::{CacheOptions, CachedStore, InvalidationListener, SqlStore};
use tenancy::tenant::TenantStore;
use tenancy::{ErrorKind, TenantDb, TenantScoped};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::common::{CATALOG, Order, TestBackend};
use crate::log::Log;
use crate::pooler::Pooler;
use crate::pooler_fixture::{POOL_SIZE, dropped_at_any_await, pooled, reach_their_own_tenant, seeded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_statements_by_every_api_reach_their_own_tenant() {
    reach_their_own_tenant().await;
}

/// The reason for the mode: plain sqlx gets results of other queries behind the same pooler.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlx_alone_gets_results_of_other_queries() {
    let (_fixture, url) = seeded().await;
    let pooler = Pooler::start(&url, "transaction", POOL_SIZE).await;
    let pool = PgPoolOptions::new().max_connections(12).connect(&pooler.url()).await.unwrap();
    let until = Instant::now() + Duration::from_mins(1);
    let mut wrong = 0;
    while wrong == 0 && Instant::now() < until {
        let mut tasks = JoinSet::new();
        for task in 0..12_usize {
            let pool = pool.clone();
            tasks.spawn(async move {
                let texts = ["SELECT 'a', $1", "SELECT 'b', $1", "SELECT 'c', $1", "SELECT 'd', $1"];
                let mut wrong = 0;
                for n in 0..40_i64 {
                    let text = texts[task % 4];
                    let asked = sqlx::query_as(text.into_sql_str()).bind(n).persistent(false);
                    if let Ok((letter, _)) = asked.fetch_one(&pool).await as sqlx::Result<(String, i64)> {
                        wrong += usize::from(!text.contains(&letter));
                    }
                }
                wrong
            });
        }
        wrong += tasks.join_all().await.into_iter().sum::<usize>();
    }
    assert!(wrong > 0, "this harness does not see what goes wrong behind a pooler");
}

/// `LISTEN` behind a pooler receives nothing, and returns no error. The store may use the pooler.
#[tokio::test]
async fn a_listener_behind_a_pooler_is_not_connected() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(subscriber.finish());
    let (fixture, url) = seeded().await;
    let pooler = Pooler::start(&url, "transaction", POOL_SIZE).await;
    let options = CacheOptions::new().ttl(Duration::from_hours(1));
    let cache = Arc::new(CachedStore::new(SqlStore::new(fixture.pool.clone()), options));
    let behind = InvalidationListener::postgres(pooler.options()).cache(&cache).spawn();
    let until = Instant::now() + Duration::from_mins(1);
    while !log.text().contains("has no session of its own, because of a pooler") {
        assert!(!behind.status().is_connected() && Instant::now() < until, "{}", log.text());
        tokio::task::yield_now().await;
    }
    assert!(!behind.status().is_connected());
    let direct = InvalidationListener::postgres(url.parse().unwrap()).cache(&cache).spawn();
    while !direct.status().is_connected() {
        assert!(Instant::now() < until, "{}", log.text());
        tokio::task::yield_now().await;
    }
    // A store behind the pooler notifies.
    let pool = PgPoolOptions::new().connect_with(pooler.options().statement_cache_capacity(0)).await.unwrap();
    let store = SqlStore::new(pool).connection_mode(ConnectionMode::PgBouncer);
    let acme = cache.by_id(fixture.acme.tenant_id()).await.unwrap().unwrap();
    let globex = cache.by_id(fixture.globex.tenant_id()).await.unwrap();
    let changed = store.update(&acme.with_plan("enterprise")).await.unwrap();
    while cache.by_id(acme.id()).await.unwrap() != Some(changed.clone()) {
        assert!(Instant::now() < until, "the change is not seen");
        tokio::task::yield_now().await;
    }
    assert_eq!(cache.by_id(fixture.globex.tenant_id()).await.unwrap(), globex);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_was_not_declared_is_detected() {
    let (fixture, url) = seeded().await;
    let pooler = Pooler::start(&url, "transaction", POOL_SIZE).await;
    let options = || PgPoolOptions::new().max_connections(4);
    for connections in [1, 4] {
        let options = || PgPoolOptions::new().max_connections(connections);
        let error = TenantDb::postgres(options(), pooler.url()).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("ConnectionMode::PgBouncer"), "{error}");
        // A pool of the caller's, whose only connection is in use.
        let pool = options().connect_with(pooler.options().statement_cache_capacity(0)).await.unwrap();
        let taken = pool.acquire().await.unwrap();
        let error = TenantDb::from_pool(pool.clone()).build().await.unwrap_err();
        assert!(error.to_string().contains("ConnectionMode::PgBouncer"), "{error}");
        drop(taken);
        let direct = TenantDb::postgres(options(), &url).build().await.unwrap();
        for ctx in [&fixture.acme, &fixture.globex] {
            assert_eq!(Order::count(&direct.scope(ctx)).await.unwrap(), 5);
        }
    }

    // A pooler with one server connection for each client needs no mode, and an unneeded mode is only slower.
    let session = Pooler::start(&url, "session", 8).await;
    let plain = TenantDb::postgres(options(), session.url()).build().await.unwrap();
    let direct =
        TenantDb::postgres(options(), &url).connection_mode(ConnectionMode::PgBouncer).build().await.unwrap();
    for db in [plain, direct] {
        assert_eq!(Order::count(&db.scope(&fixture.acme)).await.unwrap(), 5);
    }

    // In statement mode no transaction stays on one connection.
    let statement = Pooler::start(&url, "statement", 8).await;
    for mode in [ConnectionMode::Direct, ConnectionMode::PgBouncer] {
        assert!(TenantDb::postgres(options(), statement.url()).connection_mode(mode).build().await.is_err());
    }
}

#[tokio::test]
async fn what_is_said_of_the_database_must_be_so() {
    let (fixture, url) = seeded().await;
    let options = || PgPoolOptions::new().max_connections(2);
    let refused = async |builder: tenancy::scope::TenantDbBuilder<Postgres>, word: &str| {
        let error = builder.build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(word), "{error}");
    };
    refused(TenantDb::postgres(options(), &url).connection_mode(ConnectionMode::Citus), "citus").await;
    refused(TenantDb::postgres(options(), &url).enforcement(Enforcement::PredicateOnly), "`customers`").await;
    let connect: PgConnectOptions = url.parse().unwrap();
    let pool = async |name: &str, value: &str| {
        options().connect_with(connect.clone().options([(name, value)])).await.unwrap()
    };
    refused(TenantDb::from_pool(pool("app.tenant_id", "7").await), "already has a tenant").await;
    refused(TenantDb::from_pool(pool("standard_conforming_strings", "off").await), "standard_conforming")
        .await;

    for table in ["orders", "customers"] {
        Postgres::raw(&fixture.pool, &format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"))
            .await
            .unwrap();
    }
    let db =
        TenantDb::postgres(options(), &url).enforcement(Enforcement::PredicateOnly).build().await.unwrap();
    for ctx in [&fixture.acme, &fixture.globex] {
        let scope = db.scope(ctx);
        let orders = Order::list(&scope, PageRequest::first(10)).await.unwrap().items;
        assert!(orders.len() == 5 && orders.iter().all(|o| o.status == ctx.tenant().slug().as_str()));
        // The library's own tables still have the tenant predicate and row-level security.
        let mut tx = db.begin(ctx).await.unwrap();
        let gauge = Gauge::new("projects");
        gauge.acquire(&mut tx, 2).await.unwrap();
        tx.record(AuditEvent::new(ctx, "taken")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(gauge.usage(&scope).await.unwrap().used, 2);
        assert_eq!(tenancy::scope::StoredEvent::newest(&scope, None, 10).await.unwrap().len(), 1);
        let order = Order { id: Uuid::now_v7(), status: "new".to_owned(), total: 1 };
        Order::insert(&scope, &order).await.unwrap();
        assert!(Order::delete(&scope, order.id).await.unwrap().found());
    }
}

/// A statement that is prepared ahead has a name that is unknown, or different, in another client's session.
#[tokio::test]
async fn behind_a_pooler_nothing_is_prepared_ahead() {
    use sqlx::Executor;

    let (fixture, url) = seeded().await;
    let db = TenantDb::postgres(PgPoolOptions::new(), &url)
        .connection_mode(ConnectionMode::PgBouncer)
        .build()
        .await
        .unwrap();
    let scope = db.scope(&fixture.acme);
    let error = (&scope).prepare("SELECT total FROM orders".into_sql_str()).await.unwrap_err();
    assert!(error.to_string().contains("prepared ahead"), "{error}");
    let mut tx = db.begin(&fixture.acme).await.unwrap();
    assert!((&mut tx).prepare("SELECT total FROM orders".into_sql_str()).await.is_err());
}

#[derive(Debug, PartialEq, sqlx::Type)]
#[sqlx(type_name = "mood", rename_all = "lowercase")]
enum Mood {
    Glad,
    Sad,
}

#[derive(Debug, TenantScoped, sqlx::FromRow)]
#[tenant(table = "moods")]
struct Feeling {
    #[tenant(id)]
    id: i64,
    mood: Mood,
}

/// Between two messages of a statement sqlx looks up a custom type, which loses an unnamed statement. That is one
/// error for each connection, and never a result of another query.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_custom_type_fails_once_and_works_from_then_on() {
    let (fixture, url) = seeded().await;
    let moods = "CREATE TYPE mood AS ENUM ('glad', 'sad');
        CREATE TABLE moods (tenant_id uuid NOT NULL, id bigint NOT NULL, mood mood NOT NULL, PRIMARY KEY (tenant_id, id));
        ALTER TABLE moods ENABLE ROW LEVEL SECURITY;
        ALTER TABLE moods FORCE ROW LEVEL SECURITY;
        CREATE POLICY own ON moods USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)";
    Postgres::raw(&fixture.pool, moods).await.unwrap();
    for (ctx, mood) in [(&fixture.acme, Mood::Glad), (&fixture.globex, Mood::Sad)] {
        Feeling::insert(&fixture.db.scope(ctx), &Feeling { id: 1, mood }).await.unwrap();
    }
    let pooler = Pooler::start(&url, "transaction", POOL_SIZE).await;
    let db = pooled(&pooler, 6).await;
    let mut tasks = JoinSet::new();
    for task in 0..12 {
        let db = db.clone();
        let ctx = if task % 2 == 0 { fixture.acme.clone() } else { fixture.globex.clone() };
        let wanted = if task % 2 == 0 { Mood::Glad } else { Mood::Sad };
        tasks.spawn(async move {
            let mut refused = 0;
            for _ in 0..50 {
                match Feeling::find(&db.scope(&ctx), 1).await {
                    Ok(found) => assert_eq!(found.unwrap().mood, wanted),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Retryable, "{error:?}");
                        refused += 1;
                    }
                }
            }
            refused
        });
    }
    let refused: usize = tasks.join_all().await.into_iter().sum();
    assert!(refused <= 30, "{refused} of 600 were refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_dropped_at_any_await_leaves_no_tenant_behind_the_pooler() {
    dropped_at_any_await().await;
}

/// The server connection that every client of the pooler shares keeps no limit of a plan.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_limits_of_a_plan_end_with_its_transaction_behind_a_pooler() {
    let (fixture, url) = seeded().await;
    let pooler = Pooler::start(&url, "transaction", 1).await;
    let schema = Schema::new("tenant_id").unwrap().function("current_setting").unwrap();
    let schema = schema.function("pg_backend_pid").unwrap();
    let db = TenantDb::postgres(PgPoolOptions::new().max_connections(2), pooler.url())
        .connection_mode(ConnectionMode::PgBouncer)
        .schema(schema)
        .build()
        .await
        .unwrap();
    let limits = "[plans.free.database]\nstatement_timeout_ms = 2500\nlock_timeout_ms = 600";
    let catalog = Arc::new(Catalog::from_toml(&format!("{CATALOG}\n{limits}")).unwrap());
    let directory = TenantDirectory::new(fixture.store.clone(), catalog);
    let acme = directory.context(fixture.acme.tenant_id(), Actor::user("ada")).await.unwrap();
    let globex = directory.context(fixture.globex.tenant_id(), Actor::user("bob")).await.unwrap();
    let read =
        "SELECT pg_backend_pid(), current_setting('statement_timeout'), current_setting('lock_timeout')";
    let mut backends = Vec::new();
    for _ in 0..3 {
        for (ctx, wanted) in [(&acme, ["2500ms", "600ms"]), (&globex, ["0", "0"])] {
            let got: (i32, String, String) = sqlx::query_as(read).fetch_one(&db.scope(ctx)).await.unwrap();
            assert_eq!([got.1.as_str(), got.2.as_str()], wanted);
            backends.push(got.0);
        }
    }
    assert!(backends.windows(2).all(|two| two[0] == two[1]), "one connection served both: {backends:?}");
}
