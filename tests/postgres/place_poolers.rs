//! Behind PgBouncer in transaction mode, the statements of tenants with a schema each reach their own schema.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection};

use crate::common::{Placing, placed};
use crate::pooler::Pooler;
use crate::pooler_fixture::{
    POOL_SIZE, ServerState, dropped_at_any_await, no_server_connection_has_a_tenant, reach_their_own_tenant,
    seeded, server_states,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_statements_by_every_api_reach_their_own_schema() {
    placed(Placing::Schema, reach_their_own_tenant()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_dropped_at_any_await_leaves_no_search_path_behind_the_pooler() {
    placed(Placing::Schema, dropped_at_any_await()).await;
}

/// The other side: a search path that a client does leave on a server connection is seen by the tests above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_path_that_is_left_is_seen() {
    let (_fixture, url) = placed(Placing::Schema, seeded()).await;
    for left in ["SET search_path = pg_catalog", "SET app.tenant_id = '018f3f5e-3a5a-7c3e-9d0a-000000000001'"]
    {
        let pooler = Pooler::start(&url, "transaction", POOL_SIZE).await;
        no_server_connection_has_a_tenant(&pooler, POOL_SIZE).await;
        let mut raw = pooler.options().connect().await.unwrap();
        sqlx::raw_sql(left).execute(&mut raw).await.unwrap();
        raw.close().await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while server_states(&pooler, POOL_SIZE).await.iter().all(ServerState::is_clean) {
            assert!(Instant::now() < deadline, "`{left}` is not seen");
        }
    }
}
