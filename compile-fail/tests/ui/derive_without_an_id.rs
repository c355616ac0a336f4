use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders")]
struct Order {
    id: i64,
}

fn main() {}
