fn main() {
    let _: tenancy::tenant::TenantId = "acme".into();
}
