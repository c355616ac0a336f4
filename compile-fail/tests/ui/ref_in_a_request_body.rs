use tenancy::TenantScoped;
use tenancy::scope::Ref;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "customers")]
struct Customer {
    #[tenant(id)]
    id: i64,
    name: String,
}

#[derive(serde::Deserialize)]
struct NewOrder {
    customer: Ref<Customer>,
}

fn main() {}
