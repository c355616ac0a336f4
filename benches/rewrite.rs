//! Measures the rewriter on a new statement (parse, rewrite, print, parse again and verify) beside the parser alone, which
//! parses the statement once.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sqlparser::dialect::{Dialect as Grammar, MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use tenancy_sql::{Dialect, Schema, rewrite};

const QUERIES: [(&str, &str); 4] = [
    ("point", "SELECT id, status, total FROM orders WHERE id = $1"),
    (
        "page",
        "SELECT id, status, total FROM orders WHERE status = $1 AND total > $2 ORDER BY created_at DESC LIMIT 20",
    ),
    (
        "join",
        "SELECT o.id, c.name, sum(i.price * i.quantity) FROM orders o JOIN customers c ON c.id = o.customer_id \
         LEFT JOIN items i ON i.order_id = o.id WHERE o.status = $1 GROUP BY o.id, c.name ORDER BY o.id LIMIT 20",
    ),
    // Its depth is above the bound up to which the stack of the caller is enough.
    (
        "deep",
        "SELECT o.id, c.name, sum(i.price * i.quantity) FROM orders o JOIN customers c ON c.id = o.customer_id \
         LEFT JOIN items i ON i.order_id = o.id WHERE o.status = $1 AND o.total > $2 AND (c.name LIKE $3 OR c.email LIKE $3) \
         AND o.region IN ($4, $5) AND o.created_at >= $6 AND o.created_at < $7 AND c.active AND NOT o.hidden \
         AND i.price > 0 AND i.quantity > 0 AND EXISTS (SELECT 1 FROM payments p WHERE p.order_id = o.id AND p.paid) \
         GROUP BY o.id, c.name ORDER BY o.id LIMIT 20 OFFSET 40",
    ),
];

fn grammar(dialect: Dialect) -> &'static dyn Grammar {
    match dialect {
        Dialect::Postgres => &PostgreSqlDialect {},
        Dialect::Sqlite => &SQLiteDialect {},
        Dialect::MySql => &MySqlDialect {},
        _ => unreachable!("no other dialect is measured"),
    }
}

fn cold(criterion: &mut Criterion) {
    let schema = Schema::new("tenant_id").expect("a plain name");
    for dialect in Dialect::ALL {
        let mut group = criterion.benchmark_group(format!("rewrite {dialect:?}"));
        for (name, sql) in QUERIES {
            rewrite(dialect, sql, &schema).expect("the rewriter accepts it");
            let parse = || Parser::parse_sql(grammar(dialect), black_box(sql));
            parse().expect("the parser accepts it");
            group.bench_function(format!("{name}, parser alone"), |bencher| bencher.iter(parse));
            group.bench_function(name, |bencher| bencher.iter(|| rewrite(dialect, black_box(sql), &schema)));
        }
    }
}

criterion_group!(benches, cold);
criterion_main!(benches);
