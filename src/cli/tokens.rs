//! Questions about the tokens of Rust source.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

pub(crate) fn is_ident(token: &TokenTree, names: &[&str]) -> bool {
    matches!(token, TokenTree::Ident(name) if names.iter().any(|known| name == known))
}

pub(crate) fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

pub(crate) fn listed(stream: TokenStream) -> Vec<TokenTree> {
    stream.into_iter().collect()
}

/// The parts of a list, without empty ones.
pub(crate) fn arguments(group: &Group) -> Vec<Vec<TokenTree>> {
    listed(group.stream())
        .split(|token| is_punct(token, ','))
        .filter(|argument| !argument.is_empty())
        .map(<[_]>::to_vec)
        .collect()
}

/// The name and the arguments of a macro call that is a whole expression, such as `concat!("a")` or `std::concat!("a")`.
pub(crate) fn macro_call(tokens: &[TokenTree]) -> Option<(String, &Group)> {
    match tokens {
        [path @ .., TokenTree::Ident(name), bang, TokenTree::Group(group)]
            if is_punct(bang, '!') && path.iter().all(is_path) =>
        {
            Some((name.to_string(), group))
        }
        _ => None,
    }
}

/// Whether a token can stand before the last name of a path.
pub(crate) fn is_path(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(_)) || is_punct(token, ':')
}

/// The text of a string literal.
pub(crate) fn string(token: &TokenTree) -> Option<String> {
    let TokenTree::Literal(text) = token else { return None };
    syn::parse_str::<syn::LitStr>(&text.to_string()).ok().map(|text| text.value())
}

pub(crate) fn delimited(token: &TokenTree, delimiter: Delimiter) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

pub(crate) fn position(tokens: &[TokenTree], sign: char) -> Option<usize> {
    tokens.iter().position(|token| is_punct(token, sign))
}

/// The pattern of an arm, given the tokens before its arrow.
pub(crate) fn pattern(before: &[TokenTree]) -> &[TokenTree] {
    let ends = |token: &TokenTree| is_punct(token, ',') || delimited(token, Delimiter::Brace).is_some();
    &before[before.iter().rposition(ends).map_or(0, |at| at + 1)..]
}

pub(crate) fn is_arrow(token: &TokenTree, next: Option<&TokenTree>) -> bool {
    is_punct(token, '=') && next.is_some_and(|next| is_punct(next, '>'))
}

/// Whether a `|` after these tokens begins the parameters of a closure.
pub(crate) fn opens_closure(before: &[TokenTree]) -> bool {
    match before {
        [] => true,
        [.., equals, last] if is_punct(last, '>') => is_punct(equals, '='),
        [.., last] => {
            is_ident(last, &["move", "return", "else"])
                || [',', '=', '(', ';', '&'].iter().any(|sign| is_punct(last, *sign))
        }
    }
}
