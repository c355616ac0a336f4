//! Fixture: two tenants behind PgBouncer, each way of running SQL, and what other clients of the pooler find.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use futures_util::{StreamExt, TryStreamExt};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres, Row};
use tenancy::audit::AuditEvent;
use tenancy::quota::Gauge;
use tenancy::scope::ConnectionMode;
use tenancy::scope::select::PageRequest;
use tenancy::store::SqlStore;
use tenancy::tenant::TenantStore;
use tenancy::{
    TenantContext, TenantDb, TenantScoped, query, query_as_checked, query_checked, query_scalar,
    query_scalar_checked,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::common::{self, Fixture, Order};
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
pub(crate) const POOL_SIZE: u32 = 3;

async fn url(fixture: &Fixture<Postgres>) -> String {
    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&fixture.pool).await.unwrap();
    let options: PgConnectOptions = common::postgres_url().parse().unwrap();
    options.database(&name).to_url_lossy().to_string()
}

/// Both tenants have five orders and one customer, all named after the tenant.
pub(crate) async fn seeded() -> (Fixture<Postgres>, String) {
    let fixture = Fixture::<Postgres>::new().await;
    fixture.raw(CUSTOMERS).await.unwrap();
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

pub(crate) async fn pooled(pooler: &Pooler, connections: u32) -> TenantDb<Postgres> {
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
///
/// Meanwhile other clients of the pooler find no tenant and no search path of a tenant on a server connection.
pub(crate) async fn reach_their_own_tenant() {
    let (fixture, url) = seeded().await;
    let pooler = Pooler::start(&url, "transaction", POOL_SIZE).await;
    let db = pooled(&pooler, 12).await;
    let pool = PgPoolOptions::new().max_connections(4).connect(&pooler.url()).await.unwrap();
    let store = Arc::new(SqlStore::new(pool).connection_mode(ConnectionMode::PgBouncer));
    let over = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(pooler.options(), over.clone()));
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
    over.store(true, Ordering::Relaxed);
    let looks = watching.await.unwrap();
    assert!(looks > 100, "the server connections were looked at only {looks} times");
    no_server_connection_has_a_tenant(&pooler, POOL_SIZE).await;
    for ctx in [&fixture.acme, &fixture.globex] {
        assert_eq!(Order::count(&fixture.db.scope(ctx)).await.unwrap(), 5);
    }
}

/// A request that is dropped at any await leaves no tenant for the next user.
pub(crate) async fn dropped_at_any_await() {
    let (fixture, url) = seeded().await;
    for (connections, pool_size) in [(1, 1), (2, 1), (2, 2)] {
        let pooler = Pooler::start(&url, "transaction", pool_size).await;
        let db = pooled(&pooler, connections).await;
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
            no_server_connection_has_a_tenant(&pooler, pool_size).await;
            assert_eq!(Order::count(&db.scope(&fixture.globex)).await.unwrap(), 5, "after {polls} polls");
        }
        assert!(cancelled > 20, "only {cancelled} were cancelled");
    }
    assert_eq!(Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), 5);
}

/// What a client of the pooler finds on a server connection.
#[derive(Debug, PartialEq)]
pub(crate) struct ServerState {
    pub(crate) search_path: String,
    pub(crate) tenant: String,
    /// The rows that it reads without a tenant.
    pub(crate) orders: i64,
}

impl ServerState {
    async fn read(raw: &mut PgConnection) -> Self {
        let state = "SELECT current_setting('search_path'), coalesce(current_setting('app.tenant_id', true), ''), \
                     (SELECT count(*) FROM public.orders)";
        let row = sqlx::raw_sql(state).fetch_one(raw).await.unwrap();
        Self { search_path: row.get(0), tenant: row.get(1), orders: row.get(2) }
    }

    pub(crate) fn is_clean(&self) -> bool {
        *self == Self { search_path: r#""$user", public"#.to_owned(), tenant: String::new(), orders: 0 }
    }
}

/// Reads the state of server connections until `over`. Returns how often.
async fn watch(options: PgConnectOptions, over: Arc<AtomicBool>) -> usize {
    let mut raw = options.connect().await.unwrap();
    let mut looks = 0;
    while !over.load(Ordering::Relaxed) {
        let state = ServerState::read(&mut raw).await;
        assert!(state.is_clean(), "after {looks} looks: {state:?}");
        looks += 1;
    }
    looks
}

/// The state of each server connection: as many transactions are open at once.
pub(crate) async fn server_states(pooler: &Pooler, connections: u32) -> Vec<ServerState> {
    let (mut clients, mut states, mut servers) = (Vec::new(), Vec::new(), BTreeSet::new());
    for _ in 0..connections {
        let mut raw = pooler.options().connect().await.unwrap();
        // Outside of a transaction, `now()` is the time of the message.
        let begin = "SELECT pg_backend_pid(), now() = statement_timestamp(); BEGIN";
        let rows = sqlx::raw_sql(begin).fetch_all(&mut raw).await.unwrap();
        servers.insert(rows[0].get::<i32, _>(0));
        assert!(rows[0].get::<bool, _>(1), "the next client is inside a transaction");
        states.push(ServerState::read(&mut raw).await);
        clients.push(raw);
    }
    assert_eq!(servers.len(), connections as usize, "each client is on a connection of its own");
    for mut raw in clients {
        sqlx::raw_sql("ROLLBACK").execute(&mut raw).await.unwrap();
        raw.close().await.unwrap();
    }
    states
}

/// The next client of the pooler has no tenant, no search path of a tenant and no open transaction, and reads no row.
pub(crate) async fn no_server_connection_has_a_tenant(pooler: &Pooler, connections: u32) {
    for state in server_states(pooler, connections).await {
        assert!(state.is_clean(), "{state:?}");
    }
}
