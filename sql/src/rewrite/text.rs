//! What is rejected before anything is parsed: length, comments, literals and names.

use super::depth::depth;
use super::identifiers::RESERVED;
use super::parameters::{number, numbered};
use super::problems::Problems;
use super::tokens::{place, tokens};
use crate::dialect::Dialect;
use crate::rejection::{Code, Explanation, Rejection, explain};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Whitespace, Word};

/// The longest text that is accepted, in bytes.
const LONGEST: usize = 64 * 1024;

/// A text in tokens, with its parameters in one form: `$n` on Postgres, `?n` on other databases.
pub(super) struct ScannedText {
    pub(super) tokens: Vec<TokenWithSpan>,
    /// The highest number of a parameter.
    pub(super) binds: usize,
    /// An upper bound of the depth of the tree.
    pub(super) depth: usize,
}

/// Reads a text, or rejects it with everything that is wrong with its tokens.
pub(super) fn read(dialect: Dialect, sql: &str) -> Result<ScannedText, Rejection> {
    let mut problems = Problems::default();
    let scanned = scan(dialect, sql, &mut problems);
    problems.end(sql, scanned)
}

/// Reads a text that can be parsed, and adds what is wrong with its tokens to `problems`.
pub(super) fn scan(dialect: Dialect, sql: &str, problems: &mut Problems) -> Result<ScannedText, Rejection> {
    let reject =
        |code, span: Span, explanation: Explanation| Rejection::new(code, sql, place(span), explanation);
    if sql.len() > LONGEST {
        let why = format!("the statement has {} bytes; at most {LONGEST} are accepted", sql.len());
        return Err(reject(Code::TooLong, Span::empty(), explain(why, shorter(dialect, sql))));
    }
    if let Some((at, _)) = sql.match_indices('\0').next() {
        let line = sql[..at].matches('\n').count() + 1;
        let explanation = explain("a NUL character ends the text for some databases", "remove it");
        return Err(Rejection::new(Code::Syntax, sql, (line, 1, 1), explanation));
    }
    if dialect == Dialect::MySql && (sql.contains("/*!") || sql.contains("/*M!")) {
        let why = "the server executes this comment";
        return Err(reject(Code::Comment, Span::empty(), explain(why, "write it as SQL, or remove it")));
    }
    let tokens = tokens(dialect, sql)?;
    for token in &tokens {
        if let Some((code, explanation)) = token_problem(dialect, &token.token)
            && !problems.is_full()
        {
            problems.push(reject(code, token.span, explanation));
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
            && !problems.is_full()
        {
            let explanation = explain("a name with escapes in it", "write the name without escapes");
            problems.push(reject(Code::Name, one.span, explanation));
        }
    }
    let mut tokens = null_tests(dialect, tokens);
    let depth = depth(&tokens).map_err(|(span, explanation)| reject(Code::TooDeep, span, explanation))?;
    let binds = number(dialect, &mut tokens)
        .map_err(|(span, explanation)| reject(Code::Placeholder, span, explanation))?;
    Ok(ScannedText { tokens, binds, depth })
}

/// How to write a text shorter: many parameters become one, and values become parameters.
fn shorter(dialect: Dialect, sql: &str) -> &'static str {
    /// More parameters than a statement has for single values.
    const MANY: usize = 100;
    let sign = if dialect == Dialect::Postgres { '$' } else { '?' };
    if sql.matches(sign).count() <= MANY {
        return "bind the values instead of writing them out";
    }
    match dialect {
        Dialect::Postgres => {
            "bind one array instead of many values: `= ANY($1)`, or INSERT .. SELECT * FROM unnest($1::int[], $2::text[]); \
             or run it in parts"
        }
        Dialect::Sqlite => {
            "bind one JSON array instead of many values: `IN (SELECT value FROM json_each($1))`; or run it in parts"
        }
        Dialect::MySql => "run it in parts, with fewer values each",
    }
}

/// Replaces `a ISNULL` and `a NOTNULL` by `a IS NULL` and `a IS NOT NULL`: the parser reads ISNULL as a name.
fn null_tests(dialect: Dialect, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let test = |token: &Token| match token {
        Token::Word(word) if word.quote_style.is_none() && dialect != Dialect::MySql => {
            let is = |name| word.value.eq_ignore_ascii_case(name);
            match (is("isnull"), is("notnull")) {
                (true, _) => Some(&["IS", "NULL"][..]),
                (_, true) => Some(&["IS", "NOT", "NULL"][..]),
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
        // After a dot or AS it is a name.
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

fn token_problem(dialect: Dialect, token: &Token) -> Option<(Code, Explanation)> {
    match token {
        Token::Word(word) => name_problem(dialect, word),
        Token::Whitespace(Whitespace::MultiLineComment(text)) if text.trim_start().starts_with('+') => Some(
            (Code::Comment, explain("an optimizer hint can change how a statement is read", "remove it")),
        ),
        Token::SingleQuotedString(text) if dialect == Dialect::MySql && escapes_a_quote(text) => Some((
            Code::Literal,
            explain(
                "where this text ends depends on the session's `sql_mode`",
                "write the quote twice, or bind the text",
            ),
        )),
        Token::DoubleQuotedString(_) => Some((
            Code::Literal,
            explain(
                "whether this is text or a name depends on the session's `sql_mode`",
                "quote text with ' and names with `",
            ),
        )),
        _ => None,
    }
}

fn name_problem(dialect: Dialect, word: &Word) -> Option<(Code, Explanation)> {
    let value = word.value.as_str();
    if value.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) {
        let why = format!("names that begin with `{RESERVED}` are reserved for the rewriter");
        return Some((Code::Reserved, explain(why, "choose another name")));
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
        return Some((Code::Name, explain(why, "use letters, digits and underscores")));
    }
    if value.chars().any(folds_to_ascii) {
        let why = "a letter that some databases fold to an ASCII letter when they compare names";
        return Some((Code::Name, explain(why, "use ASCII letters")));
    }
    if value.len() > 63 {
        let why = "a name of more than 63 bytes, which a database would shorten";
        return Some((Code::Name, explain(why, "choose a shorter one")));
    }
    None
}

/// Whether a backslash precedes a quote: with one setting of `sql_mode` the quote then ends the text.
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

/// Whether a letter folds to ASCII: the lower case of the Kelvin sign is `k`, and MySQL compares `İ` as `i`.
fn folds_to_ascii(c: char) -> bool {
    !c.is_ascii()
        && (c.to_lowercase().any(|c| c.is_ascii())
            || c.to_uppercase().eq(['I'])
            || c.to_uppercase().eq(['S']))
}
