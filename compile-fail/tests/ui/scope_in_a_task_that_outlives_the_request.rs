use tenancy::{TenantContext, TenantDb};

async fn handler(db: TenantDb<sqlx::Sqlite>, ctx: TenantContext) {
    let scope = db.scope(&ctx);
    tokio::spawn(ctx.in_span(async move { println!("{:?}", scope.context()) }));
}

fn main() {}
