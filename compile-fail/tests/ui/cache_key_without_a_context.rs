fn main() {
    let _ = tenancy::namespace::CacheKey("order:42".into());
    let _ = tenancy::namespace::CacheKey::default();
}
