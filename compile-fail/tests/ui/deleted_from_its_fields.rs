//! Only a delete makes a `Deleted` value.

fn run(scope: &tenancy::scope::Scope<'_, sqlx::Sqlite>) {
    let _ = tenancy::scope::row::Deleted { rows: 3, tenant: scope.context().tenant_id().clone() };
}

fn main() {}
