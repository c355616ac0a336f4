//! Behind PgBouncer in transaction mode, each statement reaches its own tenant, on changing server connections.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool, Postgres, Row, SqlSafeStr};
use tenancy::audit::AuditEvent;
use tenancy::quota::Gauge;
use tenancy::scope::select::PageRequest;
use tenancy::scope::{ConnectionMode, Enforcement};
use tenancy::store::SqlStore;
use tenancy::tenant::TenantStore;
use tenancy::{
    ErrorKind, TenantContext, TenantDb, TenantScoped, query, query_as_checked, query_checked, query_scalar,
    query_scalar_checked,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::common::{self, Fixture, Order, TestBackend};
use crate::pooler::Pooler;

#[derive(Debug, PartialEq)]
struct Customer {
    name: String,
    note: Option<String>,
}

const CUSTOMERS: &str = "
    CREATE TABLE customers (tenant_id uuid NOT NULL, id uuid NOT NULL, name text NOT NULL, note text, order_id uuid,
        PRIMARY KEY (tenant_id, id));
    ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
    ALTER TABLE customers FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON customers USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)";

/// The number of server connections of the pooler.
const POOL_SIZE: u32 = 3;

async fn url(fixture: &Fixture<Postgres>) -> String {
    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&fixture.pool).await.unwrap();
    let options: PgConnectOptions = common::postgres_url().parse().unwrap();
    options.database(&name).to_url_lossy().to_string()
}

/// Both tenants have five orders and one customer, all named after the tenant.
async fn seeded() -> (Fixture<Postgres>, String) {
    let fixture = Fixture::<Postgres>::new().await;
    Postgres::raw(&fixture.pool, CUSTOMERS).await.unwrap();
    for ctx in [&fixture.acme, &fixture.globex] {
        let name = ctx.tenant().slug().as_str();
        for total in 1..=5 {
            let order = Order { id: Uuid::now_v7(), status: name.to_owned(), total };
            Order::insert(&fixture.db.scope(ctx), &order).await.unwrap();
        }
        let insert = query!(
            &fixture.db.scope(ctx),
            "INSERT INTO customers (id, name) VALUES ($1, $2)",
            Uuid::now_v7(),
            name
        )
        .execute()
        .await;
        assert_eq!(insert.unwrap(), 1);
    }
    let url = url(&fixture).await;
    (fixture, url)
}

async fn pooled(pooler: &Pooler, connections: u32) -> TenantDb<Postgres> {
    TenantDb::postgres(PgPoolOptions::new().max_connections(connections), pooler.url())
        .connection_mode(ConnectionMode::PgBouncer)
        .build()
        .await
        .unwrap()
}

/// Uses each way of running SQL once and checks each result. `n` is part of the query, so a result of another query
/// fails. Returns the number of statements.
async fn every_api(
    db: &TenantDb<Postgres>,
    store: &SqlStore<Postgres>,
    ctx: &TenantContext,
    n: i64,
) -> usize {
    let name = ctx.tenant().slug().as_str();
    let scope = db.scope(ctx);

    let orders = Order::list(&scope, PageRequest::first(5)).await.unwrap().items;
    assert!(orders.len() == 5 && orders.iter().all(|order| order.status == name), "{name}: {orders:?}");
    assert_eq!(Order::find(&scope, orders[0].id).await.unwrap().as_ref(), Some(&orders[0]));

    let asked =
        query_scalar!(&scope, i64, "SELECT count(*) + $1 FROM customers", n).fetch_one().await.unwrap();
    assert_eq!(asked, n + 1);
    let names =
        query_scalar!(&scope, String, "SELECT status || ':a' FROM orders WHERE total = 3").fetch_all();
    assert_eq!(names.await.unwrap(), [format!("{name}:a")]);

    let rows = query_checked!(&scope, "SELECT name, note FROM customers").fetch_all().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), [name]);
    let customer =
        query_as_checked!(&scope, Customer, "SELECT name, note FROM customers WHERE name = $1", name);
    assert_eq!(customer.fetch_one().await.unwrap(), Customer { name: name.to_owned(), note: None });
    let sum = query_scalar_checked!(&scope, r#"SELECT sum(total)::bigint AS "sum!" FROM orders"#);
    assert!(sum.fetch_one().await.unwrap() >= 15);

    let found: (String, i64) =
        sqlx::query_as("SELECT name || ':b', $1 * 2 FROM customers").bind(n).fetch_one(&scope).await.unwrap();
    assert_eq!(found, (format!("{name}:b"), n * 2));
    let mut stream =
        sqlx::query("SELECT status, total, $1 AS n FROM orders ORDER BY total").bind(n).fetch(&scope);
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!((first.get::<String, _>(0).as_str(), first.get::<i64, _>(2)), (name, n));
    drop(stream);
    let all: Vec<i64> = sqlx::query("SELECT $1 + total FROM orders WHERE total <= 5")
        .bind(n)
        .fetch(&scope)
        .map_ok(|row| row.get::<i64, _>(0))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), (n + 1..=n + 5).collect());

    let mut tx = db.begin(ctx).await.unwrap();
    let order = Order { id: Uuid::now_v7(), status: name.to_owned(), total: 1000 + n };
    Order::insert(&mut tx, &order).await.unwrap();
    let added = query_checked!(
        &mut tx,
        "INSERT INTO customers (id, name, note, order_id) VALUES ($1, $2, $3, $4)",
        Uuid::now_v7(),
        name,
        None::<String>,
        order.id
    );
    assert_eq!(added.execute().await.unwrap(), 1);
    Gauge::new("projects").acquire(&mut tx, 1).await.unwrap();
    tx.record(AuditEvent::new(ctx, "order.add")).await.unwrap();
    assert!(Order::find(&mut tx, order.id).await.unwrap().is_some());
    tx.rollback().await.unwrap();

    let order = Order { total: n, ..order };
    Order::insert(&scope, &order).await.unwrap();
    assert!(Order::delete(&scope, order.id).await.unwrap().found());
    assert_eq!(store.by_id(ctx.tenant_id()).await.unwrap().unwrap().slug(), ctx.tenant().slug());
    19
}

/// Ten thousand statements, and no wrong result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_statements_by_every_api_reach_their_own_tenant() {
    let (fixture, url) = seeded().await;
    let pooler = Pooler::start(&url, "transaction", POOL_SIZE).await;
    let db = pooled(&pooler, 12).await;
    let pool = PgPoolOptions::new().max_connections(4).connect(&pooler.url()).await.unwrap();
    let store = Arc::new(SqlStore::new(pool).connection_mode(ConnectionMode::PgBouncer));
    let mut tasks = JoinSet::new();
    for task in 0..24 {
        let (db, store) = (db.clone(), store.clone());
        let ctx = if task % 2 == 0 { fixture.acme.clone() } else { fixture.globex.clone() };
        tasks.spawn(async move {
            let mut statements = 0;
            for round in 0..22 {
                statements += every_api(&db, &store, &ctx, 10_000 * (task + 1) + round).await;
            }
            statements
        });
    }
    let statements: usize = tasks.join_all().await.into_iter().sum();
    assert!(statements >= 10_000, "only {statements} statements");
    for ctx in [&fixture.acme, &fixture.globex] {
        assert_eq!(Order::count(&fixture.db.scope(ctx)).await.unwrap(), 5);
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_was_not_declared_is_detected() {
    let (fixture, url) = seeded().await;
    let pooler = Pooler::start(&url, "transaction", POOL_SIZE).await;
    let options = || PgPoolOptions::new().max_connections(4);
    let error = TenantDb::postgres(options(), pooler.url()).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("ConnectionMode::PgBouncer"), "{error}");

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

/// A request that is dropped at any await leaves no tenant for the next user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_dropped_at_any_await_leaves_no_tenant_behind_the_pooler() {
    let (fixture, url) = seeded().await;
    for (connections, pool_size) in [(1, 1), (2, 1), (2, 2)] {
        let pooler = Pooler::start(&url, "transaction", pool_size).await;
        let db = pooled(&pooler, connections).await;
        let raw = PgPoolOptions::new().max_connections(1).connect(&pooler.url()).await.unwrap();
        let mut cancelled = 0;
        for polls in 1..100 {
            let work = async {
                let mut tx = db.begin(&fixture.acme).await.unwrap();
                let order = Order { id: Uuid::now_v7(), status: "acme".to_owned(), total: 6 };
                Order::insert(&mut tx, &order).await.unwrap();
                assert!(Order::delete(&mut tx, order.id).await.unwrap().found());
                tx.commit().await.unwrap();
                assert_eq!(Order::count(&db.scope(&fixture.acme)).await.unwrap(), 5);
            };
            {
                let mut work = pin!(work);
                let mut done = false;
                for _ in 0..polls {
                    done = work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
                    if done {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                cancelled += usize::from(!done);
            }
            no_tenant_is_left(&raw, polls).await;
            assert_eq!(Order::count(&db.scope(&fixture.globex)).await.unwrap(), 5, "after {polls} polls");
        }
        assert!(cancelled > 20, "only {cancelled} were cancelled");
    }
    assert_eq!(Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), 5);
}

/// The next client of the pooler has no tenant and no open transaction, and reads no row.
async fn no_tenant_is_left(raw: &PgPool, polls: usize) {
    let now = "SELECT coalesce(current_setting('app.tenant_id', true), ''), now()::text, \
               (SELECT count(*) FROM orders)::text";
    let row = async || {
        let row = sqlx::raw_sql(now).fetch_one(raw).await.unwrap();
        (row.get::<String, _>(0), row.get::<String, _>(1), row.get::<String, _>(2))
    };
    let (first, second) = (row().await, row().await);
    assert_eq!((first.0.as_str(), first.2.as_str()), ("", "0"), "after {polls} polls");
    assert_ne!(first.1, second.1, "after {polls} polls the next client is inside a transaction");
}
