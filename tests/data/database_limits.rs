//! The limits of a plan in the database hold for each statement of its tenants, and for no other tenant.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Pool, Postgres, Sqlite};
use tenancy::audit::AuditPolicy;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::select::PageRequest;
use tenancy::scope::{Reason, Schema};
use tenancy::web::Problem;
use tenancy::{Error, ErrorKind, TenantContext, TenantDb, TenantScoped, query_as, query_scalar};

use crate::common::{CATALOG, Fixture, Order, TestBackend};

/// Acme, on the plan `free` with these limits, and globex, on the plan `pro` with others.
async fn limited<DB: TestBackend>(fixture: &Fixture<DB>, free: &str, pro: &str) -> [TenantContext; 2] {
    let text = format!("{CATALOG}\n[plans.free.database]\n{free}\n[plans.pro.database]\n{pro}\n");
    let catalog = Catalog::from_toml(&text).unwrap();
    let directory = TenantDirectory::new(fixture.store.clone(), std::sync::Arc::new(catalog));
    let context =
        async |ctx: &TenantContext| directory.context(ctx.tenant_id(), Actor::user("ada")).await.unwrap();
    [context(&fixture.acme).await, context(&fixture.globex).await]
}

async fn seed<DB: TestBackend + SupportsRow<Order>>(fixture: &Fixture<DB>, rows: i64) {
    for ctx in [&fixture.acme, &fixture.globex] {
        let orders: Vec<Order> = (0..rows).map(Order::new).collect();
        Order::insert_many(&fixture.db.scope(ctx), &orders).await.unwrap();
    }
}

#[track_caller]
fn is_row_limit<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RowLimit, "{error:?}");
    assert!(error.to_string().contains("more than 10 rows"), "{error}");
    assert!(!error.is_transient());
}

/// Five repository reads, at the limit and above it.
async fn more_rows_than_the_plan_allows_are_an_error<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    seed(&fixture, 11).await;
    let [acme, globex] = limited(&fixture, "max_rows = 10", "max_rows = 11").await;
    let (scope, other) = (fixture.db.scope(&acme), fixture.db.scope(&globex));

    // A page of 10 rows has 10, although the database returns one more to show that there is a next page.
    let page = Order::list(&scope, PageRequest::first(10)).await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (10, true));
    let page = Order::select().page(&scope, PageRequest::first(10)).await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (10, true));
    is_row_limit(Order::list(&scope, PageRequest::first(11)).await);
    is_row_limit(Order::select().page(&scope, PageRequest::first(1000)).await);
    is_row_limit(Order::select().all(&scope, 11).await);
    assert_eq!(Order::select().all(&scope, 10).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Order::count(&scope).await.unwrap(), 11);

    // A larger page of fewer rows is whole.
    let few = Order::select().filter(Order::TOTAL.lt(10));
    assert_eq!(few.all(&scope, 1000).await.unwrap().len(), 10);

    // The other tenant has another plan.
    assert_eq!(Order::list(&other, PageRequest::first(11)).await.unwrap().items.len(), 11);
    assert_eq!(Order::select().all(&other, 500).await.unwrap().len(), 11);
}

/// The SQL of the application, checked at compile time.
async fn own_sql_returns_as_many_rows_as_the_plan_allows<DB: TestBackend + SupportsRow<Order>>()
where
    (i64,): for<'r> sqlx::FromRow<'r, DB::Row>,
    for<'v> i64: sqlx::Encode<'v, DB> + sqlx::Type<DB>,
{
    let fixture = Fixture::<DB>::new().await;
    seed(&fixture, 11).await;
    let [acme, globex] = limited(&fixture, "max_rows = 10", "").await;
    let (scope, other) = (fixture.db.scope(&acme), fixture.db.scope(&globex));
    macro_rules! totals {
        ($scope:expr, $below:literal) => {
            query_scalar!($scope, i64, "SELECT total FROM orders WHERE total < $1", $below).fetch_all().await
        };
    }
    assert_eq!(totals!(&scope, 10_i64).unwrap().len(), 10);
    is_row_limit(totals!(&scope, 11_i64));
    assert_eq!(totals!(&other, 11_i64).unwrap().len(), 11);

    // A write that returns too many rows changes nothing.
    macro_rules! paid {
        ($scope:expr) => {
            query_as!($scope, (i64,), "UPDATE orders SET status = 'paid' RETURNING total").fetch_all().await
        };
    }
    is_row_limit(paid!(&scope));
    assert_eq!(paid!(&other).unwrap().len(), 11);
    let open = |scope| Order::select().filter(Order::STATUS.eq("open")).count(scope);
    assert_eq!((open(&scope).await.unwrap(), open(&other).await.unwrap()), (11, 0));

    // In a transaction it is a failed statement as any other.
    let mut tx = fixture.db.begin(&acme).await.unwrap();
    Order::insert(&mut tx, &Order::new(77)).await.unwrap();
    is_row_limit(totals!(&mut tx, 11_i64));
    assert_eq!(Order::count(&mut tx).await.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(Order::count(&scope).await.unwrap(), 11);
}

/// A stream ends with the error, after the rows that the plan allows.
async fn a_stream_of_pages_counts_as_one_statement<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    seed(&fixture, 11).await;
    let [acme, globex] = limited(&fixture, "max_rows = 10", "max_rows = 11").await;
    let scope = fixture.db.scope(&acme);
    let mut rows = Order::select().stream(&scope);
    for _ in 0..10 {
        assert!(rows.try_next().await.unwrap().is_some());
    }
    is_row_limit(rows.try_next().await);
    assert_eq!(rows.try_next().await.unwrap(), None);
    let other = fixture.db.scope(&globex);
    assert_eq!(Order::select().stream(&other).try_collect::<Vec<_>>().await.unwrap().len(), 11);
}

/// A statement of a moment, and one that would take minutes.
macro_rules! slow {
    ($on:expr) => {
        query_scalar!(
            $on,
            i64,
            "SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e, orders f WHERE a.total + b.total + c.total + d.total + e.total + f.total < 0"
        )
        .fetch_one()
        .await
    };
}

#[track_caller]
fn is_timeout<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error:?}");
    assert!(!error.is_transient(), "the same statement takes as long again");
    let problem = Problem::from(&error);
    assert_eq!((problem.status(), problem.grpc_code()), (504, 4));
    assert!(!String::from_utf8_lossy(problem.json()).contains("orders"));
}

async fn a_statement_that_takes_too_long_ends_by_name<DB: TestBackend + SupportsRow<Order>>()
where
    (i64,): for<'r> sqlx::FromRow<'r, DB::Row>,
{
    let fixture = Fixture::<DB>::with(AuditPolicy::Optional, 1).await;
    seed(&fixture, 60).await;
    let [acme, globex] = limited(&fixture, "statement_timeout_ms = 100", "").await;
    for _ in 0..2 {
        let scope = fixture.db.scope(&acme);
        is_timeout(slow!(&scope));
        assert_eq!(Order::count(&scope).await.unwrap(), 60, "the connection is usable");

        let mut tx = fixture.db.begin(&acme).await.unwrap();
        Order::insert(&mut tx, &Order::new(1)).await.unwrap();
        is_timeout(slow!(&mut tx));
        assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::RolledBack);

        // The time of several statements does not add up.
        let mut tx = fixture.db.begin(&acme).await.unwrap();
        let until = Instant::now() + Duration::from_millis(150);
        while Instant::now() < until {
            assert_eq!(Order::count(&mut tx).await.unwrap(), 60);
        }
        tx.commit().await.unwrap();
        assert_eq!(Order::count(&fixture.db.scope(&globex)).await.unwrap(), 60);
    }
}

/// SQLite rolls back the transaction itself when it interrupts a write.
async fn a_write_that_takes_too_long_changes_nothing<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Optional, 1).await;
    seed(&fixture, 60).await;
    let [acme, globex] = limited(&fixture, "statement_timeout_ms = 100", "").await;
    macro_rules! slow_write {
        ($on:expr) => {
            tenancy::query!(
                $on,
                "UPDATE orders SET total = 7 WHERE total < (SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e, orders f)"
            )
            .execute()
            .await
        };
    }
    for _ in 0..2 {
        is_timeout(slow_write!(&fixture.db.scope(&acme)));
        let mut tx = fixture.db.begin(&acme).await.unwrap();
        Order::insert(&mut tx, &Order::new(1)).await.unwrap();
        is_timeout(slow_write!(&mut tx));
        drop(tx);
        for ctx in [&acme, &globex] {
            let mut tx = fixture.db.begin(ctx).await.unwrap();
            assert_eq!(Order::count(&mut tx).await.unwrap(), 60);
            let sevens = Order::select().filter(Order::TOTAL.eq(7));
            assert_eq!(sevens.count(&mut tx).await.unwrap(), 1);
            tx.commit().await.unwrap();
        }
    }
}

async fn a_wait_for_a_lock_ends_by_name<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Optional, 4).await;
    seed(&fixture, 1).await;
    let [acme, _] = limited(&fixture, "lock_timeout_ms = 100", "").await;
    let mut order = Order::select().first(&fixture.db.scope(&acme)).await.unwrap().unwrap();
    order.total = 9;
    let mut holds = fixture.db.begin(&acme).await.unwrap();
    Order::update(&mut holds, &order).await.unwrap().or_not_found().unwrap();
    let waits = Order::update(&fixture.db.scope(&acme), &order).await.unwrap_err();
    assert_eq!(waits.kind(), ErrorKind::Retryable, "{waits:?}");
    assert!(waits.is_transient());
    holds.commit().await.unwrap();
    Order::update(&fixture.db.scope(&acme), &order).await.unwrap().or_not_found().unwrap();
}

/// The read of an operator across tenants has no limit of the tenants' plans.
async fn a_cross_tenant_read_has_no_limits_of_plans<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    seed(&fixture, 11).await;
    let limits = "[plans.free.database]\nmax_rows = 3\n[plans.pro.database]\nmax_rows = 3";
    let catalog = std::sync::Arc::new(Catalog::from_toml(&format!("{CATALOG}\n{limits}")).unwrap());
    let directory = TenantDirectory::new(fixture.store.clone(), catalog);
    let reason = Reason::new("monthly report FIN-12").unwrap();
    let sink = &*fixture.store;
    let read = fixture.db.cross_tenant(&directory, sink, reason, Actor::user("ada")).unwrap();
    let all = read.read(async |tx| Order::select().all(tx, 100).await).await.unwrap();
    assert_eq!(all.iter().map(|rows| rows.value.len()).collect::<Vec<_>>(), [11, 11]);
}

in_every_placement!(
    more_rows_than_the_plan_allows_are_an_error,
    own_sql_returns_as_many_rows_as_the_plan_allows,
    a_stream_of_pages_counts_as_one_statement,
    a_statement_that_takes_too_long_ends_by_name,
    a_write_that_takes_too_long_changes_nothing,
    a_wait_for_a_lock_ends_by_name,
    a_cross_tenant_read_has_no_limits_of_plans,
);

/// The tests for one database. A macro, because the trait bounds of sqlx differ per database.
macro_rules! dynamic_tests {
    ($name:ident, $db:ty) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let fixture = Fixture::<$db>::new().await;
            seed(&fixture, 11).await;
            let [acme, globex] = limited(&fixture, "max_rows = 10", "").await;
            let (scope, other) = (fixture.db.scope(&acme), fixture.db.scope(&globex));
            let totals = |below: i64| {
                sqlx::query_scalar::<_, i64>("SELECT total FROM orders WHERE total < $1").bind(below)
            };
            assert_eq!(totals(10).fetch_all(&scope).await.unwrap().len(), 10);
            is_row_limit(totals(11).fetch_all(&scope).await.map_err(Error::from_sqlx));
            is_row_limit(totals(11).fetch_one(&scope).await.map_err(Error::from_sqlx));
            assert_eq!(totals(11).fetch_all(&other).await.unwrap().len(), 11);

            let mut rows = totals(11).fetch(&scope);
            for _ in 0..10 {
                assert!(rows.try_next().await.unwrap().is_some());
            }
            is_row_limit(rows.try_next().await.map_err(Error::from_sqlx));
            drop(rows);

            let paid = || sqlx::query("UPDATE orders SET status = 'paid' RETURNING total");
            is_row_limit(paid().fetch_all(&scope).await.map_err(Error::from_sqlx).map(|rows| rows.len()));
            let open = Order::select().filter(Order::STATUS.eq("open"));
            assert_eq!(open.clone().count(&scope).await.unwrap(), 11);

            let mut tx = fixture.db.begin(&acme).await.unwrap();
            is_row_limit(totals(11).fetch_all(&mut tx).await.map_err(Error::from_sqlx));
            assert_eq!(Order::count(&mut tx).await.unwrap_err().kind(), ErrorKind::RolledBack);
            drop(tx);
            assert_eq!(open.count(&scope).await.unwrap(), 11);
        }
    };
}
dynamic_tests!(any_query_of_sqlx_returns_as_many_rows_as_the_plan_allows_on_sqlite, Sqlite);
dynamic_tests!(any_query_of_sqlx_returns_as_many_rows_as_the_plan_allows_on_postgres, Postgres);

/// The pool of a `TenantDb` with one connection, so that every tenant gets the same one.
async fn one_connection(fixture: &Fixture<Postgres>) -> Pool<Postgres> {
    let options = (*fixture.pool.connect_options()).clone();
    PoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
}

/// The settings of the transaction, past the rewriter: `current_setting` reads no table.
async fn settings(db: &TenantDb<Postgres>, ctx: &TenantContext) -> (i32, [String; 2]) {
    let read =
        "SELECT pg_backend_pid(), current_setting('statement_timeout'), current_setting('lock_timeout')";
    let (backend, statement, lock) = sqlx::query_as(read).fetch_one(&db.scope(ctx)).await.unwrap();
    (backend, [statement, lock])
}

#[tokio::test]
async fn the_time_limits_of_a_plan_end_with_its_transaction() {
    let fixture = Fixture::<Postgres>::new().await;
    let pool = one_connection(&fixture).await;
    let functions = ["current_setting", "pg_backend_pid"];
    let schema = functions.into_iter().try_fold(Schema::new("tenant_id").unwrap(), Schema::function).unwrap();
    let db = TenantDb::from_pool(pool.clone()).schema(schema).build().await.unwrap();
    let free = "statement_timeout_ms = 2500\nlock_timeout_ms = 600";
    let [acme, globex] = limited(&fixture, free, "statement_timeout_ms = 7000").await;
    let unlimited = fixture.again(&fixture.globex).await.unwrap();
    let mut backends = Vec::new();
    for _ in 0..3 {
        for (ctx, wanted) in [(&acme, ["2500ms", "600ms"]), (&globex, ["7s", "0"]), (&unlimited, ["0", "0"])]
        {
            let (backend, got) = settings(&db, ctx).await;
            assert_eq!(got, wanted);
            backends.push(backend);
        }
        let outside: String = sqlx::query_scalar("SHOW statement_timeout").fetch_one(&pool).await.unwrap();
        assert_eq!(outside, "0");
    }
    assert!(backends.windows(2).all(|two| two[0] == two[1]), "one connection served all: {backends:?}");
}

/// PostgreSQL has one code for a statement that takes too long and one that somebody cancels. The text tells them
/// apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_an_administrator_cancels_is_no_timeout() {
    let fixture = Fixture::<Postgres>::new().await;
    seed(&fixture, 60).await;
    let scope = fixture.db.scope(&fixture.acme);
    let cancel = async {
        let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE state = 'active' \
                      AND datname = current_database() AND query LIKE '%count(*)%' AND pid <> pg_backend_pid()";
        let until = Instant::now() + Duration::from_secs(30);
        while sqlx::query(cancel).fetch_all(&fixture.pool).await.unwrap().is_empty() {
            assert!(Instant::now() < until, "the statement does not run");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (result, ()) = tokio::join!(async { slow!(&scope) }, cancel);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error:?}");
    assert!(error.to_string().contains("cancelled") && error.is_transient(), "{error}");
}

/// The settings of a connection are as before, once a tenant with limits has used it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_connection_keeps_no_limit_of_a_plan() {
    let fixture = Fixture::<Sqlite>::with(AuditPolicy::Optional, 1).await;
    seed(&fixture, 30).await;
    let [acme, globex] = limited(&fixture, "statement_timeout_ms = 30\nlock_timeout_ms = 5", "").await;
    // It takes longer than the limit of acme, and globex has none.
    macro_rules! some_time {
        ($on:expr) => {
            query_scalar!(
                $on,
                i64,
                "SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e WHERE a.total + b.total + c.total + d.total + e.total < 0"
            )
            .fetch_one()
            .await
        };
    }
    for _ in 0..2 {
        is_timeout(some_time!(&fixture.db.scope(&acme)));
        assert_eq!(some_time!(&fixture.db.scope(&globex)).unwrap(), 0);
        assert_eq!(Sqlite::number(&fixture.pool, "PRAGMA busy_timeout").await, 60_000);
        let mut tx = fixture.db.begin(&acme).await.unwrap();
        Order::insert(&mut tx, &Order::new(1)).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(Sqlite::number(&fixture.pool, "PRAGMA busy_timeout").await, 60_000);
    }
    let mut conn = fixture.pool.acquire().await.unwrap();
    conn.ping().await.unwrap();
}
