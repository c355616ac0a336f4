//! [`Rewritten`]: a statement that reads and writes rows of one tenant only.

use super::conflict::ConflictKey;
use super::parameters::{Bind, placeholder, tenant};
use super::parse::{GUARDED_RECURSION, parse};
use super::prove;
use super::stack::on_deep_stack;
use super::tokens::tokens;
use crate::dialect::Dialect;
use crate::schema::Schema;
use sqlparser::ast::{Expr, Statement};
use sqlparser::tokenizer::Token;

/// A statement that reads and writes rows of one tenant only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    pub(super) text: String,
    pub(super) binds: Vec<Bind>,
    pub(super) tables: Vec<String>,
    pub(super) read_only: bool,
}

impl Rewritten {
    /// Returns the statement to run. It is the same for all tenants.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the binds, in order.
    ///
    /// On Postgres and SQLite these are the caller's parameters and then the tenant. On MySQL they follow the text,
    /// in which a parameter can occur several times. Without [`Bind::Tenant`] the statement reads no tenant table.
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// Returns the tables that are read or written, as the database names them, each once.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Whether the statement writes nothing and locks nothing.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Runs the second pass again, on the text and the binds alone. [`rewrite`](super::rewrite) has run it already;
    /// this method is for tests.
    #[doc(hidden)]
    pub fn reprove(&self, dialect: Dialect, schema: &Schema) -> Result<(), String> {
        let again = || {
            let ((statement, targets), tenant) = self.reread(dialect, schema)?;
            prove::prove(dialect, schema, &statement, &targets, &tenant)
        };
        on_deep_stack(again).map_err(|e| e.to_string())?
    }

    /// Parses the text for the second pass, and returns the tenant's parameter as well.
    pub(super) fn reread(
        &self,
        dialect: Dialect,
        schema: &Schema,
    ) -> Result<((Statement, Vec<ConflictKey>), Expr), String> {
        let mut tokens = tokens(dialect, &self.text).map_err(|rejected| rejected.to_string())?;
        let values = self.binds.iter().map(|bind| if let Bind::Value(n) = bind { *n } else { 0 });
        let last = values.max().unwrap_or(0) + 1;
        if dialect == Dialect::MySql {
            let mut binds = self.binds.iter();
            for token in tokens.iter_mut().filter(|token| matches!(token.token, Token::Placeholder(_))) {
                token.token = Token::Placeholder(match binds.next() {
                    Some(Bind::Value(n)) => placeholder(dialect, *n),
                    Some(Bind::Tenant) => placeholder(dialect, last),
                    None => return Err("a parameter without a bind".to_owned()),
                });
            }
            if binds.next().is_some() {
                return Err("a bind without a parameter".to_owned());
            }
        }
        if dialect == Dialect::Sqlite {
            let mut counted = 0;
            for token in &mut tokens {
                let Token::Placeholder(mark) = &token.token else { continue };
                counted += usize::from(mark == "?");
                let n = if mark == "?" { counted.to_string() } else { mark[1..].to_owned() };
                token.token = Token::Placeholder(format!("?{n}"));
            }
        }
        let (statements, targets) = parse(dialect, tokens, GUARDED_RECURSION)?;
        match <[Statement; 1]>::try_from(statements) {
            Ok([statement]) => Ok(((statement, targets), tenant(dialect, schema, last))),
            Err(statements) => Err(format!("{} statements", statements.len())),
        }
    }
}
