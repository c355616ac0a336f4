use tenancy::TenantScoped;
use tenancy::scope::Ref;
use tenancy::tenant::TenantId;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "customers")]
struct Customer {
    #[tenant(id)]
    id: i64,
    name: String,
}

fn forged(id: i64, tenant: TenantId) -> [Ref<Customer>; 2] {
    [Ref::new(id, tenant), id.into()]
}

fn main() {}
