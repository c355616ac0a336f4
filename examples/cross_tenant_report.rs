//! A report over all tenants: each tenant is read as itself, and its own audit log holds who read it and why.
//!
//! `cargo run --example cross_tenant_report` runs it on SQLite in memory.

use std::sync::Arc;

use sqlx::Sqlite;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::scope::{PerTenant, Reason, StoredEvent, Tx, sqlite_in_memory};
use tenancy::{TenantDb, TenantScoped, plan::Catalog, store::SqlStore, tenant::NewTenant};

const TABLE: &str =
    "CREATE TABLE orders (tenant_id BLOB, id INTEGER, total INTEGER, PRIMARY KEY (tenant_id, id))";

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

async fn app() -> tenancy::Result<App> {
    let pool = sqlite_in_memory(TABLE).await?;
    let store = Arc::new(SqlStore::new(pool.clone()));
    store.migrate().await?;
    let db = TenantDb::from_pool(pool).build().await?;
    let directory = TenantDirectory::new(store.clone(), Catalog::from_toml("version = 1\n[plans.free]")?);
    for (name, totals) in [("acme", vec![100, 50]), ("globex", vec![7])] {
        let tenant = directory.store().insert(NewTenant::active(name, "free")?).await?;
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
    let sums = async |tx: &mut Tx<'_, Sqlite>| {
        let sql = tenancy::query_as!(tx, (i64, i64), "SELECT count(*), coalesce(sum(total), 0) FROM orders");
        sql.fetch_one().await
    };
    reading.read(sums).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> tenancy::Result<()> {
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
    let report = report(&app).await.unwrap();
    let mut sums: Vec<_> = report.iter().map(|one| (one.tenant.slug().as_str(), one.value)).collect();
    sums.sort_unstable();
    assert_eq!(sums, [("acme", (2, 150)), ("globex", (1, 7))]);
    for tenant in app.directory.store().list(None, 10).await.unwrap() {
        let ctx = app.directory.context(tenant.id(), Actor::system("test")).await.unwrap();
        let events = StoredEvent::newest(&app.db.scope(&ctx), None, 10).await.unwrap();
        assert_eq!(events.len(), 2, "one before the reading, one after it");
        assert!(events.iter().all(|event| event.json().contains("monthly report FIN-12")));
    }
}
