//! The statement of a dropped request ends on the server too, and nobody waits for its connection.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Postgres, Row};
use tenancy::scope::{ConnectionMode, Enforcement, Schema, TenantDbBuilder};
use tenancy::{Error, TenantContext, TenantDb, TenantScoped};

use crate::common::{self, Fixture, Order, Placing, placed};
use crate::pooler::Pooler;

const SLEEP: &str = "SELECT pg_sleep(60) FROM (SELECT 1 AS n) one";

fn configured(db: TenantDbBuilder<Postgres>) -> TenantDbBuilder<Postgres> {
    db.schema(Schema::new("tenant_id").unwrap().function("pg_sleep").unwrap())
}

async fn url(fixture: &Fixture<Postgres>) -> String {
    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&fixture.pool).await.unwrap();
    let options: PgConnectOptions = common::postgres_url().parse().unwrap();
    let mut url = options.database(&name).to_url_lossy();
    url.query_pairs_mut().append_pair("application_name", "dropped");
    url.to_string()
}

/// How many statements sleep on the server. One that is only prepared counts as active too.
async fn running(fixture: &Fixture<Postgres>) -> i64 {
    let count =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    sqlx::query_scalar(count).fetch_one(&fixture.pool).await.unwrap()
}

/// Polls until so many of them run; they would run for a minute.
async fn wait_for(fixture: &Fixture<Postgres>, wanted: i64) {
    let until = Instant::now() + Duration::from_secs(30);
    while running(fixture).await != wanted {
        assert!(Instant::now() < until, "{} run instead of {wanted}", running(fixture).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs the statement until the server executes it, and drops it then.
async fn drop_while_it_runs(fixture: &Fixture<Postgres>, statement: impl Future) {
    tokio::select! {
        _ = statement => panic!("the statement cannot have ended"),
        () = wait_for(fixture, 1) => {}
    }
}

async fn sleep(db: &TenantDb<Postgres>, ctx: &TenantContext) -> Result<(), Error> {
    sqlx::query(SLEEP).execute(&db.scope(ctx)).await.map(drop).map_err(Error::from_sqlx)
}

async fn sleep_in_transaction(db: &TenantDb<Postgres>, ctx: &TenantContext) -> Result<(), Error> {
    let mut tx = db.begin(ctx).await?;
    Order::insert(&mut tx, &Order::new(1)).await?;
    sqlx::query(SLEEP).execute(&mut tx).await.map_err(Error::from_sqlx)?;
    tx.commit().await
}

/// A stream that is dropped while it waits for its first row.
async fn sleep_in_stream(db: &TenantDb<Postgres>, ctx: &TenantContext) {
    let scope = db.scope(ctx);
    let mut rows = sqlx::query(SLEEP).fetch(&scope);
    while let Some(row) = rows.next().await {
        assert!(row.unwrap().is_empty());
    }
}

/// After each of the drops, the server ends the statement, and the only connection of the pool serves both tenants.
async fn each_way_to_drop_a_statement_ends_it(fixture: &Fixture<Postgres>, db: &TenantDb<Postgres>) {
    for ctx in [&fixture.acme, &fixture.globex] {
        drop_while_it_runs(fixture, sleep(db, ctx)).await;
        both_are_served(fixture, db).await;
        wait_for(fixture, 0).await;
        drop_while_it_runs(fixture, sleep_in_transaction(db, ctx)).await;
        both_are_served(fixture, db).await;
        wait_for(fixture, 0).await;
        drop_while_it_runs(fixture, sleep_in_stream(db, ctx)).await;
        both_are_served(fixture, db).await;
        wait_for(fixture, 0).await;
    }
}

/// What a dropped transaction inserted is not there.
async fn both_are_served(fixture: &Fixture<Postgres>, db: &TenantDb<Postgres>) {
    for ctx in [&fixture.acme, &fixture.globex] {
        assert_eq!(Order::count(&db.scope(ctx)).await.unwrap(), 0);
        let mut tx = db.begin(ctx).await.unwrap();
        Order::insert(&mut tx, &Order::new(1)).await.unwrap();
        tx.rollback().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_statement_ends_on_the_server() {
    let fixture = Fixture::<Postgres>::new().await;
    let options = PgPoolOptions::new().max_connections(1);
    let db = configured(TenantDb::postgres(options, url(&fixture).await)).build().await.unwrap();
    each_way_to_drop_a_statement_ends_it(&fixture, &db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_statement_ends_on_a_pool_of_the_application() {
    let fixture = placed(Placing::Schema, Fixture::<Postgres>::new()).await;
    let options = (*fixture.pool.connect_options()).clone();
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let db = configured(TenantDb::from_pool(pool)).build().await.unwrap();
    each_way_to_drop_a_statement_ends_it(&fixture, &db).await;
}

/// PgBouncer closes its connection to the server when a client leaves in the middle of a statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_statement_ends_behind_a_pooler() {
    let fixture = Fixture::<Postgres>::new().await;
    let pooler = Pooler::start(&url(&fixture).await, "transaction", 2).await;
    let db = TenantDb::postgres(PgPoolOptions::new().max_connections(1), pooler.url());
    let db = configured(db).connection_mode(ConnectionMode::PgBouncer).build().await.unwrap();
    each_way_to_drop_a_statement_ends_it(&fixture, &db).await;
}

/// Without a transaction no message sets the check, so the server can go on. Its connection is not waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_statement_without_a_transaction_holds_no_connection_of_the_pool() {
    let fixture = Fixture::<Postgres>::new().await;
    fixture.raw("ALTER TABLE orders DISABLE ROW LEVEL SECURITY").await.unwrap();
    let options = PgPoolOptions::new().max_connections(1);
    let db = configured(TenantDb::postgres(options, url(&fixture).await));
    let db = db.enforcement(Enforcement::PredicateOnly).build().await.unwrap();
    drop_while_it_runs(&fixture, sleep(&db, &fixture.acme)).await;
    assert_eq!(Order::count(&db.scope(&fixture.globex)).await.unwrap(), 0);
    assert_eq!(running(&fixture).await, 1, "it sleeps on");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
               AND state = 'active' AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()";
    assert!(sqlx::query(end).fetch_one(&fixture.pool).await.unwrap().get::<bool, _>(0));
}

/// The part of the share is not free before the server has ended the statement: dropped requests do not pile up there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_statement_keeps_its_part_of_the_share_until_it_has_ended() {
    let fixture = Fixture::<Postgres>::new().await;
    let options = PgPoolOptions::new().max_connections(4);
    let db = configured(TenantDb::postgres(options, url(&fixture).await))
        .max_connections_per_tenant(1)
        .tenant_connection_wait(Duration::from_secs(30));
    let db = db.build().await.unwrap();
    for _ in 0..2 {
        drop_while_it_runs(&fixture, sleep(&db, &fixture.acme)).await;
        assert_eq!(Order::count(&db.scope(&fixture.globex)).await.unwrap(), 0, "the other tenant is served");
        assert_eq!(running(&fixture).await, 1, "at once, while the statement still runs");
        db.begin(&fixture.acme).await.unwrap().rollback().await.unwrap();
        assert_eq!(running(&fixture).await, 0);
    }
}

/// A database with one connection, and a tenant with a thousand orders whose plan allows ten rows at once.
async fn ten_rows_allowed(fixture: &Fixture<Postgres>) -> (TenantDb<Postgres>, TenantContext) {
    let options = PgPoolOptions::new().max_connections(1);
    let db = configured(TenantDb::postgres(options, url(fixture).await)).build().await.unwrap();
    let text = format!("{}\n[plans.free.database]\nmax_rows = 10", common::CATALOG);
    let catalog = std::sync::Arc::new(tenancy::plan::Catalog::from_toml(&text).unwrap());
    let directory = tenancy::context::TenantDirectory::new(fixture.store.clone(), catalog);
    let acme = directory.context(fixture.acme.tenant_id(), fixture.acme.actor().clone()).await.unwrap();
    let orders: Vec<Order> = (0..1000).map(Order::new).collect();
    Order::insert_many(&db.scope(&acme), &orders).await.unwrap();
    (db, acme)
}

/// Of a result that is larger than the plan allows, the server does not send the rest, and nobody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_over_the_limit_of_rows_is_not_read_to_its_end() {
    let fixture = Fixture::<Postgres>::new().await;
    let (db, acme) = ten_rows_allowed(&fixture).await;

    // A thousand million rows.
    let large = "SELECT a.total FROM orders a, orders b, orders c";
    let scope = db.scope(&acme);
    let rejected = |error| assert_eq!(Error::from_sqlx(error).kind(), tenancy::ErrorKind::RowLimit);
    rejected(sqlx::query(large).fetch_all(&scope).await.unwrap_err());
    assert_eq!(Order::count(&db.scope(&fixture.globex)).await.unwrap(), 0);
    let mut tx = db.begin(&acme).await.unwrap();
    rejected(sqlx::query(large).fetch_all(&mut tx).await.unwrap_err());
    drop(tx);
    let mut tx = db.begin(&acme).await.unwrap();
    rejected(sqlx::query(large).fetch_all(&mut tx).await.unwrap_err());
    tx.rollback().await.unwrap();
    // A savepoint cannot save the transaction: its rollback would wait for the whole result.
    for is_dropped in [false, true] {
        let mut tx = db.begin(&acme).await.unwrap();
        let mut savepoint = tx.begin().await.unwrap();
        rejected(sqlx::query(large).fetch_all(&mut *savepoint).await.unwrap_err());
        if is_dropped {
            drop(savepoint);
        } else {
            assert_eq!(savepoint.rollback().await.unwrap_err().kind(), tenancy::ErrorKind::RolledBack);
        }
        let next = Order::insert(&mut tx, &Order::new(1)).await.unwrap_err();
        assert_eq!(next.kind(), tenancy::ErrorKind::RolledBack, "{next:?}");
        drop(tx);
    }
    assert_eq!(Order::count(&db.scope(&acme)).await.unwrap(), 1000);
    let until = Instant::now() + Duration::from_secs(30);
    let active = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                  AND query LIKE '%a.total%' AND pid <> pg_backend_pid()";
    while sqlx::query_scalar::<_, i64>(active).fetch_one(&fixture.pool).await.unwrap() > 0 {
        assert!(Instant::now() < until, "the server still sends rows");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The connection of a result that is a little too large is used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_rest_of_a_result_closes_no_connection() {
    let fixture = Fixture::<Postgres>::new().await;
    let (db, acme) = ten_rows_allowed(&fixture).await;

    let backend = async || -> i32 {
        let pid = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'dropped'";
        sqlx::query_scalar(pid).fetch_one(&fixture.pool).await.unwrap()
    };
    let before = backend().await;
    sqlx::query("SELECT total FROM orders").fetch_all(&db.scope(&acme)).await.unwrap_err();
    assert_eq!(Order::count(&db.scope(&acme)).await.unwrap(), 1000);
    assert_eq!(backend().await, before);
}
