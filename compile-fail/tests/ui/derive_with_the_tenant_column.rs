use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    tenant_id: i64,
}

fn main() {}
