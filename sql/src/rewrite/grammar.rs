//! The parser's grammar for each database.

use super::sqlite_grammar::SqliteGrammar;
use crate::dialect::Dialect;
use sqlparser::dialect::{self, Dialect as Grammar};
use sqlparser::parser::{Parser, ParserOptions};
use sqlparser::tokenizer::TokenWithSpan;

pub(super) fn grammar(dialect: Dialect) -> &'static dyn Grammar {
    match dialect {
        Dialect::Postgres => &dialect::PostgreSqlDialect {},
        Dialect::Sqlite => &SqliteGrammar(dialect::SQLiteDialect {}),
        Dialect::MySql => &dialect::MySqlDialect {},
    }
}

pub(super) fn parser(dialect: Dialect, tokens: Vec<TokenWithSpan>, recursion: usize) -> Parser<'static> {
    Parser::new(grammar(dialect))
        .with_recursion_limit(recursion)
        .with_options(ParserOptions::new().with_unescape(false))
        .with_tokens_with_locations(tokens)
}
