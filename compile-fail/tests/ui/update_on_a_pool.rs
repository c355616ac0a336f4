use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(pool: &sqlx::SqlitePool, order: Order) {
    let _ = Order::update(pool, &order).await;
}

fn main() {}
