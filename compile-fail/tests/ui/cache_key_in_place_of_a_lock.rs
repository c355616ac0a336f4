use std::time::Duration;

use tenancy::TenantContext;
use tenancy::namespace::redis::TenantRedis;

async fn locked(redis: TenantRedis, ctx: TenantContext) -> tenancy::Result<()> {
    let _ = redis.lock(&ctx.key("import")?, Duration::from_secs(60)).await?;
    Ok(())
}

fn main() {}
