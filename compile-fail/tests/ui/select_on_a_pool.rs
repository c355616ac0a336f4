use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
    customer_id: i64,
}

async fn handler(pool: &sqlx::SqlitePool) {
    let _ = Order::select().filter(Order::STATUS.eq("open")).count(pool).await;
}

fn main() {}
