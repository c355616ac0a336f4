use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(pool: &sqlx::SqlitePool) {
    let _ = Order::count(pool).await;
}

fn main() {}
