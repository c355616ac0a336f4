async fn handler(pool: &sqlx::PgPool) {
    let _ = tenancy::query_checked!(pool, "SELECT id FROM orders");
}

fn main() {}
