//! What was written against what is printed, token by token, by a reading of its own.
//!
//! The parser reads both texts of the proof, so where it misreads a literal or drops a word both passes agree on the
//! wrong thing. This reader knows no grammar, only where words, names, numbers, texts and operators end. It sees a
//! literal, an operator or a word that was lost, changed or made up. It does not see how tokens belong together: a
//! wrong precedence, or an argument in another's place.

use std::iter::Peekable;
use std::str::Chars;

use super::text::RESERVED;
use crate::{Dialect, Schema};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Lexeme {
    Number(String),
    Text(String),
    Operator(String),
    /// Without quotes, in upper case.
    Word(String),
    /// In quotes.
    Name(String),
}

/// Words that guards are made of, and words that say nothing and come and go in print.
const ADDED: [&str; 20] = [
    "SELECT", "FROM", "AS", "WHERE", "AND", "TRUE", "CASE", "WHEN", "THEN", "ELSE", "END", "UUID", "BIGINT",
    "TEXT", "ASC", "INNER", "OUTER", "INTO", "ROWS", "ROW",
];
/// Of those, the words that may also be missing in print.
const DROPPED: [&str; 7] = ["AS", "ASC", "INNER", "OUTER", "INTO", "ROWS", "ROW"];
const ADDED_OPERATORS: [&str; 3] = ["=", "*", "::"];

/// The first difference that no guard explains. `dropped` are names of schemas that were left out before columns.
pub(super) fn compare(
    dialect: Dialect,
    schema: &Schema,
    written: &str,
    printed: &str,
    mut dropped: Vec<String>,
) -> Result<(), String> {
    let (mut before, mut after) = (lex(dialect, written), lex(dialect, printed));
    before.sort_unstable();
    after.sort_unstable();
    let words = before.clone();
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
                    return Err(format!("printed again, {} would be lost", shown(lost)));
                }
                before.next();
            }
            (_, Some(made)) => {
                let known = match made {
                    Lexeme::Operator(operator) => ADDED_OPERATORS.contains(&&**operator),
                    Lexeme::Word(word) => {
                        ADDED.contains(&&**word)
                            || is_ours(schema, word)
                            || (!is_operator(dialect, word) && words.binary_search(made).is_ok())
                    }
                    Lexeme::Name(name) => is_ours(schema, name) || words.binary_search(made).is_ok(),
                    Lexeme::Number(_) | Lexeme::Text(_) => false,
                };
                if !known {
                    return Err(format!("printed again, {} would be added", shown(made)));
                }
                after.next();
            }
            (Some(_), None) => return Err("printed again, it would not have the same words".to_owned()),
        }
    }
}

/// The tenant column, and the names that guards have.
fn is_ours(schema: &Schema, name: &str) -> bool {
    name.to_ascii_lowercase().starts_with(RESERVED) || schema.is_tenant_column(name)
}

/// Words of the grammar, which no guard repeats as it repeats names. MySQL's guards have the locks of their query.
fn is_operator(dialect: Dialect, word: &str) -> bool {
    const LOCKS: [&str; 6] = ["FOR", "UPDATE", "SHARE", "SKIP", "LOCKED", "NOWAIT"];
    const WORDS: &str = "
        ALL ANY ARRAY ASC BETWEEN BINARY BY CAST COLLATE CONFLICT CONVERT CROSS CUBE DEFAULT DELETE DESC DISTINCT DIV DO
        ESCAPE EXCEPT EXISTS EXTRACT FALSE FETCH FILTER FIRST FOR FULL GLOB GROUP GROUPING HAVING ILIKE IN INSERT INTERSECT
        INTERVAL IS JOIN LAST LATERAL LEFT LIKE LIMIT LOCKED MATCH MATCHED MERGE MOD NATURAL NEXT NOT NOTHING NOWAIT NULL
        NULLS OFFSET ON ONLY OR ORDER OVER PARTITION PRECEDING RANGE RECURSIVE REGEXP RETURNING RIGHT RLIKE ROLLUP SET SETS
        SHARE SIMILAR SKIP SOME TABLESAMPLE TIES UNION UPDATE USING VALUES WINDOW WITH WITHIN XOR
    ";
    let locks = dialect == Dialect::MySql && LOCKS.contains(&word);
    !locks && WORDS.split_whitespace().any(|known| known == word)
}

fn shown(lexeme: &Lexeme) -> String {
    match lexeme {
        Lexeme::Number(text) => format!("the number `{text}`"),
        Lexeme::Text(text) => format!("the text '{}'", text.escape_debug()),
        Lexeme::Operator(text) => format!("the operator `{text}`"),
        Lexeme::Word(text) | Lexeme::Name(text) => format!("the word `{text}`"),
    }
}

fn lex(dialect: Dialect, text: &str) -> Vec<Lexeme> {
    let mut lexer = Lexer { dialect, chars: text.chars().peekable(), found: Vec::new() };
    while lexer.step() {}
    lexer.found
}

struct Lexer<'a> {
    dialect: Dialect,
    chars: Peekable<Chars<'a>>,
    found: Vec<Lexeme>,
}

impl Lexer<'_> {
    /// Reads one token; false at the end.
    fn step(&mut self) -> bool {
        let Some(c) = self.chars.next() else { return false };
        let next = self.chars.peek().copied();
        match c {
            _ if c.is_whitespace() => {}
            '-' if next == Some('-') => self.skip_line(),
            '#' if self.dialect == Dialect::MySql => self.skip_line(),
            '/' if next == Some('*') => self.skip_comment(),
            '\'' => {
                let text = self.quoted('\'', false);
                self.found.push(Lexeme::Text(text));
            }
            '"' | '`' => {
                let name = self.quoted(c, false);
                self.found.push(Lexeme::Name(name));
            }
            '[' if self.dialect == Dialect::Sqlite => {
                let name = self.chars.by_ref().take_while(|c| *c != ']').collect();
                self.found.push(Lexeme::Name(name));
            }
            '$' if self.dialect == Dialect::Postgres && !next.is_some_and(|c| c.is_ascii_digit()) => {
                self.dollar();
            }
            '$' | '?' if !(self.dialect == Dialect::Postgres && c == '?') => {
                self.run(|c| c.is_alphanumeric() || c == '_');
            }
            _ if c.is_ascii_digit() || (c == '.' && next.is_some_and(|c| c.is_ascii_digit())) => {
                self.number(c);
            }
            _ if c.is_alphabetic() || c == '_' => self.word(c),
            '(' | ')' | ',' | ';' | '.' | '[' | ']' | '{' | '}' | '\\' => {}
            _ => self.operator(c),
        }
        true
    }

    fn run(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut run = String::new();
        while let Some(c) = self.chars.next_if(|c| wanted(*c)) {
            run.push(c);
        }
        run
    }

    fn skip_line(&mut self) {
        self.run(|c| c != '\n');
    }

    fn skip_comment(&mut self) {
        let (mut depth, mut last) = (1_usize, ' ');
        self.chars.next();
        for c in self.chars.by_ref() {
            match (last, c) {
                ('*', '/') => depth -= 1,
                ('/', '*') if self.dialect == Dialect::Postgres => depth += 1,
                _ => {
                    last = c;
                    continue;
                }
            }
            last = ' ';
            if depth == 0 {
                return;
            }
        }
    }

    /// The rest of a quotation, in which a quote is written twice.
    fn quoted(&mut self, quote: char, escapes: bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.chars.next() {
            match c {
                '\\' if escapes => self.escape(&mut text),
                '\\' if self.dialect == Dialect::MySql && quote == '\'' => {
                    text.push(c);
                    text.extend(self.chars.next());
                }
                _ if c == quote => match self.chars.next_if_eq(&quote) {
                    Some(quote) => text.push(quote),
                    None => break,
                },
                _ => text.push(c),
            }
        }
        text
    }

    /// PostgreSQL's escapes in `E'..'`.
    fn escape(&mut self, text: &mut String) {
        let Some(c) = self.chars.next() else { return };
        let (base, most) = match c {
            'n' => return text.push('\n'),
            't' => return text.push('\t'),
            'r' => return text.push('\r'),
            'b' => return text.push('\u{8}'),
            'f' => return text.push('\u{c}'),
            'x' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            '0'..='7' => (8, 2),
            _ => return text.push(c),
        };
        let mut value = if base == 8 { c.to_digit(8).unwrap_or(0) } else { 0 };
        for _ in 0..most {
            let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(base)) else { break };
            value = value.wrapping_mul(base).wrapping_add(digit);
            self.chars.next();
        }
        text.extend(char::from_u32(value));
    }

    /// `$tag$ .. $tag$`
    fn dollar(&mut self) {
        let tag = self.run(|c| c.is_alphanumeric() || c == '_');
        if self.chars.next_if_eq(&'$').is_none() {
            return;
        }
        let end = format!("${tag}$");
        let mut text = String::new();
        for c in self.chars.by_ref() {
            text.push(c);
            if text.ends_with(&end) {
                text.truncate(text.len() - end.len());
                break;
            }
        }
        self.found.push(Lexeme::Text(text));
    }

    fn number(&mut self, first: char) {
        let mut number = String::from(first);
        while let Some(c) = self.chars.peek().copied() {
            let sign = matches!(c, '+' | '-')
                && number.ends_with(['e', 'E'])
                && !number.starts_with("0x")
                && !number.starts_with("0X");
            if !(c.is_alphanumeric() || c == '_' || c == '.' || sign) {
                break;
            }
            number.push(c);
            self.chars.next();
        }
        self.found.push(Lexeme::Number(number.to_ascii_lowercase()));
    }

    fn word(&mut self, first: char) {
        let mut word = String::from(first);
        word += &self.run(|c| c.is_alphanumeric() || c == '_' || c == '$');
        word.make_ascii_uppercase();
        let prefix = matches!(&*word, "E" | "B" | "X" | "N") && self.chars.next_if_eq(&'\'').is_some();
        if prefix {
            let text = self.quoted('\'', word == "E" && self.dialect == Dialect::Postgres);
            // A text is the same text in either form; bits and bytes are not.
            self.found.push(match &*word {
                "E" => Lexeme::Text(text),
                _ => Lexeme::Number(format!("{word}'{}'", text.to_ascii_uppercase())),
            });
            return;
        }
        let last = self.found.last();
        let after = |before: &str| matches!(last, Some(Lexeme::Word(last)) if last == before);
        match &*word {
            "NEXT" if after("FETCH") => self.words(&["FIRST"]),
            "DISTINCTROW" if self.dialect == Dialect::MySql => self.words(&["DISTINCT"]),
            // No limit at all.
            "ALL" if after("LIMIT") => drop(self.found.pop()),
            "ISNULL" if self.dialect != Dialect::MySql => self.words(&["IS", "NULL"]),
            "NOTNULL" if self.dialect != Dialect::MySql => self.words(&["IS", "NOT", "NULL"]),
            _ => self.found.push(Lexeme::Word(word)),
        }
    }

    fn words(&mut self, words: &[&str]) {
        self.found.extend(words.iter().map(|word| Lexeme::Word((*word).to_owned())));
    }

    fn operator(&mut self, first: char) {
        let mut operator = String::from(first);
        if self.dialect == Dialect::Postgres {
            self.longest(&mut operator);
        } else {
            const LONG: [&str; 12] =
                ["->>", "<=>", "||", "<=", ">=", "<>", "!=", "==", "<<", ">>", "->", "&&"];
            while let Some(c) = self.chars.peek().copied() {
                let longer = format!("{operator}{c}");
                if !LONG.iter().any(|long| long.starts_with(&longer)) {
                    break;
                }
                operator = longer;
                self.chars.next();
            }
        }
        let plain = match &*operator {
            "!=" => "<>",
            "==" => "=",
            other => other,
        };
        self.found.push(Lexeme::Operator(plain.to_owned()));
    }

    /// PostgreSQL takes the longest run of its signs, and leaves a sign of a number at the end to the number.
    fn longest(&mut self, operator: &mut String) {
        const SIGNS: &str = "+-*/<>=~!@#%^&|`?:";
        loop {
            let mut ahead = self.chars.clone();
            let Some(c) = ahead.next().filter(|c| SIGNS.contains(*c)) else { break };
            let comment = matches!((c, ahead.next()), ('-', Some('-')) | ('/', Some('*')));
            // `*-` is two operators and `@-` is one.
            let special = |run: &str| run.chars().any(|c| "~!@#%^&|`?".contains(c));
            let run: String = self.chars.clone().take_while(|c| SIGNS.contains(*c)).collect();
            if comment || (matches!(c, '+' | '-') && !special(operator) && !special(&run)) {
                break;
            }
            operator.push(c);
            self.chars.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differ(dialect: Dialect, written: &str, printed: &str) -> bool {
        compare(dialect, &Schema::new("tenant_id").unwrap(), written, printed, Vec::new()).is_err()
    }

    /// What a parser could get wrong without noticing it.
    #[test]
    fn literals_operators_and_words_that_change_are_seen() {
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
    fn what_says_the_same_is_the_same() {
        for (dialect, written, printed) in [
            (Dialect::Postgres, "SELECT 'a\\b' -- c", "SELECT E'a\\\\b'"),
            (Dialect::Postgres, "SELECT /* 'x' /* y */ */ $$a'b$$", "SELECT 'a''b'"),
            (Dialect::Postgres, "SELECT E'\\x41\\u00e9\\101\\n'", "SELECT 'A\u{e9}A\n'"),
            (Dialect::Postgres, "SELECT a != b, a*-1", "SELECT a <> b, a * -1"),
            (Dialect::Postgres, "select A from T", "SELECT a FROM t WHERE t.tenant_id = $1::UUID"),
            (Dialect::Sqlite, "SELECT a == b, [c]", "SELECT a = b, [c]"),
            (Dialect::Sqlite, "SELECT a NOTNULL", "SELECT a IS NOT NULL"),
        ] {
            assert!(!differ(dialect, written, printed), "{written} | {printed}");
        }
    }
}
