use tenancy::TenantScoped;

#[derive(TenantScoped)]
#[tenant(table = "orders", column = "org_id")]
struct Order {
    #[tenant(id)]
    id: i64,
    #[sqlx(rename = "org_id")]
    owner: i64,
}

fn main() {}
