async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query!(&scope, "TRUNCATE orders").execute().await;
}

fn main() {}
