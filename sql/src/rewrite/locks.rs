//! `FOR NO KEY UPDATE` and `FOR KEY SHARE`, which the parser has no node for.
//!
//! Before the text is parsed, each becomes `FOR UPDATE OF` or `FOR SHARE OF` a reserved name, which no written text can
//! contain. After printing, the lock replaces that form again.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace, Word};

use crate::dialect::Dialect;

/// A lock: its words, the parser's lock in its place, and the reserved name.
const LOCKS: [(&[Keyword], Keyword, &str); 2] = [
    (&[Keyword::FOR, Keyword::NO, Keyword::KEY, Keyword::UPDATE], Keyword::UPDATE, "__tnt_no_key"),
    (&[Keyword::FOR, Keyword::KEY, Keyword::SHARE], Keyword::SHARE, "__tnt_key"),
];

/// Replaces the locks in the tokens of a text.
pub(super) fn replace(dialect: Dialect, tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let is_key = |token: &TokenWithSpan| is(token, Keyword::KEY);
    if dialect != Dialect::Postgres || !tokens.iter().any(is_key) {
        return tokens;
    }
    let mut replaced = Vec::with_capacity(tokens.len() + 4);
    let mut rest = &tokens[..];
    while let Some((first, after)) = rest.split_first() {
        let lock = LOCKS.iter().find_map(|lock| Some((lock, behind(rest, lock.0)?)));
        let Some(((words, plain, name), behind_lock)) = lock else {
            replaced.push(first.clone());
            rest = after;
            continue;
        };
        let new = |token| TokenWithSpan::new(token, first.span);
        let of = behind(behind_lock, &[Keyword::OF]);
        for word in [words[0], *plain, Keyword::OF] {
            replaced.push(new(Token::make_keyword(&format!("{word:?}"))));
            replaced.push(new(Token::Whitespace(Whitespace::Space)));
        }
        let name = Word { value: (*name).to_owned(), quote_style: None, keyword: Keyword::NoKeyword };
        replaced.push(new(Token::Word(name)));
        if of.is_some() {
            replaced.push(new(Token::Period));
        }
        rest = of.map_or(behind_lock, without_space);
    }
    replaced
}

/// Puts the locks back into the printed text.
pub(super) fn put_back(printed: String) -> String {
    if !printed.contains("__tnt_no_key") && !printed.contains("__tnt_key") {
        return printed;
    }
    printed
        .replace("FOR UPDATE OF __tnt_no_key.", "FOR NO KEY UPDATE OF ")
        .replace("FOR UPDATE OF __tnt_no_key", "FOR NO KEY UPDATE")
        .replace("FOR SHARE OF __tnt_key.", "FOR KEY SHARE OF ")
        .replace("FOR SHARE OF __tnt_key", "FOR KEY SHARE")
}

/// The tokens after these words, if the tokens begin with them.
fn behind<'t>(tokens: &'t [TokenWithSpan], words: &[Keyword]) -> Option<&'t [TokenWithSpan]> {
    let mut rest = tokens;
    for (n, word) in words.iter().enumerate() {
        let from = if n == 0 && words.len() > 1 { rest } else { without_space(rest) };
        rest = from.split_first().filter(|(token, _)| is(token, *word))?.1;
    }
    Some(rest)
}

fn without_space(tokens: &[TokenWithSpan]) -> &[TokenWithSpan] {
    let spaces = tokens.iter().take_while(|token| matches!(token.token, Token::Whitespace(_))).count();
    &tokens[spaces..]
}

fn is(token: &TokenWithSpan, keyword: Keyword) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.keyword == keyword)
}
