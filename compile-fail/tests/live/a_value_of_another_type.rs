async fn handler(db: &tenancy::TenantDb<sqlx::Postgres>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query_checked!(&scope, "SELECT id FROM orders WHERE total > $1", "much").fetch_all().await;
}

fn main() {}
