async fn handler(db: &tenancy::TenantDb<sqlx::Postgres>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query_checked!(&scope, "SELECT id FROM orders WHERE tenant_id = tenant_id OR spy(id)").fetch_all().await;
}

fn main() {}
