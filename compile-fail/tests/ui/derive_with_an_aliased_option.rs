use tenancy::TenantScoped;

type Note = Option<String>;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    note: Note,
}

fn main() {}
