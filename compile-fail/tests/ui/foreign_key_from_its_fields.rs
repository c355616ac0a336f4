use tenancy::TenantScoped;
use tenancy::scope::row::ForeignKey;
use tenancy::tenant::TenantId;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "customers")]
struct Customer {
    #[tenant(id)]
    id: i64,
    name: String,
}

fn forged(id: i64, tenant: TenantId) -> ForeignKey<Customer> {
    ForeignKey { id, tenant }
}

fn main() {}
