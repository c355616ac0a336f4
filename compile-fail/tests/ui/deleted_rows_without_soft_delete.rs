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
    let _ = Order::select().with_deleted();
}
