//! Row-level security on PostgreSQL: the policies are generated and examined, and a query that forgot its tenant
//! reads no row.
//!
//! `DATABASE_URL=postgres://app@localhost/empty_database cargo run --example postgres_rls`
//!
//! The role must not be a superuser. Here one role owns the tables and reads them, which the doctor logs as a warning;
//! `docs/how-to/postgres-and-rls.md` has the two roles of a production database.

use std::sync::Arc;

use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::{TenantDb, TenantScoped, isolation::RlsPolicies, plan::Catalog, scope::Schema};
use tenancy::{store::MemoryStore, tenant::NewTenant};

type Failure = Box<dyn std::error::Error>;

const TABLE: &str =
    "CREATE TABLE orders (tenant_id uuid, id bigint, total bigint, PRIMARY KEY (tenant_id, id))";

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    total: i64,
}

/// What `SELECT count(*) FROM orders` counts.
#[derive(Debug, PartialEq)]
struct Counts {
    acme: u64,
    globex: u64,
    without_a_tenant: i64,
}

async fn app(url: &str) -> Result<Counts, Failure> {
    // As the owner: the table, then its policies. `tenancy policies` writes the same SQL for your migrations.
    let mut owner = PgConnection::connect(url).await?;
    sqlx::raw_sql(TABLE).execute(&mut owner).await?;
    let schema = Schema::new("tenant_id")?;
    for change in RlsPolicies::new(&schema).apply(&mut owner).await?.changes() {
        println!("{}: {}\n{}\n", change.object(), change.reason(), change.sql());
    }

    // As the application. The doctor examines the database here, and a fault is an error.
    let db = TenantDb::postgres(PgPoolOptions::new(), url).schema(schema).build().await?;
    for finding in db.doctor().await?.findings() {
        println!("{}: {}", finding.check(), finding.detail());
    }

    let plans = Catalog::from_toml("version = 1\n[plans.free]")?;
    let directory = TenantDirectory::new(Arc::new(MemoryStore::new()), plans);
    let mut counts = Vec::new();
    for (name, orders) in [("acme", 3), ("globex", 2)] {
        let tenant = directory.store().insert(NewTenant::active(name, "free")?).await?;
        let ctx = directory.context(tenant.id(), Actor::system("example")).await?;
        let orders: Vec<Order> = (0..orders).map(|id| Order { id, total: 100 }).collect();
        Order::insert_many(&db.scope(&ctx), &orders).await?;
        counts.push(Order::count(&db.scope(&ctx)).await?);
    }
    let without_a_tenant = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&mut owner).await?;
    Ok(Counts { acme: counts[0], globex: counts[1], without_a_tenant })
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL, of an empty database on PostgreSQL");
    println!("{:#?}", app(&url).await?);
    Ok(())
}

#[cfg(test)]
#[path = "support/postgres.rs"]
mod support;

#[tokio::test]
async fn a_query_without_a_tenant_reads_nothing() {
    let database = support::FreshDatabase::new().await;
    let expected = Counts { acme: 3, globex: 2, without_a_tenant: 0 };
    assert_eq!(app(&database.url).await.unwrap(), expected);
}
