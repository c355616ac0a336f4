//! A report over all tenants: each tenant is read as itself, and its own audit log holds who read it and why.
//!
//! `cargo run --example cross_tenant_report` runs it on SQLite in memory.
#![allow(clippy::print_stdout, reason = "the program prints its report")]

use std::sync::Arc;

use sqlx::sqlite::{Sqlite, SqlitePoolOptions};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::scope::{PerTenant, Reason, StoredEvent};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Slug, TenantStatus};
use tenancy::{TenantDb, TenantScoped};

type Failure = Box<dyn std::error::Error>;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    total: i64,
}

struct App {
    db: TenantDb<Sqlite>,
    /// Holds the tenants, and writes to their audit logs.
    store: Arc<SqlStore<Sqlite>>,
    directory: TenantDirectory,
}

async fn app() -> Result<App, Failure> {
    let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = one.connect("sqlite::memory:").await?;
    let table =
        "CREATE TABLE orders (tenant_id BLOB, id INTEGER, total INTEGER, PRIMARY KEY (tenant_id, id))";
    sqlx::query(table).execute(&pool).await?;
    let store = Arc::new(SqlStore::new(pool.clone()));
    store.migrate().await?;
    let db = TenantDb::from_pool(pool).build().await?;

    let catalog = Catalog::from_toml("version = 1\n[features]\n[plans.free]\nfeatures = {}")?;
    let directory = TenantDirectory::new(store.clone(), Arc::new(catalog));
    for (name, totals) in [("acme", vec![100, 50]), ("globex", vec![7])] {
        let tenant = NewTenant::new(Slug::parse(name)?, name, "free").status(TenantStatus::Active);
        let tenant = directory.store().insert(tenant).await?;
        let ctx = directory.context(tenant.id(), Actor::system("seed")).await?;
        let orders: Vec<Order> = (1..).zip(totals).map(|(id, total)| Order { id, total }).collect();
        Order::insert_many(&db.scope(&ctx), &orders).await?;
    }
    Ok(App { db, store, directory })
}

/// Each tenant with its number of orders and their total.
async fn report(app: &App) -> tenancy::Result<Vec<PerTenant<(i64, i64)>>> {
    let reason = Reason::new("monthly report FIN-12")?;
    let reading = app.db.cross_tenant(&app.directory, &*app.store, reason, Actor::user("ada"))?;
    reading
        .read(async |tenant| {
            let sums = tenancy::query_as!(
                &mut *tenant,
                (i64, i64),
                "SELECT count(*), coalesce(sum(total), 0) FROM orders"
            );
            sums.fetch_one().await
        })
        .await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let app = app().await?;
    for PerTenant { tenant, value: (orders, total), .. } in report(&app).await? {
        println!("{:10} {orders:5} orders {total:8}", tenant.slug().as_str());
        let ctx = app.directory.context(tenant.id(), Actor::system("example")).await?;
        for event in StoredEvent::newest(&app.db.scope(&ctx), None, 2).await? {
            println!("    {}", event.json());
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_tenant_is_counted_and_has_two_events() {
    let app = app().await.unwrap();
    let mut sums: Vec<_> =
        report(&app).await.unwrap().iter().map(|one| (one.tenant.slug().to_string(), one.value)).collect();
    sums.sort();
    assert_eq!(sums, [("acme".to_owned(), (2, 150)), ("globex".to_owned(), (1, 7))]);
    for tenant in app.directory.store().list(None, 10).await.unwrap() {
        let ctx = app.directory.context(tenant.id(), Actor::system("test")).await.unwrap();
        let events = StoredEvent::newest(&app.db.scope(&ctx), None, 10).await.unwrap();
        assert_eq!(events.len(), 2, "one before the reading, one after it");
        assert!(events.iter().all(|event| event.json().contains("monthly report FIN-12")));
    }
}
