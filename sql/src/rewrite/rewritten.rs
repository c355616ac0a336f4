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
    /// The statement to run, the same for all tenants.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What to bind, in order.
    ///
    /// On Postgres and SQLite these are the caller's parameters and then the tenant; on MySQL they follow the
    /// text, in which a parameter can stand more than once. Without [`Bind::Tenant`] the statement reads no
    /// tenant's table.
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// The tables that are read or written, as the database names them, each once.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Whether nothing is written and nothing locked.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Proves the text once more, from the text and the binds alone. [`rewrite`] has done so before it printed
    /// the places of the parameters; this is for those who test it.
    #[doc(hidden)]
    pub fn reprove(&self, dialect: Dialect, schema: &Schema) -> Result<(), String> {
        let again = || {
            let ((statement, targets), tenant) = self.reread(dialect, schema)?;
            prove::prove(dialect, schema, &statement, &targets, &tenant)
        };
        on_deep_stack(again).map_err(|e| e.to_string())?
    }

    /// The text as the second pass reads it, and the tenant's parameter in it.
    pub(super) fn reread(
        &self,
        dialect: Dialect,
        schema: &Schema,
    ) -> Result<((Statement, Vec<ConflictKey>), Expr), String> {
        let mut tokens = tokens(dialect, &self.text).map_err(|refused| refused.to_string())?;
        let values = self.binds.iter().map(|bind| if let Bind::Value(n) = bind { *n } else { 0 });
        let last = values.max().unwrap_or(0) + 1;
        if dialect == Dialect::MySql {
            let mut binds = self.binds.iter();
            for token in tokens.iter_mut().filter(|token| matches!(token.token, Token::Placeholder(_))) {
                token.token = Token::Placeholder(match binds.next() {
                    Some(Bind::Value(n)) => placeholder(dialect, *n),
                    Some(Bind::Tenant) => placeholder(dialect, last),
                    None => return Err("a parameter that nothing is bound to".to_owned()),
                });
            }
            if binds.next().is_some() {
                return Err("a value that has no place".to_owned());
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
