use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
    customer_id: i64,
}

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "customers")]
struct Customer {
    #[tenant(id)]
    id: i64,
    name: String,
}

fn main() {
    let _ = Order::select().filter(Order::STATUS.eq("open").and(Customer::NAME.eq("Ada")));
    let _ = Order::select().filter(Customer::NAME.eq("Ada"));
    let _ = Order::select().order_by(Customer::NAME.asc());
}
