//! [`Scope`]: what the names of a Rust file mean at one place.

use std::collections::HashMap;
use std::path::Path;

use proc_macro2::{Delimiter, TokenTree};

use super::texts::Texts;
use super::tokens::{delimited, is_arrow, is_ident, is_punct, listed, opens_closure, pattern, position};

/// The names of a block: those of its items everywhere in it, and those of `let` from there on.
#[derive(Default)]
struct Block {
    items: HashMap<String, Texts>,
    variables: HashMap<String, Texts>,
    /// Whether this is the body of a function, which does not see the variables outside of it.
    function: bool,
}

/// Names with the texts that they stand for.
pub(crate) type Names = Vec<(String, Texts)>;

/// What the names mean at one place of a file.
pub(crate) struct Scope<'a> {
    /// The directory of the file, for `include_str!`.
    pub(crate) directory: &'a Path,
    /// The constants of the whole file by their last name. Several can have the same.
    constants: HashMap<String, Texts>,
    blocks: Vec<Block>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(directory: &'a Path, tokens: &[TokenTree]) -> Self {
        let mut scope = Self { directory, constants: HashMap::new(), blocks: Vec::new() };
        // A constant can be made of others, which stand anywhere.
        for _ in 0..3 {
            let mut found = HashMap::new();
            scope.collect(tokens, &mut found);
            scope.constants = found;
        }
        scope
    }

    fn collect(&mut self, tokens: &[TokenTree], found: &mut HashMap<String, Texts>) {
        for (name, texts) in self.items(tokens) {
            let known: Texts = found.remove(&name).unwrap_or_default();
            found.insert(name, known.or(texts));
        }
        for token in tokens {
            if let TokenTree::Group(group) = token {
                self.collect(&listed(group.stream()), found);
            }
        }
    }

    /// The constants among some tokens, not those within their blocks.
    fn items(&mut self, tokens: &[TokenTree]) -> Names {
        let mut found = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let after = &tokens[at + 1..];
            if let [TokenTree::Ident(name), colon, rest @ ..] = after
                && is_ident(token, &["const", "static"])
                && is_punct(colon, ':')
                && let Some(end) = position(rest, ';')
                && let Some(start) = position(&rest[..end], '=')
            {
                found.push((name.to_string(), self.texts(&rest[start + 1..end])));
            }
        }
        found
    }

    /// Enters a block. `function` is whether it is the body of a function.
    pub(crate) fn enter(&mut self, tokens: &[TokenTree], function: bool) {
        self.blocks.push(Block { function, ..Block::default() });
        let items = self.items(tokens).into_iter().collect();
        if let Some(block) = self.blocks.last_mut() {
            block.items = items;
        }
    }

    pub(crate) fn leave(&mut self) {
        self.blocks.pop();
    }

    /// The names that the token at this position binds, and the position from which they are known.
    pub(crate) fn bound(&mut self, tokens: &[TokenTree], at: usize) -> Option<(usize, Names)> {
        let rest = &tokens[at + 1..];
        match &tokens[at] {
            token if is_ident(token, &["let"]) => {
                let condition =
                    at > 0 && (is_ident(&tokens[at - 1], &["if", "while"]) || is_punct(&tokens[at - 1], '&'));
                let end = position(rest, if condition { '=' } else { ';' })?;
                let value = position(&rest[..end], '=');
                let names = match (&rest[..value.unwrap_or(end)], value) {
                    ([TokenTree::Ident(name)], Some(start)) => {
                        vec![(name.to_string(), self.texts(&rest[start + 1..end]))]
                    }
                    ([TokenTree::Ident(name), colon, ..], Some(start)) if is_punct(colon, ':') => {
                        vec![(name.to_string(), self.texts(&rest[start + 1..end]))]
                    }
                    (pattern, _) => hidden(pattern),
                };
                Some((at + 1 + end, names))
            }
            token if is_ident(token, &["for"]) => {
                let list = rest.iter().position(|token| is_ident(token, &["in"]))?;
                let end = rest.iter().position(|token| delimited(token, Delimiter::Brace).is_some())?;
                let elements = rest.get(list + 1..end)?;
                Some(match &rest[..list] {
                    [TokenTree::Ident(name)] => (at, vec![(name.to_string(), self.texts(elements))]),
                    pattern => (at, hidden(pattern)),
                })
            }
            token if is_punct(token, '|') && opens_closure(&tokens[..at]) => {
                Some((at, hidden(&rest[..position(rest, '|')?])))
            }
            token if is_arrow(token, rest.first()) => Some((at, hidden(pattern(&tokens[..at])))),
            _ => None,
        }
    }

    pub(crate) fn bind(&mut self, names: Names) {
        if let Some(block) = self.blocks.last_mut() {
            block.variables.extend(names);
        }
    }

    /// The texts of the innermost binding of a name.
    pub(crate) fn named(&self, name: &str) -> Texts {
        let mut visible = true;
        for block in self.blocks.iter().rev() {
            let variable = block.variables.get(name).filter(|_| visible);
            if let Some(texts) = variable.or_else(|| block.items.get(name)) {
                return texts.clone();
            }
            visible &= !block.function;
        }
        self.constants.get(name).cloned().unwrap_or_else(Texts::unread)
    }

    pub(crate) fn of_path(&self, path: &[TokenTree], name: &str) -> Texts {
        match path {
            [this, ..] if is_ident(this, &["Self", "self"]) => self.named(name),
            _ => self.constants.get(name).cloned().unwrap_or_else(Texts::unread),
        }
    }
}

/// The names in a pattern, whose texts are not known.
pub(crate) fn hidden(pattern: &[TokenTree]) -> Names {
    let mut names = Vec::new();
    for token in pattern {
        match token {
            TokenTree::Ident(name) => names.push((name.to_string(), Texts::unread())),
            TokenTree::Group(group) => names.extend(hidden(&listed(group.stream()))),
            _ => {}
        }
    }
    // Names in capitals are constants and types.
    names.retain(|(name, _)| !name.starts_with(|c: char| c.is_uppercase()));
    names
}
