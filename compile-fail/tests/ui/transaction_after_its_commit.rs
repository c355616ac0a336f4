use tenancy::TenantScoped;

#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: i64,
    status: String,
}

async fn handler(db: &tenancy::TenantDb<sqlx::Sqlite>, ctx: &tenancy::TenantContext) -> tenancy::Result<()> {
    let mut tx = db.begin(ctx).await?;
    tx.commit().await?;
    let _ = Order::find(&mut tx, 7).await?;
    Ok(())
}

fn main() {}
