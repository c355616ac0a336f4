//! A `TenantDb` connects with options instead of a URL, and closes its connections.

use std::time::{Duration, Instant};

use sqlx::Postgres;
use sqlx::pool::PoolOptions;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::{Schema, TenantDbBuilder, TenantExecutor};
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};

use crate::common::{Fixture, Order, TestBackend};
use crate::log::Log;

async fn insert<DB: TestBackend + SupportsRow<Order>>(
    scope: impl TenantExecutor<Database = DB>,
) -> tenancy::Result<()> {
    Order::insert(scope, &Order::new(1)).await
}

async fn options_are_used_instead_of_a_url<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let db = DB::beside(&fixture.pool, 2).build().await.unwrap();
    insert(&db.scope(&fixture.acme)).await.unwrap();
    let count = async |ctx: &TenantContext| Order::count(&fixture.db.scope(ctx)).await.unwrap();
    assert_eq!((count(&fixture.acme).await, count(&fixture.globex).await), (1, 0));
    db.close().await;
}

/// This package has a `tenancy.toml`, and cargo says where.
async fn a_file_that_was_forgotten_is_named<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let build = async |schema: Option<Schema>| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let db = DB::beside(&fixture.pool, 2);
        let db = schema.into_iter().fold(db, TenantDbBuilder::schema).build().await.unwrap();
        db.close().await;
        log.text()
    };
    let forgotten = build(None).await;
    assert!(forgotten.contains("tenancy.toml") && forgotten.contains("Schema::from_toml"), "{forgotten}");
    let given = build(Some(Schema::new("tenant_id").unwrap())).await;
    assert!(!given.contains("tenancy.toml"), "{given}");
}

/// What is in work ends first, and nothing new begins.
async fn closing_waits_for_what_is_in_use<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let db = DB::beside(&fixture.pool, 2).build().await.unwrap();
    let mut tx = db.begin(&fixture.acme).await.unwrap();
    insert(&mut tx).await.unwrap();
    let closing = tokio::spawn({
        let db = db.clone();
        async move { db.close().await }
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    let rejected = loop {
        assert!(Instant::now() < deadline, "the TenantDb still opens scopes");
        match Order::count(&db.scope(&fixture.globex)).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(rejected.kind(), ErrorKind::StoreUnavailable);
    assert!(rejected.to_string().contains("closed"), "{rejected}");
    assert!(!closing.is_finished(), "a transaction is in use");
    tx.commit().await.unwrap();
    closing.await.unwrap();
    db.close().await;
    assert_eq!(Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), 1, "it was committed");
}

/// A fixture's `TenantDb` has the pools of both tenants' databases.
async fn the_databases_of_tenants_are_closed_too<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = crate::common::placed(crate::common::Placing::Database, Fixture::<DB>::new()).await;
    for ctx in [&fixture.acme, &fixture.globex] {
        insert(&fixture.db.scope(ctx)).await.unwrap();
    }
    fixture.db.close().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        let error = Order::count(&fixture.db.scope(ctx)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
        let error = fixture.db.begin(ctx).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_error_at_start() {
    let fixture = Fixture::<Postgres>::new().await;
    let wrong = (*fixture.pool.connect_options()).clone().username("nobody_knows").password("wrong");
    let failed = TenantDb::postgres_with(PoolOptions::new(), wrong).build().await.unwrap_err();
    assert!(!failed.to_string().contains("wrong"), "{failed}");
    let invalid = TenantDb::postgres(PoolOptions::new(), "no url").build().await.unwrap_err();
    assert_eq!(invalid.kind(), ErrorKind::Misconfigured);
}

on_every_database!(
    a_file_that_was_forgotten_is_named,
    options_are_used_instead_of_a_url,
    closing_waits_for_what_is_in_use,
    the_databases_of_tenants_are_closed_too,
);
