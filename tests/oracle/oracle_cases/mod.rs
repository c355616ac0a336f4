//! Statements written by hand, one a line: the engines, the values of parameters, and the text.
//!
//! ```text
//! PSM SELECT id FROM orders
//! [3 4] PS SELECT id FROM orders WHERE id = $1 OR total = $2
//! ```
//!
//! `P` is PostgreSQL, `S` SQLite, `M` MariaDB; a line with `#` is a remark. Each statement returns or writes a row,
//! and none has a LIMIT without a total order.

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

/// Statements that name keys as on a database of one tenant. On a database of several tenants these keys begin with
/// the
/// tenant, so the statements run there only when rewritten.
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

/// Every statement once, for all engines.
fn lines(layer: Layer) -> impl Iterator<Item = &'static str> {
    let more = (layer == Layer::Rewriter).then_some(&FOR_ONE_TENANT);
    let files = FILES.iter().chain(more);
    files.flat_map(|file| file.lines()).filter(|line| !line.is_empty() && !line.starts_with('#'))
}
