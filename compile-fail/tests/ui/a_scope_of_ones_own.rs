struct Everything;

impl tenancy::scope::Scoped for Everything {
    type Database = sqlx::Sqlite;
}

fn main() {}
