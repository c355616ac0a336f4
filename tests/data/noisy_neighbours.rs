//! A tenant that floods the pool uses its own share of it, and the other tenants are served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::Postgres;
use sqlx::pool::PoolOptions;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::placement::ConnectionLimits;
use tenancy::plan::Catalog;
use tenancy::scope::TenantDbBuilder;
use tenancy::scope::row::SupportsRow;
use tenancy::tenant::Placement;
use tenancy::web::Problem;
use tenancy::{Error, ErrorKind, TenantContext, TenantDb, TenantScoped};

use crate::common::{CATALOG, Fixture, Order, Placing, TestBackend, placed};

/// Long enough for a connection that is returned, and short enough for the tests.
const WAIT: Duration = Duration::from_millis(300);

const POOL: u32 = 4;

/// A `TenantDb` on a pool of `POOL` connections, which serves the placements of the fixture.
async fn pooled<DB: TestBackend>(fixture: &Fixture<DB>) -> TenantDbBuilder<DB> {
    let options = (*fixture.pool.connect_options()).clone();
    let pool = PoolOptions::new().max_connections(POOL).acquire_timeout(WAIT);
    let mut databases = HashMap::new();
    for (ctx, place) in [&fixture.acme, &fixture.globex].into_iter().zip(&fixture.places[1..]) {
        if let Placement::Database { name } = ctx.tenant().placement() {
            databases.insert(name.clone(), DB::config(place));
        }
    }
    let limits = ConnectionLimits::new(POOL + 4).per_database(4).wait(WAIT);
    TenantDb::from_pool(pool.connect_with(options).await.unwrap())
        .databases(databases, limits)
        .tenant_connection_wait(WAIT)
}

/// Acme on a plan with this limit of connections.
async fn with_plan<DB: TestBackend>(fixture: &Fixture<DB>, max_connections: u32) -> TenantContext {
    let text = format!("{CATALOG}\n[plans.free.database]\nmax_connections = {max_connections}");
    let catalog = Arc::new(Catalog::from_toml(&text).unwrap());
    let directory = TenantDirectory::new(fixture.store.clone(), catalog);
    directory.context(fixture.acme.tenant_id(), Actor::user("ada")).await.unwrap()
}

/// The status, whether the client is told when to try again, and the gRPC code.
fn answer(error: &Error) -> (u16, bool, i32) {
    let problem = Problem::from(error);
    let retries = problem.headers().any(|(name, _)| name == "retry-after");
    (problem.status(), retries, problem.grpc_code())
}

#[track_caller]
fn is_over_its_share<T: std::fmt::Debug>(result: Result<T, Error>, share: u32) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TenantConnectionLimit, "{error:?}");
    assert!(error.to_string().contains(&format!("all {share} database connections")), "{error}");
    assert!(error.is_transient());
    assert_eq!(answer(&error), (429, true, 8));
}

/// The noisy tenant gets its error by name, and the quiet one its rows, at the same time.
async fn a_tenant_that_uses_its_share_waits_for_itself<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let db = pooled(&fixture).await.max_connections_per_tenant(1).build().await.unwrap();
    let (noisy, quiet) = (&fixture.acme, &fixture.globex);
    let held = db.begin(noisy).await.unwrap();
    for _ in 0..3 {
        let (again, read) = (db.begin(noisy).await, Order::count(&db.scope(noisy)).await);
        is_over_its_share(again, 1);
        is_over_its_share(read, 1);
        assert_eq!(Order::count(&db.scope(quiet)).await.unwrap(), 0);
    }
    held.commit().await.unwrap();
    assert_eq!(Order::count(&db.scope(noisy)).await.unwrap(), 0);
    assert_eq!(db.begin(noisy).await.unwrap().commit().await.map_err(|e| e.kind()), Ok(()));
}

/// A request that waits for the share of its tenant gets it as soon as a connection is back.
async fn a_request_that_waits_gets_the_next_connection<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let wait = Duration::from_mins(1);
    let db = pooled(&fixture).await.max_connections_per_tenant(1).tenant_connection_wait(wait);
    let db = db.build().await.unwrap();
    let held = db.begin(&fixture.acme).await.unwrap();
    let scope = db.scope(&fixture.acme);
    let mut waits = Box::pin(Order::count(&scope));
    assert!(futures_util::poll!(&mut waits).is_pending());
    drop(held);
    assert_eq!(waits.await.unwrap(), 0);
}

/// The plan of a tenant comes before the default of all tenants, in both directions.
async fn the_plan_decides_before_the_default<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    for (default, plan) in [(4, 1), (1, 2)] {
        let db = pooled(&fixture).await.max_connections_per_tenant(default).build().await.unwrap();
        let acme = with_plan(&fixture, plan).await;
        let held = db.begin(&acme).await.unwrap();
        let read = Order::count(&db.scope(&acme)).await;
        if plan == 1 {
            is_over_its_share(read, 1);
        } else {
            assert_eq!(read.unwrap(), 0);
        }
        assert_eq!(Order::count(&db.scope(&fixture.globex)).await.unwrap(), 0);
        held.rollback().await.unwrap();
    }
    // Without any limit of the `TenantDb`, a plan can have one.
    let db = pooled(&fixture).await.build().await.unwrap();
    let acme = with_plan(&fixture, 1).await;
    let held = db.begin(&acme).await.unwrap();
    is_over_its_share(Order::count(&db.scope(&acme)).await, 1);
    drop(held);
}

/// A share that is never enough is a mistake, and found at the start.
async fn a_share_of_nothing_is_rejected<DB: TestBackend>() {
    let fixture = Fixture::<DB>::new().await;
    let error = pooled(&fixture).await.max_connections_per_tenant(0).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("max_connections_per_tenant"), "{error}");
}

in_every_placement!(
    a_tenant_that_uses_its_share_waits_for_itself,
    a_request_that_waits_gets_the_next_connection,
    the_plan_decides_before_the_default,
    a_share_of_nothing_is_rejected,
);

/// Without a share, the error names the pool: it is everybody's, so the answer is 503.
async fn a_pool_that_is_used_up_is_another_error(placing: Placing) {
    let fixture = placed(placing, Fixture::<Postgres>::new()).await;
    let db = pooled(&fixture).await.build().await.unwrap();
    let noisy = || db.begin(&fixture.acme);
    let held: Vec<_> = join_all((0..POOL).map(|_| noisy())).await.into_iter().map(Result::unwrap).collect();
    let error = Order::count(&db.scope(&fixture.globex)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLimit, "{error:?}");
    assert!(error.to_string().contains("all 4 connections of the pool"), "{error}");
    assert_eq!(answer(&error), (503, true, 14));
    drop(held);
    assert_eq!(Order::count(&db.scope(&fixture.globex)).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_used_up_is_another_error_in_shared_tables() {
    a_pool_that_is_used_up_is_another_error(Placing::Shared).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_used_up_is_another_error_in_schemas() {
    a_pool_that_is_used_up_is_another_error(Placing::Schema).await;
}

/// 64 requests of one tenant that each hold a connection: at most its share is in use, the rest is rejected by name,
/// and each statement of the other tenant is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_tenant_leaves_the_others_their_connections() {
    let fixture = Fixture::<Postgres>::new().await;
    let db = pooled(&fixture).await.max_connections_per_tenant(POOL / 2).build().await.unwrap();
    let (mut served, mut rejected) = (Vec::new(), 0);
    for begun in join_all((0..64).map(|_| db.begin(&fixture.acme))).await {
        match begun {
            Ok(tx) => served.push(tx),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TenantConnectionLimit, "{error:?}");
                rejected += 1;
            }
        }
    }
    assert_eq!((served.len(), rejected), (2, 62));
    for n in 1..=20 {
        Order::insert(&db.scope(&fixture.globex), &Order::new(1)).await.unwrap();
        assert_eq!(Order::count(&db.scope(&fixture.globex)).await.unwrap(), n);
    }
    assert_eq!(Order::count(&mut served[0]).await.unwrap(), 0);
}
