async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query!(&scope, "INSERT INTO orders (tenant_id, id) VALUES ($1, $2)", 1_i64, 2_i64).execute().await;
}

fn main() {}
