use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders; DROP TABLE orders")]
struct Order {
    #[tenant(id)]
    id: i64,
}

fn main() {}
