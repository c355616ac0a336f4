async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query!(&scope, "SELECT id FROM orders", 7_i64).execute().await;
}

fn main() {}
