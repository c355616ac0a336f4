async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let _ = tenancy::quota::Gauge::new("projects").acquire(&db.scope(ctx), 1).await;
}

fn main() {}
