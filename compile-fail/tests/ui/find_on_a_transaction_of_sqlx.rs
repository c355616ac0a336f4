use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(mut tx: sqlx::Transaction<'_, sqlx::Postgres>) {
    let _ = Order::find(&mut tx, 7).await;
}

fn main() {}
