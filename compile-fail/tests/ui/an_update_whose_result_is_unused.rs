//! The result of an update or delete cannot be discarded silently.
#![deny(unused_must_use)]

use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
}

async fn run(scope: &tenancy::scope::Scope<'_, sqlx::Sqlite>, order: Order) -> tenancy::Result<()> {
    Order::update(scope, &order).await?;
    Order::delete(scope, 7).await?;
    Order::select().delete(scope).await?;
    Ok(())
}

fn main() {}
