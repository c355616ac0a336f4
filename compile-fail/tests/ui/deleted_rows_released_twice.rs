//! A `Deleted` value releases a gauge once.

async fn run(tx: &mut tenancy::scope::Tx<'_, sqlx::Sqlite>, deleted: tenancy::scope::row::Deleted) -> tenancy::Result<()> {
    let projects = tenancy::quota::Gauge::new("projects");
    projects.release(tx, deleted).await?;
    projects.release(tx, deleted).await?;
    Ok(())
}

fn main() {}
