use tenancy::TenantScoped;

#[derive(TenantScoped)]
struct Order {
    id: i64,
    tenant_id: i64,
}

fn main() {}
