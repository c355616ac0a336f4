#[derive(serde::Deserialize)]
struct Body {
    tenant_id: tenancy::tenant::TenantId,
}

fn main() {}
