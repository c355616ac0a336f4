//! Splits a text into tokens, and computes their positions.

use super::grammar::grammar;
use crate::dialect::Dialect;
use crate::rejection::{Code, Rejection, explain};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

pub(super) fn place(span: Span) -> (usize, usize, usize) {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let length =
        if span.start.line == span.end.line { span.end.column.saturating_sub(span.start.column) } else { 1 };
    (number(span.start.line), number(span.start.column), number(length))
}

pub(super) fn tokens(dialect: Dialect, sql: &str) -> Result<Vec<TokenWithSpan>, Rejection> {
    let reject = |span, why: String| {
        Rejection::new(Code::Syntax, sql, place(span), explain(why, "write it in the database's syntax"))
    };
    let mut tokens = Vec::with_capacity(sql.len() / 3);
    Tokenizer::new(grammar(dialect), sql)
        .with_unescape(false)
        .tokenize_with_location_into_buf(&mut tokens)
        .map_err(|e| reject(Span::new(e.location, e.location), e.message))?;
    numbers(dialect, sql, tokens).map_err(|(span, why)| reject(span, why))
}

/// Makes each number in another base one token that is printed as written. For the tokenizer `0x0A` equals the bytes
/// `x'0A'`, and `0b101` is the number 0 followed by a name.
fn numbers(
    dialect: Dialect,
    sql: &str,
    tokens: Vec<TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>, (Span, String)> {
    let is_hex = |token: &TokenWithSpan| matches!(token.token, Token::HexStringLiteral(_));
    if !tokens.windows(2).any(|pair| touches(&pair[0], &pair[1])) && !tokens.iter().any(is_hex) {
        return Ok(tokens);
    }
    let mut places = CharPositions::of(sql);
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
            return Err((token.span, format!("`{number}` is not a number")));
        }
        let start = match &token.token {
            Token::Word(_) => read.pop().map_or(token.span.start, |last| last.span.start),
            _ => token.span.start,
        };
        read.push(TokenWithSpan::new(Token::Number(number, false), Span::new(start, token.span.end)));
    }
    Ok(read)
}

/// Whether a name follows a number directly, so that it could be a part of the number.
fn touches(first: &TokenWithSpan, second: &TokenWithSpan) -> bool {
    matches!(first.token, Token::Number(..))
        && first.span.end == second.span.start
        && matches!(&second.token, Token::Word(word) if word.quote_style.is_none())
}

/// Looks up the characters of a text by their positions, in ascending order.
struct CharPositions<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    at: (u64, u64),
}

impl<'a> CharPositions<'a> {
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
