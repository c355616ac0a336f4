//! The databases that statements are written for.

/// The database that a statement is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// PostgreSQL 15 and later.
    Postgres,
    /// SQLite 3.35 and later.
    Sqlite,
    /// MySQL 8 and MariaDB 10.6, and later.
    MySql,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Sqlite, Self::MySql];

    /// The largest number of binds of one statement.
    pub const fn most_binds(self) -> usize {
        match self {
            Self::Postgres | Self::MySql => 65_535,
            Self::Sqlite => 32_766,
        }
    }

    /// Quotes a name so that the database can only read it as a name.
    ///
    /// SQLite reads a double-quoted name that matches no column as a *string*, so a misspelt tenant column would
    /// silently compare two strings. Backticks always quote a name.
    pub(crate) fn quote(self, name: &str) -> String {
        match self {
            Self::Postgres => format!("\"{name}\""),
            Self::Sqlite | Self::MySql => format!("`{name}`"),
        }
    }
}
