struct Order;

async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let _ = <Order as tenancy::TenantScoped>::count(&db.scope(ctx)).await;
}

fn main() {}
