async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = tenancy::query!(
        &scope,
        "SELECT o.id
         FROM orders o
         WHERE o.id = dblink('select 1')"
    ).execute().await;
}

fn main() {}
