//! What is rejected before anything is parsed: length, comments, literals and names.

use super::depth::depth;
use super::identifiers::RESERVED;
use super::parameters::{number, numbered};
use super::tokens::{place, tokens};
use crate::dialect::Dialect;
use crate::rejection::{Code, Rejection, Say, say};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Whitespace, Word};

/// The longest text that is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// A text in tokens, with parameters in one form: `$n` on Postgres, `?n` elsewhere.
pub(super) struct ScannedText {
    pub(super) tokens: Vec<TokenWithSpan>,
    /// The highest parameter.
    pub(super) binds: usize,
    /// How deep the tree can become.
    pub(super) depth: usize,
}

pub(super) fn read(dialect: Dialect, sql: &str) -> Result<ScannedText, Rejection> {
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
    Ok(ScannedText { tokens, binds, depth })
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
