fn main() {
    let _ = tenancy::keys::Key("order:42".into());
    let _ = tenancy::keys::Key::default();
}
