async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query!(&scope, "DELETE FROM tenancy_audit_events").execute().await;
}

fn main() {}
