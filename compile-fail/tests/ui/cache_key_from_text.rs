async fn cached(redis: tenancy::namespace::redis::TenantRedis) {
    let _ = redis.get("order:42").await;
}

fn main() {}
