fn main() {
    let _: tenancy::TenantContext = serde_json::from_str("{}").unwrap();
}
