//! Reads the texts of an expression: literals, constants and variables, and what is made of them.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, TokenTree};

use super::scope::{Names, Scope, hidden};
use super::texts::Texts;
use super::tokens::{
    arguments, delimited, is_arrow, is_ident, is_path, is_punct, listed, macro_call, position, string,
};

/// Methods that return their text unchanged, or the elements of a list.
const SAME: [&str; 13] = [
    "to_string",
    "to_owned",
    "into",
    "as_str",
    "as_ref",
    "clone",
    "into_owned",
    "into_string",
    "into_boxed_str",
    "into_sql_str",
    "iter",
    "into_iter",
    "copied",
];
/// Types whose functions return the text that they are given.
const TYPES: [&str; 7] = ["String", "Cow", "Arc", "Rc", "Box", "SqlStr", "SqlSafeStr"];
const FUNCTIONS: [&str; 5] = ["from", "from_static", "new", "Borrowed", "Owned"];
/// What ends an arm without a value.
const ENDS: [&str; 4] = ["return", "break", "continue", "loop"];
const PANICS: [&str; 6] = ["panic", "unreachable", "todo", "unimplemented", "bail", "compile_error"];

impl Scope<'_> {
    /// The texts that an expression can have.
    pub(crate) fn texts(&mut self, tokens: &[TokenTree]) -> Texts {
        if let Some((name, group)) = macro_call(tokens) {
            return self.of_macro(&name, group);
        }
        match tokens {
            [TokenTree::Group(group)] => self.of_group(group),
            [TokenTree::Ident(name)] if !is_ident(&tokens[0], &ENDS) => self.named(&name.to_string()),
            [text @ TokenTree::Literal(_)] => string(text).map_or_else(Texts::unread, Texts::one),
            [first, rest @ ..] if is_punct(first, '&') || is_punct(first, '*') => self.texts(rest),
            [first, ..] if is_ident(first, &ENDS) => Texts::default(),
            [first, rest @ ..] if is_ident(first, &["if"]) => self.of_if(rest),
            [first, .., TokenTree::Group(arms)] if is_ident(first, &["match"]) => self.of_match(arms),
            _ if position(tokens, '+').is_some() => {
                let parts = tokens.split(|token| is_punct(token, '+')).map(|part| self.texts(part));
                parts.reduce(|one, other| one.then(&other)).unwrap_or_else(Texts::unread)
            }
            [value @ .., dot, TokenTree::Ident(_), TokenTree::Group(none)]
                if is_punct(dot, '.') && none.stream().is_empty() =>
            {
                let same = is_ident(&tokens[tokens.len() - 2], &SAME);
                if same { self.texts(value) } else { Texts::unread() }
            }
            [list @ .., TokenTree::Group(index)] if index.delimiter() == Delimiter::Bracket => {
                self.texts(list)
            }
            [path @ .., TokenTree::Ident(name), TokenTree::Group(group)] if path.iter().all(is_path) => {
                self.of_call(path, &name.to_string(), group)
            }
            [path @ .., TokenTree::Ident(name)] if path.iter().all(is_path) => {
                self.of_path(path, &name.to_string())
            }
            _ => Texts::unread(),
        }
    }

    fn of_group(&mut self, group: &Group) -> Texts {
        match group.delimiter() {
            Delimiter::Brace => self.of_block(&listed(group.stream())),
            // A list stands for each of its elements.
            Delimiter::Bracket => {
                arguments(group).iter().map(|part| self.texts(part)).fold(Texts::default(), Texts::or)
            }
            Delimiter::Parenthesis | Delimiter::None => self.texts(&listed(group.stream())),
        }
    }

    /// The value of a block: that of its last expression.
    fn of_block(&mut self, tokens: &[TokenTree]) -> Texts {
        let last = tokens.iter().rposition(|token| is_punct(token, ';')).map_or(0, |at| at + 1);
        if last == tokens.len() {
            let statement = tokens[..last.saturating_sub(1)].rsplit(|token| is_punct(token, ';')).next();
            let ends = |first: &TokenTree| is_ident(first, &ENDS) || is_ident(first, &PANICS);
            let ended = statement.and_then(<[_]>::first).is_some_and(ends);
            return if ended { Texts::default() } else { Texts::unread() };
        }
        self.enter(tokens, false);
        for at in 0..last {
            if is_ident(&tokens[at], &["let"])
                && let Some((_, names)) = self.bound(tokens, at)
            {
                self.bind(names);
            }
        }
        let texts = self.texts(&tokens[last..]);
        self.leave();
        texts
    }

    fn of_if(&mut self, tokens: &[TokenTree]) -> Texts {
        let Some(at) = tokens.iter().position(|token| delimited(token, Delimiter::Brace).is_some()) else {
            return Texts::unread();
        };
        let names = if is_ident(&tokens[0], &["let"]) { hidden(&tokens[..at]) } else { Vec::new() };
        let then = self.with(names, &tokens[at..=at]);
        match &tokens[at + 1..] {
            [otherwise, rest @ ..] if is_ident(otherwise, &["else"]) => then.or(self.texts(rest)),
            _ => Texts::unread(),
        }
    }

    fn of_match(&mut self, arms: &Group) -> Texts {
        let tokens = listed(arms.stream());
        let mut rest = &tokens[..];
        let mut found = Texts::default();
        while let Some(at) = (0..rest.len()).find(|at| is_arrow(&rest[*at], rest.get(at + 1))) {
            let names = hidden(&rest[..at]);
            rest = &rest[at + 2..];
            let block = rest.first().is_some_and(|token| delimited(token, Delimiter::Brace).is_some());
            let end = if block { 1 } else { position(rest, ',').unwrap_or(rest.len()) };
            found = found.or(self.with(names, &rest[..end]));
            rest = &rest[end..];
        }
        found
    }

    /// The texts of an expression in which some names are bound.
    fn with(&mut self, names: Names, tokens: &[TokenTree]) -> Texts {
        self.enter(&[], false);
        self.bind(names);
        let texts = self.texts(tokens);
        self.leave();
        texts
    }

    fn of_call(&mut self, path: &[TokenTree], name: &str, group: &Group) -> Texts {
        let of_text = path.iter().any(|token| is_ident(token, &TYPES)) && FUNCTIONS.contains(&name);
        match &arguments(group)[..] {
            [text] if of_text || name == "AssertSqlSafe" => self.texts(text),
            _ => Texts::unread(),
        }
    }

    fn of_macro(&mut self, name: &str, group: &Group) -> Texts {
        let arguments = arguments(group);
        match (name, &arguments[..]) {
            ("concat" | "concatcp", [_, ..]) => {
                let parts = arguments.iter().map(|part| self.texts(part));
                parts.reduce(|one, other| one.then(&other)).unwrap_or_default()
            }
            ("include_str", [path]) => self
                .texts(path)
                .known
                .iter()
                .map(|name| self.file(name))
                .reduce(Texts::or)
                .unwrap_or_else(Texts::unread),
            ("indoc", [text]) => self.texts(text),
            ("format" | "formatcp", [text, values @ ..]) => match &text[..] {
                [text] => string(text).map_or_else(Texts::unread, |text| self.formatted(&text, values)),
                _ => Texts::unread(),
            },
            (name, _) if PANICS.contains(&name) => Texts::default(),
            _ => Texts::unread(),
        }
    }

    fn file(&self, name: &str) -> Texts {
        match std::fs::read_to_string(self.directory.join(name)) {
            Ok(text) => Texts::one(text),
            Err(e) => Texts { missing: BTreeSet::from([format!("{name}: {e}")]), ..Texts::default() },
        }
    }

    /// The text of a `format!` whose values are known.
    fn formatted(&mut self, text: &str, values: &[Vec<TokenTree>]) -> Texts {
        let mut found = Texts::one(String::new());
        let mut unnamed = 0;
        // Doubled braces stand for themselves; these signs do not occur in SQL.
        let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
        for (n, part) in text.split('{').enumerate() {
            let (name, plain) = if n == 0 {
                (None, part)
            } else {
                let Some((name, plain)) = part.split_once('}') else { return Texts::unread() };
                (Some(name), plain)
            };
            if let Some(name) = name {
                let number = if name.is_empty() {
                    unnamed += 1;
                    Some(unnamed - 1)
                } else {
                    name.parse().ok()
                };
                found = found.then(&self.value(name, number, values));
            }
            found = found.then(&Texts::one(plain.replace('\u{1}', "{").replace('\u{2}', "}")));
        }
        found
    }

    fn value(&mut self, name: &str, number: Option<usize>, values: &[Vec<TokenTree>]) -> Texts {
        if let Some(value) = number {
            return values.get(value).map_or_else(Texts::unread, |value| self.texts(value));
        }
        let named = values.iter().find_map(|value| match &value[..] {
            [key, equals, value @ ..] if is_ident(key, &[name]) && is_punct(equals, '=') => Some(value),
            _ => None,
        });
        match named {
            Some(value) => self.texts(value),
            None => self.named(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::source::{QueryText, queries};

    /// The texts on each line, in the order of the source; `?` is one that is not read.
    fn texts(source: &str) -> Vec<(usize, String)> {
        let shown = |found: QueryText| match found {
            QueryText::Text(text) => text,
            QueryText::Computed => "?".to_owned(),
            other => format!("{other:?}"),
        };
        queries(source, Path::new(""))
            .unwrap()
            .into_iter()
            .map(|found| (found.line, shown(found.sql)))
            .collect()
    }

    #[test]
    fn the_texts_of_variables_and_constants_are_found() {
        let source = r#"
            const COLUMNS: &str = "id, name";
            const LIST: &str = concat!("SELECT ", "1");
            const ALL: &[&str] = &["SELECT 2", "SELECT 3"];
            mod sql { pub const OPEN: &str = formatcp!("SELECT {COLUMNS} FROM t"); }
            impl A { const SQL: &str = "SELECT 4"; fn f() { sqlx::query(Self::SQL); } }
            impl B { const SQL: &str = "SELECT 5"; fn f() { sqlx::query(Self::SQL); } }
            async fn f(pool: &PgPool, given: &str, old: bool) {
                let sql = "SELECT 6";
                sqlx::query(sql);
                { let sql = "SELECT 7"; pool.fetch_one(sql).await; }
                let sql: &'static str = if old { "SELECT 8" } else if given { let x = "SELECT 9"; x } else { return; };
                sqlx::query(&sql);
                let by = match given { "a" => "id", "b" => { "name" } _ => unreachable!() };
                sqlx::query(AssertSqlSafe(format!("SELECT 10 ORDER BY {by} LIMIT {}", 5)));
                sqlx::query(AssertSqlSafe(format!("SELECT {} WHERE '{{}}' = {x}", COLUMNS, x = "1")));
                sqlx::query(&ALL[1].to_string());
                for sql in ALL.iter() { pool.execute(*sql).await; }
                sqlx::query(sql::OPEN);
                sqlx::query(String::from(LIST).as_str());
                sqlx::query(indoc!("SELECT 11") + " LIMIT 1");
                let run = |sql: &str| async move { sqlx::query(sql) };
                fn inner(by: &str) { sqlx::query(by); }
            }
        "#;
        let wanted = [
            (6, "SELECT 4"),
            (7, "SELECT 5"),
            (10, "SELECT 6"),
            (11, "SELECT 7"),
            (13, "SELECT 8"),
            (13, "SELECT 9"),
            (15, "?"),
            (16, "SELECT id, name WHERE '{}' = 1"),
            (17, "SELECT 2"),
            (17, "SELECT 3"),
            (18, "SELECT 2"),
            (18, "SELECT 3"),
            (19, "SELECT id, name FROM t"),
            (20, "SELECT 1"),
            (21, "SELECT 11 LIMIT 1"),
            (22, "?"),
            (23, "?"),
        ];
        let wanted = wanted.map(|(line, text)| (line, text.to_owned()));
        assert_eq!(texts(source), wanted);
    }

    #[test]
    fn a_name_that_can_have_another_text_is_not_read() {
        let source = r#"
            fn f(old: bool) {
                let mut sql = "SELECT 1".to_owned();
                sql.push_str(" WHERE true");
                sqlx::query(&sql);
                let sql = if old { "SELECT 2" } else { later() };
                sqlx::query(sql);
                let sql = "SELECT 3";
                if let Some(sql) = given() { sqlx::query(sql); }
                match given() { Some(sql) if old => sqlx::query(sql), None => sqlx::query("SELECT 4") };
                let (sql, other) = pair();
                sqlx::query(sql);
                let sql = "SELECT 5".replace("5", "6");
                sqlx::query(&sql);
                let sql = sql_of("SELECT 7");
                sqlx::query(sql);
                let (a, b) = (old || old, 1 | 2);
                let sql = "SELECT 8" ;
                sqlx::query(match old { true => sql, false => a.0 });
                let Some(sql) = given() else { return };
                sqlx::query(sql);
                sqlx::query(include_str!("no_such_file.sql"));
            }
        "#;
        let found = texts(source);
        let short: Vec<(usize, &str)> =
            found.iter().map(|(line, text)| (*line, &text[..text.len().min(8)])).collect();
        let wanted = [
            (5, "?"),
            (7, "SELECT 2"),
            (7, "?"),
            (9, "?"),
            (10, "?"),
            (10, "SELECT 4"),
            (12, "?"),
            (14, "?"),
            (16, "?"),
            (19, "SELECT 8"),
            (19, "?"),
            (21, "?"),
            (22, "Missing("),
        ];
        assert_eq!(short, wanted);
    }
}
