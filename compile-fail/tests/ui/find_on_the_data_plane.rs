use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>) {
    let _ = Order::find(db, 7).await;
}

fn main() {}
