//! An application that was written for one customer gets its second one: its tables get the tenant column, its keys
//! and policies are generated, and its functions run unchanged on a scope.
//!
//! `DATABASE_URL=postgres://app@localhost/empty_database cargo run --example adopt_existing_sqlx`
//!
//! `docs/how-to/adopt-an-sqlx-application.md` does the same with the roles and migrations of a production database.

use std::sync::Arc;

use sqlx::postgres::{PgConnection, PgExecutor, PgPoolOptions, Postgres};
use sqlx::{AssertSqlSafe, Connection};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::{TenantContext, TenantDb, isolation::RlsPolicies, plan::Catalog, scope::Schema};
use tenancy::{store::MemoryStore, tenant::NewTenant};

// ---- The application as it was: nothing here knows of tenants. ----

const TABLES: &str = "
    CREATE TABLE customers (id bigint PRIMARY KEY, email text NOT NULL UNIQUE);
    CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers, total bigint NOT NULL);
    INSERT INTO customers VALUES (1, 'ann@example.com');
    INSERT INTO orders VALUES (1, 1, 100), (2, 1, 50)";

async fn register(db: impl PgExecutor<'_>, id: i64, email: &str) -> sqlx::Result<i64> {
    let sql = "INSERT INTO customers (id, email) VALUES ($1, $2)
        ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id";
    sqlx::query_scalar(sql).bind(id).bind(email).fetch_one(db).await
}

async fn totals(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64)>> {
    let sql = "SELECT c.email, sum(o.total)::bigint FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.id";
    sqlx::query_as(sql).fetch_all(db).await
}

// ---- What is new. ----

/// The tenants, and the rows of the first one: all that there were before.
async fn app(url: &str) -> Result<(TenantDb<Postgres>, [TenantContext; 2]), Box<dyn std::error::Error>> {
    let mut owner = PgConnection::connect(url).await?;
    sqlx::raw_sql(TABLES).execute(&mut owner).await?;
    assert_eq!(totals(&mut owner).await?, [("ann@example.com".to_owned(), 150)]);

    let plans = Catalog::from_toml("version = 1\n[plans.free]")?;
    let directory = TenantDirectory::new(Arc::new(MemoryStore::new()), plans);
    let context = async |name: &str| {
        let tenant = directory.store().insert(NewTenant::active(name, "free")?).await?;
        directory.context(tenant.id(), Actor::system("example")).await
    };
    let contexts = [context("first").await?, context("second").await?];

    // The migration: the column, the first tenant in every row that is there, then keys and policies.
    for table in ["customers", "orders"] {
        let first = contexts[0].tenant_id();
        let sql = format!("ALTER TABLE {table} ADD tenant_id uuid; UPDATE {table} SET tenant_id = '{first}'");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await?;
    }
    let schema = Schema::from_toml("type = \"uuid\"")?; // in an application: the text of its tenancy.toml
    for change in RlsPolicies::new(&schema).with_keys().apply(&mut owner).await?.changes() {
        println!("{}: {}", change.object(), change.reason());
    }

    Ok((TenantDb::postgres(PgPoolOptions::new(), url).schema(schema).build().await?, contexts))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL, of an empty database on PostgreSQL");
    let (db, [first, second]) = app(&url).await?;
    let (first, second) = (db.scope(&first), db.scope(&second));
    println!("ann is customer {} of the second tenant", register(&second, 7, "ann@example.com").await?);
    println!("{:?}\n{:?}", totals(&first).await?, totals(&second).await?);
    Ok(())
}

#[cfg(test)]
#[path = "support/postgres.rs"]
mod support;

#[tokio::test]
async fn the_functions_of_the_application_run_for_each_tenant() {
    let database = support::FreshDatabase::new().await;
    let (db, [first, second]) = app(&database.url).await.unwrap();
    let (first, second) = (db.scope(&first), db.scope(&second));
    assert_eq!(totals(&first).await.unwrap(), [("ann@example.com".to_owned(), 150)]);
    assert_eq!(totals(&second).await.unwrap(), []);
    // The same id and the same address, for each tenant once.
    assert_eq!(register(&second, 1, "ann@example.com").await.unwrap(), 1);
    assert_eq!(register(&second, 2, "ann@example.com").await.unwrap(), 1);
    assert_eq!(totals(&first).await.unwrap(), [("ann@example.com".to_owned(), 150)]);
}
