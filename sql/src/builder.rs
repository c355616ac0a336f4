//! [`StatementBuilder`]: the text of a statement while it is built, and the number of its next value.

use std::fmt::Write;

/// The text of a statement while it is built. `$1` is the tenant.
pub(crate) struct StatementBuilder {
    sql: String,
    places: usize,
}

impl StatementBuilder {
    pub(crate) fn new(sql: String) -> Self {
        Self { sql, places: 1 }
    }

    pub(crate) fn push(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    /// The placeholder of the next bind.
    pub(crate) fn place(&mut self) -> String {
        self.places += 1;
        let mut place = String::new();
        write!(place, "${}", self.places).expect("a string takes text");
        place
    }

    pub(crate) fn into_sql(self) -> String {
        self.sql
    }
}
