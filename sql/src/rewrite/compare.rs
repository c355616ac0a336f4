//! Compares the written text with the printed text, token by token, without the parser.
//!
//! Both passes use one parser, so if it misreads a literal or drops a word, both miss it. This comparison uses a
//! lexer of its own. It finds a literal, an operator or a word that was lost, changed or added. It does not find a
//! change of the structure: another precedence, or swapped arguments.

use super::identifiers::RESERVED;
use super::lexer::{Lexeme, lex};
use crate::dialect::Dialect;
use crate::schema::Schema;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Words of guards, and optional words that the printer adds.
const ADDED: [&str; 20] = [
    "SELECT", "FROM", "AS", "WHERE", "AND", "TRUE", "CASE", "WHEN", "THEN", "ELSE", "END", "UUID", "BIGINT",
    "TEXT", "ASC", "INNER", "OUTER", "INTO", "ROWS", "ROW",
];

/// The optional words, which the printer may also drop.
const DROPPED: [&str; 7] = ["AS", "ASC", "INNER", "OUTER", "INTO", "ROWS", "ROW"];

const ADDED_OPERATORS: [&str; 3] = ["=", "*", "::"];

/// Returns the first difference that no guard explains. `dropped` are the words that were removed: schemas before
/// columns, and DEFAULT before VALUES.
pub(super) fn compare(
    dialect: Dialect,
    schema: &Schema,
    written: &str,
    printed: &str,
    mut dropped: Vec<String>,
) -> Result<(), String> {
    let (words, printed) = (lex(dialect, written), lex(dialect, printed));
    let (mut before, mut after) = unmatched(&words, &printed);
    before.sort_unstable();
    after.sort_unstable();
    let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        match (before.peek(), after.peek()) {
            (None, None) => return Ok(()),
            (Some(one), Some(other)) if one == other => {
                before.next();
                after.next();
            }
            (Some(lost), other) if other.is_none_or(|other| lost < other) => {
                let left_out = match lost {
                    Lexeme::Word(word) if DROPPED.contains(&&**word) => true,
                    Lexeme::Word(name) | Lexeme::Name(name) => {
                        let at = dropped.iter().position(|schema| schema.eq_ignore_ascii_case(name));
                        at.map(|at| dropped.swap_remove(at)).is_some()
                    }
                    _ => false,
                };
                if !left_out {
                    return Err(format!("the rewritten text would lose {}", shown(lost)));
                }
                before.next();
            }
            (_, Some(made)) => {
                let known = match made {
                    Lexeme::Operator(operator) => ADDED_OPERATORS.contains(&&**operator),
                    Lexeme::Word(word) => {
                        ADDED.contains(&&**word)
                            || is_ours(schema, word)
                            || (words.contains(made) && !is_operator(dialect, word))
                    }
                    Lexeme::Name(name) => {
                        // `"user"` is the name that `user` is without quotes.
                        let unquoted = Lexeme::Word(name.to_ascii_uppercase());
                        let same = dialect == Dialect::Postgres
                            && *name == name.to_ascii_lowercase()
                            && words.contains(&unquoted);
                        is_ours(schema, name) || words.contains(made) || same
                    }
                    Lexeme::Number(_) | Lexeme::Text(_) => false,
                };
                if !known {
                    return Err(format!("the rewritten text would add {}", shown(made)));
                }
                after.next();
            }
            (Some(_), None) => return Err("the rewritten text would have other words".to_owned()),
        }
    }
}

/// The lexemes of each text without those that are in both, as far as these are in the same order. Most are, so that few
/// have to be sorted.
fn unmatched<'a>(written: &'a [Lexeme], printed: &'a [Lexeme]) -> (Vec<&'a Lexeme>, Vec<&'a Lexeme>) {
    let (mut lost, mut made) = (Vec::new(), Vec::new());
    let mut rest = written;
    for lexeme in printed {
        match rest {
            [one, after @ ..] if one == lexeme => rest = after,
            [dropped, one, after @ ..] if one == lexeme => {
                lost.push(dropped);
                rest = after;
            }
            _ => made.push(lexeme),
        }
    }
    lost.extend(rest);
    (lost, made)
}

/// Whether this is a tenant column, or a name that guards have.
fn is_ours(schema: &Schema, name: &str) -> bool {
    name.to_ascii_lowercase().starts_with(RESERVED) || schema.is_tenant_column(name)
}

/// Keywords that no guard adds, although guards repeat names. On MySQL guards repeat the locks of their query.
fn is_operator(dialect: Dialect, word: &str) -> bool {
    const LOCKS: [&str; 6] = ["FOR", "UPDATE", "SHARE", "SKIP", "LOCKED", "NOWAIT"];
    const WORDS: &str = "
        ALL ANY ARRAY ASC BETWEEN BINARY BY CAST COLLATE CONFLICT CONVERT CROSS CUBE DEFAULT DELETE DESC DISTINCT DIV DO
        ESCAPE EXCEPT EXISTS EXTRACT FALSE FETCH FILTER FIRST FOR FULL GLOB GROUP GROUPING HAVING ILIKE IN INSERT INTERSECT
        INTERVAL IS JOIN LAST LATERAL LEFT LIKE LIMIT LOCKED MATCH MATCHED MERGE MOD NATURAL NEXT NOT NOTHING NOWAIT NULL
        NULLS OFFSET ON ONLY OR ORDER OVER PARTITION PRECEDING RANGE RECURSIVE REGEXP RETURNING RIGHT RLIKE ROLLUP SET SETS
        SHARE SIMILAR SKIP SOME TABLESAMPLE TIES UNION UPDATE USING VALUES WINDOW WITH WITHIN XOR
    ";
    static SET: LazyLock<HashSet<&str>> = LazyLock::new(|| WORDS.split_whitespace().collect());
    let locks = dialect == Dialect::MySql && LOCKS.contains(&word);
    !locks && SET.contains(word)
}

fn shown(lexeme: &Lexeme) -> String {
    match lexeme {
        Lexeme::Number(text) => format!("the number `{text}`"),
        Lexeme::Text(text) => format!("the text '{}'", text.escape_debug()),
        Lexeme::Operator(text) => format!("the operator `{text}`"),
        Lexeme::Word(text) | Lexeme::Name(text) => format!("the word `{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differ(dialect: Dialect, written: &str, printed: &str) -> bool {
        compare(dialect, &Schema::new("tenant_id").unwrap(), written, printed, Vec::new()).is_err()
    }

    /// Changes that a parser could make by mistake.
    #[test]
    fn changed_literals_operators_and_words_are_found() {
        for (dialect, written, printed) in [
            (Dialect::Sqlite, "SELECT 0x0A", "SELECT X'0A'"),
            (Dialect::Postgres, "SELECT 0b101", "SELECT 0 AS b101"),
            (Dialect::Postgres, "SELECT 1_000", "SELECT 1 AS _000"),
            (Dialect::Postgres, "SELECT '1'", "SELECT 1"),
            (Dialect::Postgres, "SELECT 'a'", "SELECT 'A'"),
            (Dialect::Postgres, "SELECT 'a\\b'", "SELECT E'a\\b'"),
            (Dialect::Postgres, "SELECT 'a' 'b'", "SELECT 'ab'"),
            (Dialect::Postgres, "SELECT B'1'", "SELECT '1'"),
            (Dialect::Postgres, "SELECT a @@@ b", "SELECT a @@ @ b"),
            (Dialect::Postgres, "SELECT a !~~* b", "SELECT a !~~ b"),
            (Dialect::Postgres, "SELECT a - b", "SELECT a + b"),
            (Dialect::Postgres, "SELECT a < b", "SELECT a <= b"),
            (Dialect::Postgres, "SELECT a UNION ALL SELECT b", "SELECT a UNION SELECT b"),
            (Dialect::Postgres, "SELECT a FROM t FOR UPDATE NOWAIT", "SELECT a FROM t FOR UPDATE"),
            (Dialect::Postgres, "SELECT a WHERE NOT b", "SELECT a WHERE b"),
            (Dialect::Postgres, "SELECT a WHERE b OR c", "SELECT a WHERE b AND c"),
            (Dialect::Postgres, "SELECT a WHERE b", "SELECT a WHERE b OR b"),
            (Dialect::Postgres, "SELECT \"A\"", "SELECT \"a\""),
            (Dialect::Postgres, "SELECT a FROM t", "SELECT a FROM u"),
            (Dialect::Postgres, "SELECT a ORDER BY a DESC", "SELECT a ORDER BY a"),
            (Dialect::MySql, "SELECT 'a\\'", "SELECT 'a'"),
        ] {
            assert!(differ(dialect, written, printed), "{written} | {printed}");
        }
    }

    #[test]
    fn equivalent_texts_are_equal() {
        for (dialect, written, printed) in [
            (Dialect::Postgres, "SELECT 'a\\b' -- c", "SELECT E'a\\\\b'"),
            (Dialect::Postgres, "SELECT /* 'x' /* y */ */ $$a'b$$", "SELECT 'a''b'"),
            (Dialect::Postgres, "SELECT E'\\x41\\u00e9\\101\\n'", "SELECT 'A\u{e9}A\n'"),
            (Dialect::Postgres, "SELECT a != b, a*-1", "SELECT a <> b, a * -1"),
            (Dialect::Postgres, "select A from T", "SELECT a FROM t WHERE t.tenant_id = $1::UUID"),
            (Dialect::Sqlite, "SELECT a == b, [c]", "SELECT a = b, [c]"),
            (Dialect::Sqlite, "SELECT a NOTNULL", "SELECT a IS NOT NULL"),
            (Dialect::Sqlite, "SELECT .5 ISNULL", "SELECT .5 IS NULL"),
            (
                Dialect::Postgres,
                "SELECT a FROM x . isnull",
                "SELECT a FROM x.isnull WHERE \"isnull\".tenant_id = $1",
            ),
        ] {
            assert!(!differ(dialect, written, printed), "{written} | {printed}");
        }
    }
}
