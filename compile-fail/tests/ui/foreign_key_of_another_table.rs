use tenancy::TenantScoped;
use tenancy::scope::row::ForeignKey;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "customers")]
struct Customer {
    #[tenant(id)]
    id: i64,
    name: String,
}

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
    customer: ForeignKey<Customer>,
}

async fn handler(scope: &tenancy::scope::Scope<'_, sqlx::Sqlite>) -> tenancy::Result<()> {
    let Some(customer) = Order::reference(scope, 7).await? else { return Ok(()) };
    Order::insert(scope, &Order { id: 8, status: "open".to_owned(), customer }).await
}

fn main() {}
