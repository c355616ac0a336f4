use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders")]
struct Order<T> {
    #[tenant(id)]
    id: T,
}

fn main() {}
