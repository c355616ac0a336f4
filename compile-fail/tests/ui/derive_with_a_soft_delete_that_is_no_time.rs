use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    #[tenant(soft_delete)]
    deleted_at: Option<i64>,
}

fn main() {}
