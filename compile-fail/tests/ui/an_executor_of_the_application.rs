struct Everything;

impl tenancy::scope::TenantExecutor for Everything {
    type Database = sqlx::Sqlite;
}

fn main() {}
