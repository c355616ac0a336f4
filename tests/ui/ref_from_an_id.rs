use tenancy::TenantScoped;
use tenancy::scope::Ref;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "customers")]
struct Customer {
    #[tenant(id)]
    id: i64,
    name: String,
}

fn forged(id: i64) -> [Ref<Customer>; 3] {
    [Ref { id, tenant: todo!() }, Ref::new(id, todo!()), id.into()]
}

fn main() {}
