fn named(ctx: &tenancy::TenantContext, id: u64) {
    let _ = ctx.key(id);
}

fn main() {}
