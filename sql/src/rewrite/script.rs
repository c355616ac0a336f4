//! Texts that are inspected and not rewritten: the statements of a file, and the tables that a statement names.

use super::parse::statements_of;
use super::text::read;
use super::tokens::{place, tokens};
use super::walk::{TreeVisitor, walk};
use crate::dialect::Dialect;
use crate::rejection::Rejection;
use sqlparser::ast::ObjectName;
use sqlparser::tokenizer::{Location, Token};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Splits a text, such as a file, into its statements, each with the line that it begins on.
///
/// ```
/// use tenancy_sql::{Dialect, statements};
///
/// let found = statements(Dialect::Postgres, "SELECT 1;\nSELECT 2").unwrap();
/// assert_eq!(found, [(1, "SELECT 1"), (2, "SELECT 2")]);
/// ```
///
/// # Errors
/// [`Code::Syntax`](crate::Code::Syntax) if a quotation or a comment does not end.
pub fn statements(dialect: Dialect, sql: &str) -> Result<Vec<(usize, &str)>, Rejection> {
    let tokens = tokens(dialect, sql)?;
    let lines = LineStarts::of(sql);
    let mut found = Vec::new();
    for statement in tokens.split(|token| token.token == Token::SemiColon) {
        let mut words = statement.iter().filter(|token| !matches!(token.token, Token::Whitespace(_)));
        let Some(first) = words.next() else { continue };
        let last = words.next_back().unwrap_or(first);
        let line = place(first.span).0;
        found.push((line, &sql[lines.offset(first.span.start)..lines.offset(last.span.end)]));
    }
    Ok(found)
}

/// Returns every table name of a statement as it is written, including its CTEs and the tables or views it creates.
///
/// # Errors
/// [`Code::Syntax`](crate::Code::Syntax) if it cannot be parsed.
pub fn relations(dialect: Dialect, sql: &str) -> Result<BTreeSet<String>, Rejection> {
    struct Relations(BTreeSet<String>);
    impl TreeVisitor for Relations {
        type Break = ();

        fn pre_visit_relation(&mut self, ObjectName(parts): &ObjectName) -> ControlFlow<()> {
            let parts = parts
                .iter()
                .map(|part| part.as_ident().map_or_else(|| part.to_string(), |ident| ident.value.clone()));
            self.0.insert(parts.collect::<Vec<_>>().join("."));
            ControlFlow::Continue(())
        }
    }
    let statements = statements_of(dialect, sql, read(dialect, sql)?)?;
    let mut relations = Relations(BTreeSet::new());
    let _ = walk(&statements, &mut relations);
    Ok(relations.0)
}

/// Where each line of a text begins.
struct LineStarts<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineStarts<'a> {
    fn of(sql: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(sql.match_indices('\n').map(|(at, newline)| at + newline.len()))
            .collect();
        Self { sql, starts }
    }

    fn offset(&self, at: Location) -> usize {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
        let start = self.starts.get(number(at.line)).copied().unwrap_or(self.sql.len());
        let mut chars = self.sql[start..].char_indices();
        chars.nth(number(at.column)).map_or(self.sql.len(), |(within, _)| start + within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_split_where_the_database_would_split_it() {
        let file =
            "-- a; comment\nSELECT 'ü;' AS \"a;b\"; ;\n\n  UPDATE t\nSET a = 1 -- the end\n;DELETE FROM t";
        let wanted = [(2, "SELECT 'ü;' AS \"a;b\""), (4, "UPDATE t\nSET a = 1"), (6, "DELETE FROM t")];
        assert_eq!(statements(Dialect::Postgres, file).unwrap(), wanted);
        let body = "CREATE FUNCTION f() RETURNS int AS $$ SELECT 1; $$ LANGUAGE sql";
        assert_eq!(statements(Dialect::Postgres, body).unwrap(), [(1, body)]);
        assert_eq!(statements(Dialect::Sqlite, " -- nothing").unwrap(), []);
        assert!(statements(Dialect::Postgres, "SELECT 'a").is_err());
    }
}
