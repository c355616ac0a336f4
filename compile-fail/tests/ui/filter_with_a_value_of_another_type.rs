use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
    customer_id: i64,
}

fn main() {
    let _ = Order::select().filter(Order::CUSTOMER_ID.eq("7"));
    let _ = Order::select().filter(Order::CUSTOMER_ID.starts_with("7"));
}
