//! Statements written by hand, a line each: the engines that it is for, values if it has parameters, the statement.
//!
//! ```text
//! PSM SELECT id FROM orders
//! [3 4] PS SELECT id FROM orders WHERE id = $1 OR total = $2
//! ```
//!
//! `P` is Postgres, `S` SQLite, `M` MariaDB; a line with `#` is a remark. Each answers a row or writes one, so that
//! it says something, and none has a LIMIT without an order that decides.

use tenancy_sql::Dialect;

use crate::oracle_fixture::Layer;

const FILES: [&str; 6] = [
    include_str!("joins.txt"),
    include_str!("subqueries.txt"),
    include_str!("ctes.txt"),
    include_str!("queries.txt"),
    include_str!("names.txt"),
    include_str!("writes.txt"),
];

/// Those that name keys which, on a database of several tenants, have the tenant in front: written as for one tenant,
/// they run there only when they were rewritten.
const FOR_ONE_TENANT: &str = include_str!("keys.txt");

/// A statement and the values of its parameters.
pub(crate) struct Case {
    pub(crate) sql: &'static str,
    pub(crate) values: Vec<i64>,
}

/// The statements for one engine.
pub(crate) fn cases(dialect: Dialect, layer: Layer) -> Vec<Case> {
    let engine = match dialect {
        Dialect::Postgres => 'P',
        Dialect::Sqlite => 'S',
        _ => 'M',
    };
    let mut cases = Vec::new();
    for line in lines(layer) {
        let (values, rest) = match line.strip_prefix('[').and_then(|line| line.split_once("] ")) {
            Some((values, rest)) => (values, rest),
            None => ("", line),
        };
        let (engines, sql) = rest.split_once(' ').expect("the engines and the statement");
        assert!(engines.chars().all(|c| "PSM".contains(c)), "no engines: {line}");
        if engines.contains(engine) {
            let values = values.split_whitespace().map(|value| value.parse().expect("a number")).collect();
            cases.push(Case { sql, values });
        }
    }
    cases
}

/// Every statement once, whatever engines it is for.
fn lines(layer: Layer) -> impl Iterator<Item = &'static str> {
    let more = (layer == Layer::Rewriter).then_some(&FOR_ONE_TENANT);
    let files = FILES.iter().chain(more);
    files.flat_map(|file| file.lines()).filter(|line| !line.is_empty() && !line.starts_with('#'))
}
