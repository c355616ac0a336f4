//! A readiness probe asks a `TenantDb` for a sign of life.

use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tenancy::TenantDb;

use crate::common::{self, Fixture, TestBackend};
use crate::proxy::Proxy;

const WAIT: Duration = Duration::from_millis(200);

async fn connections_are_counted_while_tenants_use_them<DB: TestBackend>() {
    let fixture = Fixture::<DB>::new().await;
    let db = DB::beside(&fixture.pool, 2).build().await.unwrap();
    let health = async || db.health(Duration::from_secs(30)).await;
    // A connection is returned a moment after its last user.
    let in_use = async |wanted| {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let found = health().await;
            assert!(found.is_ready() && found.shared.max == 2 && found.databases.is_none(), "{found:?}");
            if found.shared.in_use == wanted {
                return found;
            }
            assert!(Instant::now() < until, "{found:?}");
        }
    };
    in_use(0).await;
    let one = db.begin(&fixture.acme).await.unwrap();
    let found = in_use(1).await;
    assert!(found.answered_in_ms.is_some() && found.shared.open >= 1, "{found:?}");
    one.rollback().await.unwrap();
    in_use(0).await;
    let small = DB::beside(&fixture.pool, 1).build().await.unwrap();
    for ctx in [&fixture.acme, &fixture.globex] {
        let only = small.begin(ctx).await.unwrap();
        let full = small.health(WAIT).await;
        assert_eq!((full.is_ready(), full.shared.in_use, full.error), (false, 1, Some("connection-limit")));
        only.rollback().await.unwrap();
    }
    let shown = serde_json::to_value(health().await).unwrap();
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["answered_in_ms", "databases", "error", "shared"], "a probe shows nothing of a tenant");
    db.close().await;
    let closed = db.health(WAIT).await;
    assert_eq!((closed.is_ready(), closed.error), (false, Some("store-unavailable")));
}

on_every_database!(connections_are_counted_while_tenants_use_them);

#[tokio::test]
async fn a_database_that_says_nothing_is_not_waited_for() {
    let fixture = Fixture::<Postgres>::new().await;
    let proxy = Proxy::start(&common::postgres_url()).await;
    let near: PgConnectOptions = (*fixture.pool.connect_options()).clone();
    let far = near.host("127.0.0.1").port(proxy.port());
    let db = TenantDb::postgres_with(PgPoolOptions::new().max_connections(2), far).build().await.unwrap();
    assert!(db.health(Duration::from_secs(30)).await.is_ready());
    proxy.silence();
    let health = db.health(WAIT).await;
    assert_eq!(
        (health.is_ready(), health.error, health.answered_in_ms),
        (false, Some("store-unavailable"), None)
    );
    proxy.close();
    proxy.open();
    let until = Instant::now() + Duration::from_secs(30);
    while !db.health(Duration::from_secs(1)).await.is_ready() {
        assert!(Instant::now() < until, "the database is not found again");
    }
}
