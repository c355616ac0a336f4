//! The databases that statements are written for.

/// The database that a text is written for.
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

    /// How many values a statement can have.
    pub const fn most_binds(self) -> usize {
        match self {
            Self::Postgres | Self::MySql => 65_535,
            Self::Sqlite => 32_766,
        }
    }

    /// A name, quoted so that it can only be read as a name.
    ///
    /// SQLite takes a double-quoted name that no column has for a *string*, so a misspelt tenant column would
    /// silently compare two texts; backticks are only ever names.
    pub(crate) fn quote(self, name: &str) -> String {
        match self {
            Self::Postgres => format!("\"{name}\""),
            Self::Sqlite | Self::MySql => format!("`{name}`"),
        }
    }
}
