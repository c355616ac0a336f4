use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) {
    let scope = db.scope(ctx);
    let _ = Order::find(scope, 7).await;
}

fn main() {}
