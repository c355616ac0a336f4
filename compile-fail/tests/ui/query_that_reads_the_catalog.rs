async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query!(&scope, "SELECT * FROM pg_catalog.pg_stats").execute().await;
}

fn main() {}
