use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders", shared)]
struct Order {
    #[tenant(id, unique)]
    id: i64,
}

fn main() {}
