async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, id: tenancy::tenant::TenantId) {
    let _ = db.scope(&id);
}

fn main() {}
