async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query!(&scope, "SELECT set_config('app.tenant_id', 'x', false)").execute().await;
}

fn main() {}
