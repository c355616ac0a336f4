//! The derive rejects the tables of the library, in any schema and any letter case.

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
