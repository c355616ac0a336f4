//! Three ways to query tenant data, on SQLite in memory: `cargo run --example own_sql`.

use std::sync::Arc;

use tenancy::context::{Actor, TenantDirectory};
use tenancy::scope::sqlite_in_memory;
use tenancy::{TenantContext, TenantDb, TenantScoped, plan::Catalog, query_as};
use tenancy::{store::MemoryStore, tenant::NewTenant};

const TABLE: &str = "CREATE TABLE orders (tenant_id BLOB, id INTEGER, status TEXT, total INTEGER, PRIMARY KEY (tenant_id, id))";

#[derive(Debug, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
    total: i64,
}

async fn app(acme: &TenantContext, globex: &TenantContext) -> Result<(), Box<dyn std::error::Error>> {
    let db = TenantDb::from_pool(sqlite_in_memory(TABLE).await?).build().await?;

    // The repository: no SQL at all.
    for (ctx, total) in [(acme, 100), (globex, 7)] {
        let order = Order { id: 1, status: "open".to_owned(), total };
        Order::insert(&db.scope(ctx), &order).await?;
    }

    // SQL that is checked when this file is compiled.
    let scope = db.scope(acme);
    let open = query_as!(
        &scope,
        Order,
        "SELECT id, status, total FROM orders WHERE status = $1 OR total > $2",
        "open",
        0
    );
    assert_eq!(open.fetch_all().await?, [Order { id: 1, status: "open".to_owned(), total: 100 }]);

    // Any query of sqlx, checked when it runs.
    let sum = "SELECT sum(a.total + b.total) FROM orders a JOIN orders b ON a.id = b.id";
    let sums: (i64, i64) = (
        sqlx::query_scalar(sum).fetch_one(&scope).await?,
        sqlx::query_scalar(sum).fetch_one(&db.scope(globex)).await?,
    );
    assert_eq!(sums, (200, 14));

    // SQL that could read another tenant's rows is rejected.
    let rejected = sqlx::query("SELECT name FROM sqlite_master").execute(&scope).await;
    assert!(rejected.is_err());
    Ok(())
}

/// The context of a new tenant. In a service, the `TenantLayer` gives each request the context of its tenant.
async fn tenant(directory: &TenantDirectory, name: &str) -> tenancy::Result<TenantContext> {
    let tenant = directory.store().insert(NewTenant::active(name, "free")?).await?;
    directory.context(tenant.id(), Actor::system("example")).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plans = Catalog::from_toml("version = 1\n[plans.free]")?;
    let directory = TenantDirectory::new(Arc::new(MemoryStore::new()), plans);
    app(&tenant(&directory, "acme").await?, &tenant(&directory, "globex").await?).await
}

#[test]
fn the_example_runs() {
    main().expect("each way reaches the rows of its own tenant");
}
