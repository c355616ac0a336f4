async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let _ = tenancy::quota::Gauge::new("projects").take(&db.scope(ctx), 1).await;
}

fn main() {}
