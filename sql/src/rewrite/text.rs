//! Text to tokens, and what can be refused before anything is parsed: length, depth, names, parameters.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::visit_relations;
use sqlparser::dialect::{self, Dialect as Grammar};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Whitespace, Word};

use super::statements_of;
use crate::rejection::{Code, Rejection, Say, say};
use crate::{Bind, Dialect};

/// The longest text that is read, in bytes.
const LONGEST: usize = 64 * 1024;
/// The deepest tree that is built: terms in a chain, plus those in the parentheses within, plus a few.
const DEEPEST: usize = 200;
/// The most parentheses within each other.
const MOST_PARENTHESES: usize = 32;
/// The highest number of a parameter: what a message of Postgres can hold, less the tenant.
const HIGHEST: usize = 65_534;

/// The beginning of every name that the rewriter makes up.
pub(super) const RESERVED: &str = "__tnt";

/// A text in tokens, with parameters in one form: `$n` on Postgres, `?n` elsewhere.
pub(super) struct Text {
    pub(super) tokens: Vec<TokenWithSpan>,
    /// The highest parameter.
    pub(super) binds: usize,
    /// How deep the tree can become.
    pub(super) depth: usize,
}

pub(super) fn grammar(dialect: Dialect) -> &'static dyn Grammar {
    match dialect {
        Dialect::Postgres => &dialect::PostgreSqlDialect {},
        Dialect::Sqlite => &dialect::SQLiteDialect {},
        Dialect::MySql => &dialect::MySqlDialect {},
    }
}

pub(super) fn place(span: Span) -> (usize, usize, usize) {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let length =
        if span.start.line == span.end.line { span.end.column.saturating_sub(span.start.column) } else { 1 };
    (number(span.start.line), number(span.start.column), number(length))
}

pub(super) fn tokens(dialect: Dialect, sql: &str) -> Result<Vec<TokenWithSpan>, Rejection> {
    let refuse = |span, why: String| {
        Rejection::new(Code::Syntax, sql, place(span), say(why, "write it as the database would take it"))
    };
    let tokens = Tokenizer::new(grammar(dialect), sql)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|e| refuse(Span::new(e.location, e.location), e.message))?;
    numbers(dialect, sql, tokens).map_err(|(span, why)| refuse(span, why))
}

/// Numbers in other bases, each as one token that is printed as it was written: to the tokenizer `0x0A` is the same
/// as the text of bytes `x'0A'`, and `0b101` the number 0 with a name behind it.
fn numbers(
    dialect: Dialect,
    sql: &str,
    tokens: Vec<TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>, (Span, String)> {
    let is_hex = |token: &TokenWithSpan| matches!(token.token, Token::HexStringLiteral(_));
    if !tokens.windows(2).any(|pair| touches(&pair[0], &pair[1])) && !tokens.iter().any(is_hex) {
        return Ok(tokens);
    }
    let mut places = Places::of(sql);
    let mut read: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let number = match (&token.token, read.last()) {
            (Token::Word(word), Some(last)) if touches(last, &token) => {
                Some(format!("{}{}", last.token, word.value))
            }
            (Token::HexStringLiteral(digits), _) if places.starts_with(token.span.start, '0') => {
                Some(format!("0x{digits}"))
            }
            _ => None,
        };
        let Some(number) = number else {
            read.push(token);
            continue;
        };
        if !is_number(dialect, &number) {
            return Err((token.span, format!("`{number}` is no number")));
        }
        let start = match &token.token {
            Token::Word(_) => read.pop().map_or(token.span.start, |last| last.span.start),
            _ => token.span.start,
        };
        read.push(TokenWithSpan::new(Token::Number(number, false), Span::new(start, token.span.end)));
    }
    Ok(read)
}

/// Whether a number is directly followed by a name, which could be a part of it.
fn touches(first: &TokenWithSpan, second: &TokenWithSpan) -> bool {
    matches!(first.token, Token::Number(..))
        && first.span.end == second.span.start
        && matches!(&second.token, Token::Word(word) if word.quote_style.is_none())
}

/// The characters of a text by their places, which are asked for in order.
struct Places<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    at: (u64, u64),
}

impl<'a> Places<'a> {
    fn of(sql: &'a str) -> Self {
        Self { chars: sql.chars().peekable(), at: (1, 1) }
    }

    fn starts_with(&mut self, at: Location, wanted: char) -> bool {
        while self.at < (at.line, at.column) {
            match self.chars.next() {
                Some('\n') => self.at = (self.at.0 + 1, 1),
                Some(_) => self.at.1 += 1,
                None => return false,
            }
        }
        self.chars.peek() == Some(&wanted)
    }
}

/// `0x1F` on every database, `0b101` and `0o17` on PostgreSQL (16 and later).
fn is_number(dialect: Dialect, text: &str) -> bool {
    let digits = text.trim_start_matches('0');
    let (base, digits) = digits.split_at_checked(1).unwrap_or_default();
    let own = match base {
        "x" | "X" => true,
        "b" | "B" | "o" | "O" => dialect == Dialect::Postgres,
        _ => false,
    };
    own && text.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_')
        && !digits.is_empty()
}

/// Where each line of a text begins.
struct Lines<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
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

pub(super) fn read(dialect: Dialect, sql: &str) -> Result<Text, Rejection> {
    let refuse = |code, span: Span, say: Say| Rejection::new(code, sql, place(span), say);
    if sql.len() > LONGEST {
        let why = format!("a statement of {} bytes; {LONGEST} are read", sql.len());
        return Err(refuse(
            Code::TooLong,
            Span::empty(),
            say(why, "bind the values instead of writing them out"),
        ));
    }
    if let Some((at, _)) = sql.match_indices('\0').next() {
        let line = sql[..at].matches('\n').count() + 1;
        let say = say("a NUL character ends the text for some databases", "remove it");
        return Err(Rejection::new(Code::Syntax, sql, (line, 1, 1), say));
    }
    if dialect == Dialect::MySql && (sql.contains("/*!") || sql.contains("/*M!")) {
        let why = "a comment that the server runs";
        return Err(refuse(Code::Comment, Span::empty(), say(why, "write it as SQL, or leave it out")));
    }
    let tokens = tokens(dialect, sql)?;
    for token in &tokens {
        if let Some((code, say)) = objection(dialect, &token.token) {
            return Err(refuse(code, token.span, say));
        }
    }
    for three in tokens.windows(3) {
        let [one, two, three] = three else { continue };
        let escaped = |first: &Word, name: &Word| {
            first.quote_style.is_none() && first.value.eq_ignore_ascii_case("u") && name.quote_style.is_some()
        };
        let touch = one.span.end == two.span.start && two.span.end == three.span.start;
        if let (Token::Word(first), Token::Ampersand, Token::Word(name), true) =
            (&one.token, &two.token, &three.token, touch)
            && dialect == Dialect::Postgres
            && escaped(first, name)
        {
            let say = say("a name with escapes in it", "write the name as it is");
            return Err(refuse(Code::Name, one.span, say));
        }
    }
    let mut tokens = null_tests(dialect, tokens);
    let depth = depth(&tokens).map_err(|(span, say)| refuse(Code::TooDeep, span, say))?;
    let binds = number(dialect, &mut tokens).map_err(|(span, say)| refuse(Code::Placeholder, span, say))?;
    Ok(Text { tokens, binds, depth })
}

/// `a ISNULL` and `a NOTNULL` as `a IS NULL` and `a IS NOT NULL`: the parser takes ISNULL for a name.
fn null_tests(dialect: Dialect, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let test = |token: &Token| match token {
        Token::Word(word) if word.quote_style.is_none() && dialect != Dialect::MySql => {
            match &*word.value.to_ascii_uppercase() {
                "ISNULL" => Some(&["IS", "NULL"][..]),
                "NOTNULL" => Some(&["IS", "NOT", "NULL"][..]),
                _ => None,
            }
        }
        _ => None,
    };
    if !tokens.iter().any(|token| test(&token.token).is_some()) {
        return tokens;
    }
    let mut read: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    for token in tokens {
        // Behind a dot or AS it is a name.
        let before = read.iter().rev().find(|token| !matches!(token.token, Token::Whitespace(_)));
        let named = before.is_some_and(|token| match &token.token {
            Token::Word(word) => word.keyword == Keyword::AS,
            token => *token == Token::Period,
        });
        let Some(words) = test(&token.token).filter(|_| !named) else {
            read.push(token);
            continue;
        };
        for word in words {
            read.push(TokenWithSpan::new(Token::make_keyword(word), token.span));
            read.push(TokenWithSpan::new(Token::Whitespace(Whitespace::Space), token.span));
        }
    }
    read
}

fn objection(dialect: Dialect, token: &Token) -> Option<(Code, Say)> {
    match token {
        Token::Word(word) => name(dialect, word),
        Token::Whitespace(Whitespace::MultiLineComment(text)) if text.trim_start().starts_with('+') => {
            Some((Code::Comment, say("an optimizer hint can change how a statement is read", "leave it out")))
        }
        Token::SingleQuotedString(text) if dialect == Dialect::MySql && escapes_a_quote(text) => Some((
            Code::Literal,
            say(
                "where this text ends depends on the session's `sql_mode`",
                "write the quote twice, or bind the text",
            ),
        )),
        Token::DoubleQuotedString(_) => Some((
            Code::Literal,
            say("text or a name, as the session's `sql_mode` has it", "quote text with ' and names with `"),
        )),
        _ => None,
    }
}

fn name(dialect: Dialect, word: &Word) -> Option<(Code, Say)> {
    let value = word.value.as_str();
    if value.to_ascii_lowercase().starts_with(RESERVED) {
        let why = format!("names that begin with `{RESERVED}` are the rewriter's own");
        return Some((Code::Reserved, say(why, "choose another name")));
    }
    if word.quote_style.is_none() && numbered(value, '$').is_some() && dialect == Dialect::MySql {
        return None;
    }
    let odd = |c: char| match word.quote_style {
        None => !(c.is_alphanumeric() || c == '_' || c == '$'),
        Some(_) => c.is_control() || "\"'`[]\\".contains(c),
    };
    if value.is_empty() || value.chars().any(odd) {
        let why = "a name with characters that could end it early";
        return Some((Code::Name, say(why, "use letters, digits and underscores")));
    }
    if value.chars().any(folds_to_ascii) {
        let why = "a letter that some databases take for a plain one when they compare names";
        return Some((Code::Name, say(why, "use plain letters")));
    }
    if value.len() > 63 {
        let why = "a name of more than 63 bytes, which a database would shorten";
        return Some((Code::Name, say(why, "choose a shorter one")));
    }
    None
}

/// Whether a backslash stands before a quote, which one setting of `sql_mode` takes for the end of the text.
fn escapes_a_quote(raw: &str) -> bool {
    let mut run = 0;
    for c in raw.chars() {
        match c {
            '\\' => run += 1,
            '\'' if run % 2 == 1 => return true,
            _ => run = 0,
        }
    }
    run % 2 == 1
}

/// The Kelvin sign is a `k` in lower case, and a dotted `İ` is an `i` to MySQL.
fn folds_to_ascii(c: char) -> bool {
    !c.is_ascii()
        && (c.to_lowercase().any(|c| c.is_ascii())
            || c.to_uppercase().eq(['I'])
            || c.to_uppercase().eq(['S']))
}

/// The depth of the tree that these tokens can become, from above.
///
/// A chain of `n` operators is a tree of depth `n`, so what counts is the operators side by side, and within
/// their parentheses the deepest again.
fn depth(tokens: &[TokenWithSpan]) -> Result<usize, (Span, Say)> {
    #[derive(Default, Clone, Copy)]
    struct Level {
        /// Set operations and joins, which chain across clauses.
        sets: usize,
        /// Operators since the last comma or clause.
        terms: usize,
        most_terms: usize,
        within: usize,
    }
    impl Level {
        fn depth(self) -> usize {
            self.sets + self.most_terms.max(self.terms) + self.within + 1
        }
    }
    let mut open = vec![Level::default()];
    let mut deepest = 0;
    for TokenWithSpan { token, span } in tokens {
        let last = open.len() - 1;
        let level = &mut open[last];
        let deep = || (*span, say("too many terms within each other", "use `IN (..)` or bind an array"));
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => open.push(Level::default()),
            Token::RParen | Token::RBracket | Token::RBrace if last > 0 => {
                let inner = open.pop().map_or(0, Level::depth);
                open[last - 1].within = open[last - 1].within.max(inner);
                // A subscript or a call is a link of its own.
                open[last - 1].terms += usize::from(*token == Token::RBracket);
            }
            Token::Comma | Token::SemiColon => {
                level.most_terms = level.most_terms.max(level.terms);
                level.terms = 0;
            }
            Token::Word(Word { keyword, .. }) => match keyword {
                Keyword::NoKeyword => {}
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => level.sets += 1,
                Keyword::SELECT
                | Keyword::JOIN
                | Keyword::ON
                | Keyword::WHERE
                | Keyword::HAVING
                | Keyword::SET
                | Keyword::VALUES
                | Keyword::RETURNING => {
                    level.most_terms = level.most_terms.max(level.terms);
                    level.terms = 0;
                    level.sets += usize::from(*keyword == Keyword::JOIN);
                }
                _ => level.terms += 1,
            },
            Token::Whitespace(_)
            | Token::Period
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_) => {}
            _ => level.terms += 1,
        }
        // Depths add up along the open parentheses; the widest level so far stands for the rest of each.
        deepest =
            deepest.max(open.iter().map(|level| level.sets + level.terms.max(level.most_terms) + 1).sum());
        deepest = deepest.max(open.last().map_or(0, |level| level.depth()));
        if open.len() > MOST_PARENTHESES || deepest > DEEPEST {
            return Err(deep());
        }
    }
    Ok(deepest)
}

/// Gives every parameter its number, and returns the highest.
fn number(dialect: Dialect, tokens: &mut [TokenWithSpan]) -> Result<usize, (Span, Say)> {
    let (mut highest, mut counted, mut named) = (0, 0, false);
    for TokenWithSpan { token, span } in tokens {
        let n = match &*token {
            Token::Placeholder(text) if text == "?" && dialect != Dialect::Postgres => {
                counted += 1;
                counted
            }
            Token::Placeholder(text) => {
                named = true;
                let own = if dialect == Dialect::Sqlite { numbered(text, '?') } else { None };
                own.or_else(|| numbered(text, '$')).ok_or_else(|| {
                    (*span, say(format!("the parameter `{text}` has no number"), "write $1, $2 and so on"))
                })?
            }
            Token::Word(word) if dialect == Dialect::MySql && word.quote_style.is_none() => {
                let Some(n) = numbered(&word.value, '$') else { continue };
                named = true;
                n
            }
            _ => continue,
        };
        if named && counted > 0 {
            let why = "parameters with and without a number";
            return Err((*span, say(why, "write all of them as $1, $2 and so on")));
        }
        highest = highest.max(n);
        *token = Token::Placeholder(placeholder(dialect, n));
    }
    Ok(highest)
}

/// `$12` is 12.
pub(super) fn numbered(text: &str, sign: char) -> Option<usize> {
    let digits = text.strip_prefix(sign)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') && digits.len() <= 5;
    digits.parse().ok().filter(|n| plain && *n <= HIGHEST)
}

pub(super) fn placeholder(dialect: Dialect, n: usize) -> String {
    match dialect {
        Dialect::Postgres => format!("${n}"),
        Dialect::Sqlite | Dialect::MySql => format!("?{n}"),
    }
}

/// MySQL takes parameters in the order of the text only: `?2 .. ?1` becomes `? .. ?` and the order `2, 1`.
pub(super) fn in_order(printed: &str, tenant: usize) -> Result<(String, Vec<Bind>), Rejection> {
    let mut binds = Vec::new();
    let text = with_places(Dialect::MySql, printed, |n| {
        binds.push(if n == tenant { Bind::Tenant } else { Bind::Value(n) });
        "?".to_owned()
    })?;
    Ok((text, binds))
}

/// From this many parameters on SQLite gets them without their numbers, if they stand in order.
const MANY: usize = 32;

/// SQLite looks the number of a parameter up among all before it, unless it is the highest so far: with the tenant's
/// in front that takes quadratic time. `?1 .. ?2` becomes `? .. ?`, and the tenant `$3`, a name that sqlx binds by its
/// number.
pub(super) fn in_place(printed: String, values: usize) -> Result<String, Rejection> {
    if values < MANY {
        return Ok(printed);
    }
    let (mut next, mut ordered) = (1, true);
    let text = with_places(Dialect::Sqlite, &printed, |n| {
        if n > values {
            return format!("${n}");
        }
        ordered &= n == next;
        next += 1;
        "?".to_owned()
    })?;
    Ok(if ordered && next == values + 1 { text } else { printed })
}

/// The text with something else in the place of each parameter.
fn with_places(
    dialect: Dialect,
    printed: &str,
    mut place: impl FnMut(usize) -> String,
) -> Result<String, Rejection> {
    let mut text = String::with_capacity(printed.len());
    for token in tokens(dialect, printed)? {
        let n = match &token.token {
            Token::Placeholder(mark) => numbered(mark, '?'),
            _ => None,
        };
        match n {
            Some(n) => text.push_str(&place(n)),
            None => text.push_str(&token.token.to_string()),
        }
    }
    Ok(text)
}

/// The statements of a text with many, such as a file, each with the line that it begins on.
///
/// # Errors
/// [`Code::Syntax`] where the text cannot be divided: a quotation or a comment that does not end.
pub fn statements(dialect: Dialect, sql: &str) -> Result<Vec<(usize, &str)>, Rejection> {
    let tokens = tokens(dialect, sql)?;
    let lines = Lines::of(sql);
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

/// Every name that stands for a table in a statement, its CTEs and what it makes among them, as it is written.
///
/// # Errors
/// [`Code::Syntax`] if it cannot be parsed.
pub fn relations(dialect: Dialect, sql: &str) -> Result<BTreeSet<String>, Rejection> {
    let statements = statements_of(dialect, sql, read(dialect, sql)?)?;
    let mut names = BTreeSet::new();
    let _ = visit_relations(&statements, |name| {
        let parts = name
            .0
            .iter()
            .map(|part| part.as_ident().map_or_else(|| part.to_string(), |ident| ident.value.clone()));
        names.insert(parts.collect::<Vec<_>>().join("."));
        ControlFlow::<()>::Continue(())
    });
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_divided_where_the_database_would_divide_it() {
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
