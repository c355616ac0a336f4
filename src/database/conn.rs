//! [`Conn`]: a connection, and how statements are sent on it; [`TxMode`]: whether a transaction reads or writes.

use std::sync::Arc;

use sqlx::database::HasStatementCache;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::route::Route;
use super::statement_clock::{RunningStatement, StatementClock};

/// A connection, and how statements are sent on it.
#[expect(unnameable_types, reason = "part of the sealed traits")]
#[expect(clippy::struct_field_names, reason = "the connection itself has no other name")]
pub struct Conn<'c, DB: sqlx::Database> {
    pub(crate) conn: &'c mut DB::Connection,
    pub(crate) route: &'c Route,
    /// Whether the result of the last statement was not received to its end.
    pub(super) in_flight: &'c mut bool,
    /// Whether the rest of a result over the limit of rows is too large to read.
    pub(super) too_large: &'c mut bool,
    /// How many rows one statement may return.
    pub(super) max_rows: Option<u64>,
    /// The time limit of each statement, on SQLite.
    pub(super) clock: Option<&'c Arc<StatementClock>>,
}

impl<DB: sqlx::Database> Conn<'_, DB> {
    /// The same connection, borrowed for one statement.
    pub(crate) fn reborrow(&mut self) -> Conn<'_, DB> {
        Conn {
            conn: &mut *self.conn,
            in_flight: &mut *self.in_flight,
            too_large: &mut *self.too_large,
            ..*self
        }
    }

    /// Allows a page of `rows` rows the one row more that shows whether there is a next page.
    ///
    /// A page that is larger than the limit of the plan gets none: its last row would be over the limit.
    pub(crate) fn for_page_of(self, rows: u16) -> Self {
        let max_rows = self.max_rows.map(|max| if u64::from(rows) <= max { max + 1 } else { max });
        Self { max_rows, ..self }
    }

    /// Starts the time of a statement.
    pub(super) fn start(&self) -> RunningStatement {
        self.clock.map_or_else(RunningStatement::unlimited, StatementClock::start)
    }

    /// Whether prepared statements are named, so that the next execution on the connection can reuse them.
    pub(crate) fn uses_named_statements(&self) -> bool {
        self.route.connection_mode.uses_named_statements()
    }

    /// The text of a statement as it is sent.
    ///
    /// In a tenant's schema the text ends with the name of the schema, as a comment. sqlx keeps prepared statements by
    /// their text, and a statement that was prepared in one schema must not run in another: the tables of two schemas
    /// can have different columns while a migration runs.
    pub(crate) fn text(&self, sql: SqlStr) -> SqlStr {
        match self.route.labelled(sql.as_str()) {
            Some(text) => AssertSqlSafe(text).into_sql_str(),
            None => sql,
        }
    }
}

impl<DB: sqlx::Database + HasStatementCache> Conn<'_, DB> {
    /// After a statement: if PostgreSQL rejected it because the columns of its table changed, the connection forgets
    /// its prepared statements. Otherwise every later execution on this connection would fail too.
    pub(crate) async fn settle<T>(self, result: sqlx::Result<T>) -> sqlx::Result<T> {
        *self.in_flight = !matches!(result, Ok(_) | Err(sqlx::Error::Database(_)));
        if result.as_ref().is_err_and(is_stale_statement) {
            // If this fails, the connection is broken, and the next statement on it reports that.
            let _ = sqlx::Connection::clear_cached_statements(self.conn).await;
        }
        result
    }
}

/// Whether PostgreSQL rejected a prepared statement because the columns of its table changed.
fn is_stale_statement(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("0A000")
        && error.message().contains("cached plan"))
}

impl<DB: sqlx::Database> std::fmt::Debug for Conn<'_, DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("route", self.route).finish_non_exhaustive()
    }
}

/// Whether a transaction reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TxMode {
    Read,
    /// Several reads that see the database as of one moment.
    Snapshot,
    Write,
}
