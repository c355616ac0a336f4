use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(pool: &sqlx::SqlitePool) {
    let _ = Order::list(pool, tenancy::scope::select::PageRequest::first(10)).await;
}

fn main() {}
