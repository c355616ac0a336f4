//! Three ways to reach a tenant's rows, on SQLite in memory: `cargo run --example own_sql`.

use std::sync::Arc;

use sqlx::sqlite::SqlitePoolOptions;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantStatus};
use tenancy::{TenantContext, TenantDb, TenantScoped, query_as};

#[derive(Debug, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
    total: i64,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
    sqlx::raw_sql(
        "CREATE TABLE orders (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, status TEXT NOT NULL, total INTEGER NOT NULL,
         PRIMARY KEY (tenant_id, id))",
    )
    .execute(&pool)
    .await?;
    let db = TenantDb::from_pool(pool).build().await?;
    let (acme, globex) = tenants().await?;

    // The repository: no SQL at all.
    for (ctx, total) in [(&acme, 100), (&globex, 7)] {
        let order = Order { id: 1, status: "open".to_owned(), total };
        Order::insert(&db.scope(ctx), &order).await?;
    }

    // A literal, proven while this file was compiled.
    let scope = db.scope(&acme);
    let open = query_as!(
        &scope,
        Order,
        "SELECT id, status, total FROM orders WHERE status = $1 OR total > $2",
        "open",
        0
    );
    assert_eq!(open.fetch_all().await?, [Order { id: 1, status: "open".to_owned(), total: 100 }]);

    // Any query of sqlx, proven when it runs.
    let sum = "SELECT sum(a.total + b.total) FROM orders a JOIN orders b ON a.id = b.id";
    let sums: (i64, i64) = (
        sqlx::query_scalar(sum).fetch_one(&scope).await?,
        sqlx::query_scalar(sum).fetch_one(&db.scope(&globex)).await?,
    );
    assert_eq!(sums, (200, 14));

    // What could reach the other tenant's row is refused.
    let refused = sqlx::query("SELECT name FROM sqlite_master").execute(&scope).await;
    assert!(refused.is_err());
    Ok(())
}

/// Two tenants; in a service the `TenantLayer` hands the context of one to each request.
async fn tenants() -> tenancy::Result<(TenantContext, TenantContext)> {
    let store = Arc::new(MemoryStore::new());
    let catalog = Catalog::from_toml(
        "version = 1\n[features]\nexport = { kind = \"flag\" }\n[plans.free]\nfeatures = { export = false }",
    )?;
    let directory = TenantDirectory::new(store, Arc::new(catalog));
    let enter = async |name: &str| {
        let tenant = NewTenant::new(Slug::parse(name)?, name, "free").status(TenantStatus::Active);
        let tenant = directory.store().insert(tenant).await?;
        directory.context(tenant.id(), Actor::system("example")).await
    };
    Ok((enter("acme").await?, enter("globex").await?))
}

#[test]
fn the_example_runs() {
    main().expect("each way reaches the rows of its own tenant");
}
