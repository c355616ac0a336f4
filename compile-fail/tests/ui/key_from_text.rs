async fn cached(redis: tenancy::keys::redis::TenantRedis) {
    let _ = redis.get("order:42").await;
}

fn main() {}
