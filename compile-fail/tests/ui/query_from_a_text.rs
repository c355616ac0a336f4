//! No constructor of a query takes a text, except `unchecked_for_macros_only`.

fn run(scope: &tenancy::scope::Scope<'_, sqlx::Sqlite>) {
    static TEXTS: tenancy::scope::query::Variants = tenancy::scope::query::Variants {
        texts: &[(tenancy::scope::Dialect::Sqlite, "DELETE FROM orders")],
        tenant: false,
        writes: true,
    };
    let _ = tenancy::scope::query::Query::<_, ()>::new(scope, &TEXTS);
    let _ = tenancy::scope::query::CheckedQuery::new(scope, (), false, tenancy::scope::Dialect::Sqlite);
}

fn main() {}
