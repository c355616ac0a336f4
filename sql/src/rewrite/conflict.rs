//! `ON CONFLICT (lower(email)) WHERE deleted_at IS NULL`: conflict targets that the parser has no node for.
//!
//! Each target is cut out of the tokens, parsed on its own, and replaced by a name. After printing, the target
//! replaces the name again. The parser itself parses plain lists of columns.

use std::fmt;

use sqlparser::ast::{Expr, Ident};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace, Word};

use super::grammar;
use super::identifiers::RESERVED;
use crate::dialect::Dialect;

/// The largest number of targets of one statement.
const MOST_TARGETS: usize = 64;

/// A conflict target: the elements of a unique key, and the condition of a partial index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConflictKey {
    pub(super) elements: Vec<Expr>,
    pub(super) predicate: Option<Expr>,
    /// The name that replaces it in the tree.
    name: String,
}

impl fmt::Display for ConflictKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, element) in self.elements.iter().enumerate() {
            write!(f, "{}{element}", if n == 0 { "(" } else { ", " })?;
        }
        f.write_str(")")?;
        self.predicate.iter().try_for_each(|predicate| write!(f, " WHERE {predicate}"))
    }
}

/// The number of the target that this name replaces.
pub(super) fn number(columns: &[Ident]) -> Option<usize> {
    let [only] = columns else { return None };
    only.value.strip_prefix(RESERVED)?.strip_prefix("_target_")?.rsplit('_').next()?.parse().ok()
}

/// Writes `WHERE true` before the ON CONFLICT of a SELECT without a clause: the parser reads its ON as an alias, and
/// SQLite as the ON of a join.
pub(super) fn separate(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let keyword = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) if word.quote_style.is_some() => Keyword::NoKeyword,
        token => keyword_of(token),
    };
    if !tokens.iter().any(|token| keyword(token) == Keyword::CONFLICT) {
        return tokens;
    }
    // Whether a SELECT without a clause is open, in each of the open parentheses.
    let mut plain = vec![false];
    let mut separated = Vec::with_capacity(tokens.len() + 4);
    for (n, token) in tokens.iter().enumerate() {
        let next = || tokens[n + 1..].iter().find(|token| !matches!(token.token, Token::Whitespace(_)));
        match (&token.token, keyword(token)) {
            (Token::LParen, _) => plain.push(false),
            (Token::RParen, _) if plain.len() > 1 => drop(plain.pop()),
            (_, Keyword::ON) if next().is_some_and(|next| keyword(next) == Keyword::CONFLICT) => {
                if plain.last() == Some(&true) {
                    let space = || Token::Whitespace(Whitespace::Space);
                    for added in [Token::make_keyword("WHERE"), space(), Token::make_keyword("true"), space()]
                    {
                        separated.push(TokenWithSpan::new(added, token.span));
                    }
                }
            }
            (_, keyword) => {
                let ends = matches!(
                    keyword,
                    Keyword::INSERT
                        | Keyword::VALUES
                        | Keyword::UNION
                        | Keyword::EXCEPT
                        | Keyword::INTERSECT
                        | Keyword::FROM
                        | Keyword::WHERE
                        | Keyword::GROUP
                        | Keyword::HAVING
                        | Keyword::WINDOW
                        | Keyword::ORDER
                        | Keyword::LIMIT
                        | Keyword::OFFSET
                        | Keyword::FETCH
                        | Keyword::FOR
                );
                if let (true, Some(last)) = (ends || keyword == Keyword::SELECT, plain.last_mut()) {
                    *last = keyword == Keyword::SELECT;
                }
            }
        }
        separated.push(token.clone());
    }
    separated
}

/// Cuts the targets out of a text.
pub(super) fn take(
    dialect: Dialect,
    tokens: Vec<TokenWithSpan>,
    recursion: usize,
) -> Result<(Vec<TokenWithSpan>, Vec<ConflictKey>), ParserError> {
    let mut targets = Vec::new();
    let mut rest: &[TokenWithSpan] = &tokens;
    let mut kept = Vec::new();
    let Some(mut found) = find(rest) else { return Ok((tokens, targets)) };
    // No token of the text contains this name, so that it is unique in the printed text.
    let prefix = (0..100)
        .map(|salt| format!("{RESERVED}_target_{salt}_"))
        .find(|name| !tokens.iter().any(|token| token.token.to_string().contains(name.as_str())))
        .ok_or_else(|| {
            ParserError::ParserError("the text contains too many names of the rewriter".to_owned())
        })?;
    loop {
        if targets.len() == MOST_TARGETS {
            return Err(ParserError::ParserError(format!("more than {MOST_TARGETS} conflict targets")));
        }
        let FoundTarget { start, elements, predicate, end } = found;
        let name = format!("{prefix}{}", targets.len());
        let elements = parser(dialect, &rest[elements], recursion, |parser| {
            parser.parse_comma_separated(Parser::parse_expr)
        })?;
        let predicate = predicate
            .map(|predicate| parser(dialect, &rest[predicate], recursion, Parser::parse_expr))
            .transpose()?;
        kept.extend_from_slice(&rest[..=start]);
        let word = Token::Word(Word { value: name.clone(), quote_style: None, keyword: Keyword::NoKeyword });
        kept.push(TokenWithSpan::new(word, rest[start].span));
        kept.push(TokenWithSpan::new(Token::RParen, rest[start].span));
        targets.push(ConflictKey { elements, predicate, name });
        rest = &rest[end..];
        match find(rest) {
            Some(next) => found = next,
            None => break,
        }
    }
    kept.extend_from_slice(rest);
    Ok((kept, targets))
}

/// Puts the targets back into the printed text.
pub(super) fn put_back(mut printed: String, targets: &[ConflictKey]) -> String {
    for target in targets {
        printed = printed.replacen(&format!("({})", target.name), &target.to_string(), 1);
    }
    printed
}

fn parser<T>(
    dialect: Dialect,
    tokens: &[TokenWithSpan],
    recursion: usize,
    parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
) -> Result<T, ParserError> {
    let mut parser = grammar::parser(dialect, tokens.to_vec(), recursion);
    let parsed = parse(&mut parser)?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(parsed),
        other => Err(ParserError::ParserError(format!(
            "a conflict target with `{other}`, which is not supported{}",
            next.span.start
        ))),
    }
}

struct FoundTarget {
    /// The parenthesis that opens the target.
    start: usize,
    elements: std::ops::Range<usize>,
    predicate: Option<std::ops::Range<usize>>,
    /// The first token after the target.
    end: usize,
}

fn keyword_of(token: &Token) -> Keyword {
    match token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// The first target that is not a plain list of columns.
fn find(tokens: &[TokenWithSpan]) -> Option<FoundTarget> {
    if !tokens.iter().any(|token| keyword_of(&token.token) == Keyword::CONFLICT) {
        return None;
    }
    let words: Vec<usize> =
        (0..tokens.len()).filter(|n| !matches!(tokens[*n].token, Token::Whitespace(_))).collect();
    let word = |n: usize| words.get(n).map(|at| &tokens[*at].token);
    let is = |n: usize, wanted: Keyword| matches!(word(n), Some(Token::Word(word)) if word.keyword == wanted);
    for n in 0..words.len() {
        if !(is(n, Keyword::ON) && is(n + 1, Keyword::CONFLICT) && word(n + 2) == Some(&Token::LParen)) {
            continue;
        }
        let close = closing(&words, tokens, n + 2)?;
        // Names separated by commas: the parser handles these.
        let plain = words[n + 3..close].iter().enumerate().all(|(n, at)| match &tokens[*at].token {
            Token::Word(_) => n % 2 == 0,
            token => n % 2 == 1 && *token == Token::Comma,
        });
        let mut end = close + 1;
        if is(end, Keyword::WHERE) {
            end = until_do(&words, tokens, end)?;
        } else if plain {
            continue;
        }
        if !is(end, Keyword::DO) {
            continue;
        }
        let predicate = (end > close + 1).then(|| words[close + 1] + 1..words[end]);
        return Some(FoundTarget {
            start: words[n + 2],
            elements: words[n + 2] + 1..words[close],
            predicate,
            end: words[end],
        });
    }
    None
}

/// The parenthesis that closes the one at `open`.
fn closing(words: &[usize], tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    (open..words.len()).find(|n| {
        match tokens[words[*n]].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    })
}

/// The DO that ends the condition that begins at `from`.
fn until_do(words: &[usize], tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (n, at) in words.iter().enumerate().skip(from) {
        match &tokens[*at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.checked_sub(1)?,
            Token::Word(word) if depth == 0 && word.keyword == Keyword::DO => return Some(n),
            _ => {}
        }
    }
    None
}
