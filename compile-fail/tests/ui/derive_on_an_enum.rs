use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders")]
enum Order {
    Open,
}

fn main() {}
