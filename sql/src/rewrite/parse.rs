//! Tokens to statements.

use super::conflict::{self, ConflictKey};
use super::grammar::parser;
use super::locks;
use super::stack::with_stack;
use super::text::ScannedText;
use crate::dialect::Dialect;
use crate::rejection::{Code, Rejection, explain};
use sqlparser::ast::Statement;
use sqlparser::tokenizer::{Span, TokenWithSpan};

/// The parser's recursion limit, and its limit for the printed text, which guards make deeper.
pub(super) const RECURSION: usize = 40;

pub(super) const GUARDED_RECURSION: usize = 2 * RECURSION;

/// Parses the statements, and the conflict targets apart from them.
pub(super) fn parse(
    dialect: Dialect,
    tokens: Vec<TokenWithSpan>,
    recursion: usize,
) -> Result<(Vec<Statement>, Vec<ConflictKey>), String> {
    let tokens = conflict::separate(locks::replace(dialect, tokens));
    conflict::take(dialect, tokens, recursion)
        .and_then(|(tokens, targets)| Ok((parser(dialect, tokens, recursion).parse_statements()?, targets)))
        .map_err(|e| e.to_string())
}

/// Parses the statements of a text that is not rewritten.
pub(super) fn statements_of(
    dialect: Dialect,
    sql: &str,
    text: ScannedText,
) -> Result<Vec<Statement>, Rejection> {
    with_stack(sql, || {
        parse(dialect, text.tokens, RECURSION).map(|(statements, _)| statements).map_err(|why| {
            let help = simpler(&why);
            Rejection::new(Code::Syntax, sql, (1, 1, 1), explain(why, help))
        })
    })
}

/// How to write a text that the parser cannot read, by its message.
pub(super) fn simpler(why: &str) -> &'static str {
    // `UPDATE t SET prefs['color'] = ..`
    if why.contains("Expected: =, found: [") {
        return "assign the whole value: `prefs = jsonb_set(prefs, '{color}', $1)`, or of an array `list = list[:$1 - 1] || ARRAY[$2] || list[$1 + 1:]`";
    }
    // Other databases' parameters, on PostgreSQL, which has an operator of this sign.
    if why.contains("found: ? at ") {
        return "write parameters as `$1`, `$2`: PostgreSQL has no `?`; if the statement is for SQLite or MySQL, name that under `dialects` in tenancy.toml";
    }
    "write it in the database's syntax, or in a simpler form"
}

pub(super) fn is_too_deep(why: &str) -> bool {
    why.contains("recursion limit exceeded")
}

/// The position at the end of a message of the parser.
pub(super) fn located(why: &str) -> Option<Span> {
    let (_, at) = why.rsplit_once(" at Line: ")?;
    let (line, column) = at.split_once(", Column: ")?;
    let start = sqlparser::tokenizer::Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?);
    Some(Span::new(start, start))
}
