use tenancy::{TenantContext, TenantDb};

async fn handler(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext) -> tenancy::Result<()> {
    let tx = db.begin(ctx).await?;
    tokio::spawn(async move { tx.commit().await });
    Ok(())
}

fn main() {}
