//! A gauge that concurrent requests cannot exceed, on SQLite in memory: `cargo run --example quota`.
#![allow(clippy::print_stdout, reason = "the program prints what happens")]

use std::sync::Arc;

use sqlx::sqlite::{Sqlite, SqlitePoolOptions};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::quota::{Gauge, Usage};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Slug, TenantStatus};
use tenancy::{TenantContext, TenantDb, TenantScoped};

const PLANS: &str = r#"
version = 1
upgrade_url = "/billing"
[features]
projects = { kind = "gauge", unit = "projects" }
[plans.free]
features = { projects = 3 }
[plans.pro]
features = { projects = "unlimited" }
"#;

const PROJECTS: Gauge = Gauge::new("projects");

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "projects")]
struct Project {
    #[tenant(id)]
    id: i64,
}

/// The place and the row are kept together, or neither is.
async fn create(db: &TenantDb<Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<Usage> {
    let mut tx = db.begin(ctx).await?;
    let usage = PROJECTS.acquire(&mut tx, 1).await?;
    Project::insert(&mut tx, &Project { id }).await?;
    tx.commit().await?;
    Ok(usage)
}

/// Gives back as many places as rows were deleted: none for an id that does not exist.
async fn delete(db: &TenantDb<Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<Usage> {
    let mut tx = db.begin(ctx).await?;
    let deleted = Project::delete(&mut tx, id).await?;
    let usage = PROJECTS.release(&mut tx, deleted).await?;
    tx.commit().await?;
    Ok(usage)
}

/// The data plane, and a context of a tenant on the plan `free`.
async fn app() -> Result<(TenantDb<Sqlite>, TenantContext), Box<dyn std::error::Error>> {
    let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = one.connect("sqlite::memory:").await?;
    let table =
        "CREATE TABLE projects (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (tenant_id, id))";
    sqlx::query(table).execute(&pool).await?;
    let store = SqlStore::new(pool.clone());
    store.migrate().await?; // makes `tenancy_gauges`
    let directory = TenantDirectory::new(Arc::new(store), Arc::new(Catalog::from_toml(PLANS)?));
    let acme = NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active);
    let acme = directory.store().insert(acme).await?;
    let ctx = directory.context(acme.id(), Actor::user("ada")).await?;
    Ok((TenantDb::from_pool(pool).build().await?, ctx))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (db, ctx) = app().await?;
    for id in 1..=4 {
        match create(&db, &ctx, id).await {
            Ok(usage) => println!("created {id}: {} of {} projects", usage.used, usage.limit),
            Err(error) => println!("not created {id}: {error}; {:?}", error.plan_denial()),
        }
    }
    let usage = delete(&db, &ctx, 2).await?;
    println!("deleted 2: {} of {} projects", usage.used, usage.limit);
    Ok(())
}

#[cfg(test)]
mod tests {
    use tenancy::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn of_ten_requests_at_once_three_get_a_place() {
        let (db, ctx) = app().await.unwrap();
        let all = futures_util::future::join_all((1..=10).map(|id| create(&db, &ctx, id))).await;
        assert_eq!(all.iter().filter(|created| created.is_ok()).count(), 3);
        let full = all.into_iter().find_map(Result::err).unwrap();
        assert_eq!(full.kind(), ErrorKind::LimitReached);
        assert_eq!(full.plan_denial().unwrap().upgrade_url.as_deref(), Some("/billing"));
        assert_eq!(Project::count(&db.scope(&ctx)).await.unwrap(), 3);
        assert_eq!(delete(&db, &ctx, 99).await.unwrap().used, 3, "there is no such project");
    }
}
