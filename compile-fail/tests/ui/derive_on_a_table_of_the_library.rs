//! What is written for tenants by the crate itself is not reached by a struct, whatever its schema and its case.

#[derive(tenancy::TenantScoped, sqlx::FromRow)]
#[tenant(table = "tenancy_gauges")]
struct Gauges {
    #[tenant(id)]
    feature: String,
    used: i64,
}

#[derive(tenancy::TenantScoped, sqlx::FromRow)]
#[tenant(table = "shop.TENANCY_audit_events")]
struct Event {
    #[tenant(id)]
    id: String,
}

#[derive(tenancy::TenantScoped, sqlx::FromRow)]
#[tenant(table = "__tnt_orders")]
struct Order {
    #[tenant(id)]
    id: i64,
}

fn main() {}
