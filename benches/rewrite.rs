//! Measures the rewriter on a new statement: parse, rewrite, print, parse again and verify.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tenancy_sql::{Dialect, Schema, rewrite};

const QUERIES: [(&str, &str); 3] = [
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
];

fn cold(criterion: &mut Criterion) {
    let schema = Schema::new("tenant_id").expect("a plain name");
    for dialect in Dialect::ALL {
        let mut group = criterion.benchmark_group(format!("rewrite {dialect:?}"));
        for (name, sql) in QUERIES {
            rewrite(dialect, sql, &schema).expect("the rewriter accepts it");
            group.bench_function(name, |bencher| bencher.iter(|| rewrite(dialect, black_box(sql), &schema)));
        }
    }
}

criterion_group!(benches, cold);
criterion_main!(benches);
