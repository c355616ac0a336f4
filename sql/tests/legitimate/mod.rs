//! Statements that services write, with their tables, for each database.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(unreachable_pub, reason = "this is not a library")]

use tenancy_sql::{Dialect, Schema, statements};

/// The statements of one database.
pub struct Corpus {
    pub dialect: Dialect,
    pub tables: &'static str,
    statements: &'static str,
}

pub const CORPORA: [Corpus; 3] = [
    Corpus {
        dialect: Dialect::Postgres,
        tables: include_str!("postgres_tables.sql"),
        statements: include_str!("postgres.sql"),
    },
    Corpus {
        dialect: Dialect::Sqlite,
        tables: include_str!("sqlite_tables.sql"),
        statements: include_str!("sqlite.sql"),
    },
    Corpus {
        dialect: Dialect::MySql,
        tables: include_str!("mysql_tables.sql"),
        statements: include_str!("mysql.sql"),
    },
];

impl Corpus {
    pub fn statements(&self) -> Vec<&'static str> {
        let found = statements(self.dialect, self.statements).expect("the file can be read");
        found.into_iter().map(|(_, sql)| sql).collect()
    }
}

/// What the service declares in its `tenancy.toml`.
pub fn schema() -> Schema {
    Schema::from_toml(
        r#"
        type = "bigint"
        columns = { tenants = "id" }
        shared = ["countries"]
        composite_types = { address = ["street", "city"] }
        "#,
    )
    .unwrap()
}
