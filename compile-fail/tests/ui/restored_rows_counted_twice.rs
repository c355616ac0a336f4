//! A `Restored` value raises a gauge once.

async fn run(tx: &mut tenancy::scope::Tx<'_, sqlx::Sqlite>, restored: tenancy::scope::row::Restored) -> tenancy::Result<()> {
    let projects = tenancy::quota::Gauge::new("projects");
    projects.acquire_restored(tx, restored).await?;
    projects.acquire_restored(tx, restored).await?;
    Ok(())
}

fn main() {}
