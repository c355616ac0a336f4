use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    #[tenant(soft_delete)]
    deleted_at: i64,
    #[tenant(soft_delete)]
    gone_at: Option<i64>,
}

fn main() {}
