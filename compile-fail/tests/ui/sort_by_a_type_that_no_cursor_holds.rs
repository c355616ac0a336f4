use tenancy::TenantScoped;

#[derive(sqlx::Type)]
#[sqlx(transparent)]
struct Total(i64);

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    total: Total,
}

fn main() {
    let _ = Order::select().order_by(Order::TOTAL.desc());
}
