use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(ctx: &tenancy::TenantContext) {
    let _ = Order::find(ctx, 7).await;
}

fn main() {}
