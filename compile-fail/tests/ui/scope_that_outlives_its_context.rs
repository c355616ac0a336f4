use tenancy::scope::Scope;
use tenancy::{TenantContext, TenantDb};

fn keep(db: &'static TenantDb<sqlx::Sqlite>, ctx: TenantContext) -> Scope<'static, sqlx::Sqlite> {
    db.scope(&ctx)
}

fn main() {}
