//! The properties of the rewriter that the fuzz targets check, and how they generate statements. The property test
//! `sql/tests/rewrite_properties.rs` checks the same properties on stable Rust.
#![allow(dead_code, reason = "each target uses only a part")]
#![allow(unreachable_pub, reason = "this is not a library")]

use std::sync::LazyLock;

use tenancy_sql::{Bind, Dialect, rewrite};

use crate::cases;

pub const WORDS: &str = "SELECT FROM WHERE JOIN LEFT RIGHT FULL CROSS NATURAL LATERAL ON USING GROUP BY ORDER LIMIT \
    OFFSET HAVING UNION ALL EXCEPT INTERSECT WITH RECURSIVE AS AND OR NOT IN EXISTS ANY CASE WHEN THEN ELSE END \
    INSERT INTO VALUES UPDATE SET DELETE RETURNING MERGE MATCHED CONFLICT DO NOTHING DISTINCT FOR TABLE ONLY ROW \
    ARRAY DEFAULT orders items docs countries feedback tenants a b o i x tenant_id id __tnt_orders excluded lower \
    count max ( ) ( ) , , . ; = < > + - * / || :: [ ] $1 $2 ? ?1 :n @v 1 2.5 'x' 'a''b' 'a\\' E'\\'' $$ \"q\" `q` -- \
    /* */ /*! # NULL true OVER PARTITION FILTER INTERVAL CAST EXTRACT TABLESAMPLE SYSTEM LOCK SHARE DUPLICATE KEY \
    REPLACE IGNORE";

/// Every statement in the case files.
static CORPUS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let files = [
        include_str!("../sql/tests/cases/constructs.txt"),
        include_str!("../sql/tests/cases/leaks.txt"),
        include_str!("../sql/tests/cases/rejections.txt"),
    ];
    files.iter().flat_map(|file| cases::read(file)).map(|case| case.sql).collect()
});

/// Decodes bytes into a statement: the bytes as text, or a statement of the case files with changed words and
/// characters.
pub fn statement(data: &[u8]) -> String {
    let (changes, mut sql) = match data {
        [how, rest @ ..] if how % 4 == 0 => return String::from_utf8_lossy(rest).into_owned(),
        [high, low, rest @ ..] => (rest, corpus(usize::from(*high) << 8 | usize::from(*low)).to_owned()),
        _ => return String::new(),
    };
    for change in changes.chunks_exact(4).take(12) {
        let [how, high, low, with] = change else { continue };
        let (at, with) = (usize::from(*high) << 8 | usize::from(*low), usize::from(*with));
        sql = if how % 3 == 0 { by_character(&sql, *how, at, with) } else { by_word(&sql, *how, at, with) };
    }
    sql
}

fn corpus(n: usize) -> &'static str {
    &CORPUS[n % CORPUS.len()]
}

fn by_character(sql: &str, how: u8, at: usize, with: usize) -> String {
    let mut chars: Vec<char> = sql.chars().collect();
    let at = at % (chars.len() + 1);
    let new = char::from(u8::try_from(with % 256).unwrap_or(b' '));
    match how / 3 % 3 {
        0 => chars.insert(at, new),
        1 if at < chars.len() => chars[at] = new,
        _ if at < chars.len() => drop(chars.remove(at)),
        _ => {}
    }
    chars.into_iter().collect()
}

fn by_word(sql: &str, how: u8, at: usize, with: usize) -> String {
    let split = |text: &'static str| text.split_inclusive([' ', ',', '(', ')', '.']);
    let mut words: Vec<String> = sql.split_inclusive([' ', ',', '(', ')', '.']).map(str::to_owned).collect();
    let known: Vec<&str> = WORDS.split_whitespace().collect();
    let at = at % (words.len() + 1);
    let in_range = at < words.len();
    match how / 3 % 5 {
        0 => words.insert(at, format!(" {} ", known[with % known.len()])),
        1 if in_range => words[at] = format!(" {} ", known[with % known.len()]),
        2 if in_range => words.insert(at, words[at].clone()),
        3 if in_range => words.swap(at, with % sql.len().max(1).min(at + 1)),
        4 => {
            // The end of another statement.
            words.truncate(at);
            words.extend(split(corpus(with * 7)).skip(at / 2).map(str::to_owned));
        }
        _ if in_range => drop(words.remove(at)),
        _ => {}
    }
    words.concat()
}

/// No input causes a panic, each rejection has a reason, and no statement passes one check of the rewriter and fails
/// the other.
pub fn never_panics(sql: &str) {
    let schema = cases::schema();
    for dialect in Dialect::ALL {
        match rewrite(dialect, sql, &schema) {
            Err(rejection) => {
                assert!(!rejection.to_string().is_empty());
                assert_ne!(rejection.code().as_str(), "T099", "{sql}\n{rejection}");
            }
            Ok(rewritten) => {
                let has_tenant_table = rewritten.tables().iter().any(|table| {
                    let shared = ["countries", "feedback", "public.plans", "all_countries", "countries_eu"];
                    !shared.contains(&table.as_str())
                });
                assert_eq!(
                    has_tenant_table,
                    rewritten.binds().contains(&Bind::Tenant),
                    "{sql}\n{}",
                    rewritten.text()
                );
                // As an input, the output is rejected for its reserved names, or accepted if it has no tenant table.
                if let Err(rejection) = rewrite(dialect, rewritten.text(), &schema) {
                    let code = rejection.code().as_str();
                    assert!(
                        matches!(code, "T001" | "T002" | "T011" | "T015" | "T016"),
                        "{}\n{rejection}",
                        rewritten.text()
                    );
                }
            }
        }
    }
}

/// Each accepted statement is verified again, from the text that would run and its binds alone. Returns the number of
/// dialects that accept the statement.
pub fn accepted_reverifies(sql: &str) -> usize {
    let schema = cases::schema();
    let mut accepted = 0;
    for dialect in Dialect::ALL {
        if let Ok(rewritten) = rewrite(dialect, sql, &schema) {
            let verified = rewritten.reprove(dialect, &schema);
            assert_eq!(verified, Ok(()), "{dialect:?}: {sql}\n{}", rewritten.text());
            accepted += 1;
        }
    }
    accepted
}
