use tenancy::TenantScoped;

#[derive(TenantScoped)]
struct Order {
    #[tenant(id)]
    id: i64,
}

fn main() {}
