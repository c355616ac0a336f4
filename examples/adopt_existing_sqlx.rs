//! An application that was written for one customer gets its second one: its tables get the tenant column, its keys
//! and policies are generated, and its functions run unchanged on a scope.
//!
//! `DATABASE_URL=postgres://app@localhost/empty_database cargo run --example adopt_existing_sqlx`
//!
//! `docs/how-to/adopt-an-sqlx-application.md` does the same with the roles and migrations of a production database.
#![allow(clippy::print_stdout, reason = "the program prints what it changed")]

use std::sync::Arc;

use sqlx::postgres::{PgConnection, PgExecutor, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::isolation::RlsPolicies;
use tenancy::scope::Schema;
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantStatus};
use tenancy::{TenantContext, TenantDb, plan::Catalog};

type Failure = Box<dyn std::error::Error>;

// ---- The application as it was: nothing here knows of tenants. ----

const TABLES: &str = "
    CREATE TABLE customers (id bigint PRIMARY KEY, email text NOT NULL UNIQUE);
    CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers, total bigint NOT NULL);
    INSERT INTO customers VALUES (1, 'ann@example.com');
    INSERT INTO orders VALUES (1, 1, 100), (2, 1, 50)";

async fn register(db: impl PgExecutor<'_>, id: i64, email: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO customers (id, email) VALUES ($1, $2) ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id",
    )
    .bind(id)
    .bind(email)
    .fetch_one(db)
    .await
}

async fn totals(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, i64)>> {
    let sql = "SELECT c.email, sum(o.total)::bigint FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.id";
    sqlx::query_as(sql).fetch_all(db).await
}

// ---- What is new. ----

/// The tenants, and the rows of the first one: all that there were before.
async fn app(url: &str) -> Result<(TenantDb<sqlx::Postgres>, [TenantContext; 2]), Failure> {
    let mut owner = PgConnection::connect(url).await?;
    sqlx::raw_sql(TABLES).execute(&mut owner).await?;
    assert_eq!(totals(&mut owner).await?, [("ann@example.com".to_owned(), 150)]);

    let catalog = Catalog::from_toml("version = 1\n[features]\n[plans.free]\nfeatures = {}")?;
    let directory = TenantDirectory::new(Arc::new(MemoryStore::new()), Arc::new(catalog));
    let mut contexts = Vec::new();
    for name in ["first", "second"] {
        let tenant = NewTenant::new(Slug::parse(name)?, name, "free").status(TenantStatus::Active);
        let tenant = directory.store().insert(tenant).await?;
        contexts.push(directory.context(tenant.id(), Actor::system("example")).await?);
    }

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

    let db = TenantDb::postgres(PgPoolOptions::new(), url).schema(schema).build().await?;
    Ok((db, contexts.try_into().expect("there are two")))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url =
        std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to an empty database on PostgreSQL")?;
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
