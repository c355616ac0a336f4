use futures_util::stream::{StreamExt, empty};
use tenancy::scope::Scope;
use tenancy::{TenantContext, TenantDb};

fn keep(db: TenantDb<sqlx::Sqlite>, ctx: TenantContext) {
    let mut kept: Option<Scope<'_, sqlx::Sqlite>> = None;
    drop(db.stream(ctx, |scope| {
        kept = Some(*scope);
        empty::<()>().boxed()
    }));
}

fn main() {}
