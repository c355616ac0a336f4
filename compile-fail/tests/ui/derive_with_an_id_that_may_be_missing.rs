use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: Option<i64>,
}

fn main() {}
