async fn handler(db: &tenancy::TenantDb<sqlx::Postgres>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query_checked!(
        &scope,
        "SELECT o.total, c.name
         FROM orders o LEFT JOIN customers c ON c.order_id = o.id"
    ).fetch_all().await;
}

fn main() {}
