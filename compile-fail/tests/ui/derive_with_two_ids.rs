use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    #[tenant(id)]
    number: i64,
}

fn main() {}
