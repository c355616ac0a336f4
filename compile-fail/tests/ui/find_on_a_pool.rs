use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(pool: &sqlx::SqlitePool) {
    let _ = Order::find(pool, 7).await;
}

fn main() {}
