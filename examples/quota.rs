//! A gauge that concurrent requests cannot exceed, on SQLite in memory: `cargo run --example quota`.

use std::sync::Arc;

use sqlx::Sqlite;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::quota::{Gauge, Usage};
use tenancy::scope::sqlite_in_memory;
use tenancy::{TenantContext, TenantDb, TenantScoped, plan::Catalog, store::SqlStore, tenant::NewTenant};

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

const TABLE: &str = "CREATE TABLE projects (tenant_id BLOB, id INTEGER, PRIMARY KEY (tenant_id, id))";

const PROJECTS: Gauge = Gauge::new("projects");

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "projects")]
struct Project {
    #[tenant(id)]
    id: i64,
}

/// The gauge and the row commit together, or neither does.
async fn create(db: &TenantDb<Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<Usage> {
    let mut tx = db.begin(ctx).await?;
    let usage = PROJECTS.acquire(&mut tx, 1).await?;
    Project::insert(&mut tx, &Project { id }).await?;
    tx.commit().await?;
    Ok(usage)
}

/// Releases the gauge by the number of deleted rows: by none for an id that does not exist.
async fn delete(db: &TenantDb<Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<Usage> {
    let mut tx = db.begin(ctx).await?;
    let deleted = Project::delete(&mut tx, id).await?;
    let usage = PROJECTS.release(&mut tx, deleted).await?;
    tx.commit().await?;
    Ok(usage)
}

/// The data plane, and a context of each of two tenants on the plan `free`.
async fn app() -> tenancy::Result<(TenantDb<Sqlite>, [TenantContext; 2])> {
    let pool = sqlite_in_memory(TABLE).await?;
    let store = SqlStore::new(pool.clone());
    store.migrate().await?; // creates `tenancy_gauges`
    let directory = TenantDirectory::new(Arc::new(store), Catalog::from_toml(PLANS)?);
    let acme = directory.store().insert(NewTenant::active("acme", "free")?).await?;
    let globex = directory.store().insert(NewTenant::active("globex", "free")?).await?;
    let acme = directory.context(acme.id(), Actor::user("ada")).await?;
    let globex = directory.context(globex.id(), Actor::user("bob")).await?;
    Ok((TenantDb::from_pool(pool).build().await?, [acme, globex]))
}

#[tokio::main]
async fn main() -> tenancy::Result<()> {
    let (db, [ctx, _]) = app().await?;
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

#[tokio::test]
async fn three_of_ten_concurrent_requests_of_a_tenant_succeed() {
    let (db, [acme, globex]) = app().await.unwrap();
    let all = futures_util::future::join_all((1..=10).map(|id| create(&db, &acme, id))).await;
    assert_eq!(all.iter().filter(|created| created.is_ok()).count(), 3);
    let full = all.into_iter().find_map(Result::err).unwrap();
    assert_eq!(full.kind(), tenancy::ErrorKind::LimitReached);
    assert_eq!(full.plan_denial().unwrap().upgrade_url.as_deref(), Some("/billing"));
    assert_eq!(Project::count(&db.scope(&acme)).await.unwrap(), 3);
    assert_eq!(delete(&db, &acme, 99).await.unwrap().used, 3, "there is no such project");
    assert_eq!(create(&db, &globex, 1).await.unwrap().used, 1, "a gauge of its own");
}
