use tenancy::TenantScoped;
use tenancy::scope::row::ForeignKey;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "customers")]
struct Customer {
    #[tenant(id)]
    id: i64,
    name: String,
}

#[derive(serde::Deserialize)]
struct NewOrder {
    customer: ForeignKey<Customer>,
}

fn main() {}
