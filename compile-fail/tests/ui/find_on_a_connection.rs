use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(conn: &mut sqlx::PgConnection) {
    let _ = Order::find(conn, 7).await;
}

fn main() {}
