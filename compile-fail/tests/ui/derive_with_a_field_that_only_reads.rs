use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    #[sqlx(json)]
    lines: Vec<String>,
}

fn main() {}
