async fn handler(pool: &sqlx::SqlitePool) {
    let _ = tenancy::query!(pool, "SELECT id FROM orders").execute().await;
}

fn main() {}
