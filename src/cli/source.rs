//! Finds the queries of a Rust file in its tokens, also within other macros.

use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::scope::Scope;
use super::texts::Texts;
use super::tokens::{arguments, is_ident, is_punct, listed, string};

/// Macros whose first literal is SQL.
const MACROS: [&str; 9] = [
    "query",
    "query_as",
    "query_scalar",
    "query_unchecked",
    "query_as_unchecked",
    "query_scalar_unchecked",
    "query_checked",
    "query_as_checked",
    "query_scalar_checked",
];
/// Macros whose first literal names a file of SQL.
const FILES: [&str; 6] = [
    "query_file",
    "query_file_as",
    "query_file_scalar",
    "query_file_unchecked",
    "query_file_as_unchecked",
    "query_file_scalar_unchecked",
];
/// Functions whose first argument is SQL.
const FUNCTIONS: [&str; 7] =
    ["query", "query_as", "query_scalar", "query_with", "query_as_with", "query_scalar_with", "raw_sql"];
/// Methods of executors whose first argument is SQL.
const METHODS: [&str; 11] = [
    "execute",
    "execute_many",
    "fetch",
    "fetch_many",
    "fetch_all",
    "fetch_one",
    "fetch_optional",
    "prepare",
    "prepare_with",
    "copy_in_raw",
    "copy_out_raw",
];
/// First words of a string that is taken for SQL, where other strings are possible.
const VERBS: [&str; 17] = [
    "select", "insert", "update", "delete", "with", "merge", "replace", "values", "truncate", "create",
    "alter", "drop", "copy", "lock", "call", "explain", "pragma",
];

/// A query and its position: line and column, from one.
#[derive(Debug, PartialEq)]
pub(crate) struct FoundQuery {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) sql: QueryText,
}

#[derive(Debug, PartialEq)]
pub(crate) enum QueryText {
    Text(String),
    /// The file that a `query_file!` names.
    File(String),
    /// The file of an `include_str!` that cannot be read, with the reason.
    Missing(String),
    /// The table that `#[tenant(table = "..")]` names.
    Table(String),
    /// The beginning of a text that is built at run time.
    Started(String),
    /// A text that is built at run time from nothing in the source.
    Computed,
}

/// Returns the queries of a file, in the order of the text. A query that can have several texts is returned for each.
pub(crate) fn queries(source: &str, directory: &Path) -> Result<Vec<FoundQuery>, String> {
    let tokens: TokenStream = source.parse().map_err(|e: proc_macro2::LexError| {
        let at = e.span().start();
        format!("{}:{}: {e}", at.line, at.column + 1)
    })?;
    let tokens = listed(tokens);
    let mut scope = Scope::new(directory, &tokens);
    let mut found = Vec::new();
    walk(&tokens, false, &mut scope, &mut found);
    Ok(found)
}

/// Adds the queries of a block. `function` is whether it is the body of a function.
fn walk(tokens: &[TokenTree], function: bool, scope: &mut Scope<'_>, found: &mut Vec<FoundQuery>) {
    scope.enter(tokens, function);
    let mut later = Vec::new();
    let mut body = false;
    for (at, token) in tokens.iter().enumerate() {
        later.extend(scope.bound(tokens, at));
        let (known, rest): (Vec<_>, Vec<_>) = later.into_iter().partition(|(from, _)| *from <= at);
        later = rest;
        for (_, names) in known {
            scope.bind(names);
        }
        match token {
            TokenTree::Group(group) => {
                let attribute = tokens[..at].last().is_some_and(|token| is_punct(token, '#'));
                if let Some(table) = attribute.then(|| table(group)).flatten() {
                    add(found, group.span_open().start(), QueryText::Table(table));
                }
                let block = group.delimiter() == Delimiter::Brace;
                walk(&listed(group.stream()), body && block, scope, found);
                body &= !block;
            }
            TokenTree::Ident(name) => {
                body |= name == "fn";
                for sql in query(&name.to_string(), &tokens[..at], &tokens[at + 1..], scope) {
                    add(found, name.span().start(), sql);
                }
            }
            TokenTree::Punct(punct) => body &= punct.as_char() != ';',
            TokenTree::Literal(_) => {}
        }
    }
    scope.leave();
}

fn add(found: &mut Vec<FoundQuery>, start: proc_macro2::LineColumn, sql: QueryText) {
    found.push(FoundQuery { line: start.line, column: start.column + 1, sql });
}

/// The possible SQL of a call, given its name and the tokens around the name.
fn query(name: &str, before: &[TokenTree], after: &[TokenTree], scope: &mut Scope<'_>) -> Vec<QueryText> {
    if before.last().is_some_and(|token| is_ident(token, &["fn", "mod", "use"])) {
        return Vec::new();
    }
    if let [bang, TokenTree::Group(group), ..] = after
        && is_punct(bang, '!')
    {
        let text = || arguments(group).iter().find_map(|argument| literal(argument));
        return match name {
            name if MACROS.contains(&name) => vec![text().map_or(QueryText::Computed, QueryText::Text)],
            name if FILES.contains(&name) => vec![text().map_or(QueryText::Computed, QueryText::File)],
            _ => Vec::new(),
        };
    }
    let method = before.last().is_some_and(|token| is_punct(token, '.'));
    let functions = if method { &METHODS[..] } else { &FUNCTIONS[..] };
    if !functions.contains(&name) && name != "QueryBuilder" {
        return Vec::new();
    }
    let arguments = call(after).map(arguments).unwrap_or_default();
    let Some(first) = arguments.first() else { return Vec::new() };
    let texts = scope.texts(first);
    if name == "QueryBuilder" {
        let start = texts.known.first().filter(|_| texts.known.len() == 1 && !texts.unread).cloned();
        return vec![start.map_or(QueryText::Computed, QueryText::Started)];
    }
    let number = matches!(&first[..], [TokenTree::Literal(_)]);
    let unknown = texts.known.is_empty() && texts.missing.is_empty() && !number;
    let known = texts.known.iter().any(|text| looks_like_sql(text))
        || if method { is_made(first) } else { is_of_sqlx(before) || unknown };
    if known { possible(texts) } else { Vec::new() }
}

fn possible(Texts { known, unread, missing }: Texts) -> Vec<QueryText> {
    let computed = unread || known.is_empty() && missing.is_empty();
    let texts = known.into_iter().map(QueryText::Text);
    texts
        .chain(missing.into_iter().map(QueryText::Missing))
        .chain(computed.then_some(QueryText::Computed))
        .collect()
}

/// The table that the attribute `[tenant(table = "..")]` names.
fn table(attribute: &Group) -> Option<String> {
    let tokens = listed(attribute.stream());
    let [name, TokenTree::Group(group)] = &tokens[..] else { return None };
    let text = |argument: &Vec<TokenTree>| match &argument[..] {
        [name, equals, text @ ..] if is_ident(name, &["table"]) && is_punct(equals, '=') => literal(text),
        _ => None,
    };
    is_ident(name, &["tenant"]).then(|| arguments(group).iter().find_map(text)).flatten()
}

/// Whether `sqlx::` precedes a name.
fn is_of_sqlx(before: &[TokenTree]) -> bool {
    matches!(before, [.., name, one, two] if is_ident(name, &["sqlx"]) && is_punct(one, ':') && is_punct(two, ':'))
}

/// Whether the expression of an argument shows that it is SQL: `AssertSqlSafe(..)`, or `format!("SELECT ..")`.
fn is_made(argument: &[TokenTree]) -> bool {
    let format = |tokens: &[TokenTree]| match tokens {
        [name, bang, TokenTree::Group(group)] if is_ident(name, &["format"]) && is_punct(bang, '!') => {
            arguments(group).first().and_then(|text| literal(text)).is_some_and(|text| looks_like_sql(&text))
        }
        _ => false,
    };
    argument.iter().any(|token| is_ident(token, &["AssertSqlSafe"])) || argument.windows(3).any(format)
}

/// The parentheses of a call: directly, after `::<..>`, or after `::new`.
fn call(after: &[TokenTree]) -> Option<&Group> {
    let mut depth = 0_usize;
    for (at, token) in after.iter().enumerate() {
        match token {
            TokenTree::Group(group) if depth == 0 => {
                return (group.delimiter() == Delimiter::Parenthesis).then_some(group);
            }
            TokenTree::Punct(punct) if punct.as_char() == '<' && at >= 2 => depth += 1,
            // The arrow of a function type is not a closing bracket.
            TokenTree::Punct(punct) if punct.as_char() == '>' && at > 0 && !is_punct(&after[at - 1], '-') => {
                depth = depth.checked_sub(1)?;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => {}
            TokenTree::Ident(name) if depth == 0 && (name == "new" || name == "with_arguments") => {}
            _ if depth > 0 => {}
            _ => return None,
        }
    }
    None
}

/// A literal of a macro, possibly of several parts: `"a"`, `r"a"`, `"a" + "b"`.
fn literal(tokens: &[TokenTree]) -> Option<String> {
    match tokens {
        [TokenTree::Group(group)] if group.delimiter() == Delimiter::None => literal(&listed(group.stream())),
        [text] => string(text),
        tokens if tokens.iter().any(|token| is_punct(token, '+')) => {
            tokens.split(|token| is_punct(token, '+')).map(literal).collect()
        }
        _ => None,
    }
}

fn looks_like_sql(text: &str) -> bool {
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    // SQL can begin with a comment.
    start.starts_with("--")
        || start.starts_with("/*")
        || start
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .next()
            .is_some_and(|word| VERBS.iter().any(|verb| word.eq_ignore_ascii_case(verb)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(usize, QueryText)> {
        queries(source, Path::new("")).unwrap().into_iter().map(|found| (found.line, found.sql)).collect()
    }

    fn text(sql: &str) -> QueryText {
        QueryText::Text(sql.to_owned())
    }

    #[test]
    fn queries_are_found_in_every_position() {
        let source = r##"
            use sqlx::query;
            const OPEN: &str = "SELECT 2";
            fn query_as() {}
            async fn f(pool: &PgPool) {
                sqlx::query("SELECT 1").bind(1).execute(pool).await;
                sqlx::query_as::<_, (Option<i64>, String)>(OPEN).fetch_all(pool).await;
                sqlx::query_scalar::<Postgres, fn() -> i64>(r#"SELECT "3" "#);
                assert_eq!(join!(sqlx::query_as!(Order, "SELECT 4", 1), query!("SELECT " + "5")), 1);
                tenancy::query_scalar!(&scope, i64, "SELECT 6");
                query_file!("queries/seven.sql", 1);
                let mut builder: QueryBuilder<'_, Postgres> = QueryBuilder::new("SELECT 8 WHERE ");
                QueryBuilder::<Postgres>::new(format!("SELECT {x}"));
                pool.execute("DELETE FROM t").await;
                sqlx::query(&format!("SELECT {name}"));
                sqlx::query(concat!("SELECT ", "11"));
                raw_sql(sql::OPEN);
            }
        "##;
        let wanted = [
            (6, text("SELECT 1")),
            (7, text("SELECT 2")),
            (8, text("SELECT \"3\" ")),
            (9, text("SELECT 4")),
            (9, text("SELECT 5")),
            (10, text("SELECT 6")),
            (11, QueryText::File("queries/seven.sql".to_owned())),
            (12, QueryText::Started("SELECT 8 WHERE ".to_owned())),
            (13, QueryText::Computed),
            (14, text("DELETE FROM t")),
            (15, QueryText::Computed),
            (16, text("SELECT 11")),
            (17, text("SELECT 2")),
        ];
        assert_eq!(found(source), wanted);
    }

    #[test]
    fn unusual_queries_are_found() {
        let source = r#"
            mod one { const OPEN: &str = "SELECT 1"; fn f() { sqlx::query(OPEN); pool.execute(OPEN); } }
            mod two { const OPEN: &str = "SELECT spy(2)"; }
            const TAIL: &str = " LIMIT 1";
            async fn f(pool: &PgPool) {
                sqlx::query("TRUNCATE orders");
                sqlx::query("SET ROLE admin");
                query("DROP TABLE orders");
                pool.execute("TRUNCATE orders").await;
                pool.prepare("SELECT 10").await;
                pool.copy_in_raw("COPY orders FROM STDIN").await;
                pool.execute(AssertSqlSafe(sql)).await;
                pool.execute(format!("DELETE FROM {table}").as_str()).await;
                sqlx::query(start() + TAIL);
            }
        "#;
        let wanted = [
            (2, text("SELECT 1")),
            (2, text("SELECT 1")),
            (6, text("TRUNCATE orders")),
            (7, text("SET ROLE admin")),
            (8, text("DROP TABLE orders")),
            (9, text("TRUNCATE orders")),
            (10, text("SELECT 10")),
            (11, text("COPY orders FROM STDIN")),
            (12, QueryText::Computed),
            (13, QueryText::Computed),
            (14, QueryText::Computed),
        ];
        assert_eq!(found(source), wanted);
    }

    #[test]
    fn the_table_of_a_struct_is_found() {
        let source = r#"
            #[derive(TenantScoped)]
            #[tenant(table = "orders", column = "org_id")]
            struct Order { #[tenant(id)] id: i64 }
            mod inner { #[tenant(column = "org_id", table = "shop.notes")] struct Note; }
            fn tenant(table: &str) { tenant(table = "none") }
        "#;
        let table = |name: &str| QueryText::Table(name.to_owned());
        assert_eq!(found(source), [(3, table("orders")), (5, table("shop.notes"))]);
    }

    #[test]
    fn other_strings_are_ignored() {
        let source = r#"
            fn query(text: &str) {}
            fn main() {
                query("a word");
                assert_eq!(query(7), 1);
                url.query("SELECT 1");
                files.fetch_all("https://example.com");
                map.execute(command);
                files.fetch_all(&format!("https://{host}"));
                log.execute("selection of rows");
                // sqlx::query("SELECT 1")
                let text = "sqlx::query(\"SELECT 1\")";
            }
        "#;
        assert_eq!(found(source), []);
        assert!(queries("fn main() { (", Path::new("")).is_err());
    }
}
