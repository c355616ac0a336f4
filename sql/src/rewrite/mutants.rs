//! Mutation tests: the second pass must reject a statement if one guard is left out or changed.

#[path = "../../tests/cases/mod.rs"]
pub(super) mod cases;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{BinaryOperator, Expr, Ident, Statement, Value, VisitMut, VisitorMut};

use super::{Bind, Rewritten, prove, run};
use crate::{Code, Dialect};

fn accepted() -> impl Iterator<Item = (cases::Case, Rewritten, usize)> {
    let files =
        [include_str!("../../tests/cases/constructs.txt"), include_str!("../../tests/cases/leaks.txt")];
    let schema = cases::schema();
    files.into_iter().flat_map(cases::read).filter_map(move |case| {
        let (rewritten, guards) = run(case.dialect, &case.sql, &schema, None).ok()?;
        Some((case, rewritten, guards))
    })
}

/// Without one of its guards, no statement passes the second pass.
#[test]
fn the_second_pass_misses_no_guard_that_is_left_out() {
    let schema = cases::schema();
    let mut left_out = 0;
    for (case, _, guards) in accepted() {
        for guard in 0..guards {
            let got = run(case.dialect, &case.sql, &schema, Some(guard));
            let code = got.map(|(rewritten, _)| rewritten.text).map_err(|rejected| rejected.code());
            assert_eq!(code, Err(Code::Unproven), "guard {guard} of {}: {}", case.name, case.sql);
            left_out += 1;
        }
    }
    assert!(left_out > 400, "only {left_out} guards were left out");
}

/// How one guard is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    /// Another value replaces the tenant.
    Value,
    /// Another column is compared.
    Column,
    /// Another operator compares it.
    Operator,
    /// OR replaces AND.
    Either,
}

/// Makes one change at one position.
struct Spoiler<'a> {
    tenant: &'a Expr,
    fault: Mutation,
    /// The number of positions to skip.
    skip: usize,
    done: bool,
}

impl Spoiler<'_> {
    fn here(&mut self) -> bool {
        let here = self.skip == 0 && !self.done;
        self.done |= here;
        self.skip = self.skip.saturating_sub(1);
        here
    }

    fn is_tenant(&self, expr: &Expr) -> bool {
        expr == self.tenant
    }

    fn is_guard(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::BinaryOp { op: BinaryOperator::Eq, right, .. } if self.is_tenant(right))
    }
}

impl VisitorMut for Spoiler<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let place = match (self.fault, &*expr) {
            (Mutation::Value, expr) => self.is_tenant(expr),
            (Mutation::Column | Mutation::Operator, expr) => self.is_guard(expr),
            (Mutation::Either, Expr::BinaryOp { op: BinaryOperator::And, left, right }) => {
                self.is_guard(left) || self.is_guard(right)
            }
            _ => false,
        };
        if !place || !self.here() {
            return ControlFlow::Continue(());
        }
        match (self.fault, &mut *expr) {
            (Mutation::Column, Expr::BinaryOp { left, .. }) => {
                if let Expr::CompoundIdentifier(idents) = &mut **left {
                    idents[1] = Ident::new("other_id");
                }
            }
            (Mutation::Operator, Expr::BinaryOp { op, .. }) => *op = BinaryOperator::GtEq,
            (Mutation::Either, Expr::BinaryOp { op, .. }) => *op = BinaryOperator::Or,
            _ => *expr = Expr::Value(Value::Number("1".to_owned(), false).into()),
        }
        ControlFlow::Break(())
    }
}

fn kind(statement: &Statement) -> &'static str {
    match statement {
        Statement::Query(_) => "query",
        Statement::Insert(insert) if insert.on.is_some() => "upsert",
        Statement::Insert(_) => "insert",
        Statement::Update(_) => "update",
        Statement::Delete(_) => "delete",
        Statement::Merge(_) => "merge",
        _ => "other",
    }
}

/// Every position of the tenant matters: each row of an INSERT, each column of an upsert, each condition.
#[test]
fn the_second_pass_misses_no_guard_that_is_spoilt() {
    let schema = cases::schema();
    let mut spoilt: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (case, rewritten, _) in accepted() {
        let ((whole, targets), tenant) = rewritten.reread(case.dialect, &schema).unwrap();
        assert_eq!(
            prove::prove(case.dialect, &schema, &whole, &targets, &tenant),
            Ok(()),
            "{}",
            rewritten.text()
        );
        for fault in [Mutation::Value, Mutation::Column, Mutation::Operator, Mutation::Either] {
            for skip in 0.. {
                let mut statement = whole.clone();
                let mut spoiler = Spoiler { tenant: &tenant, fault, skip, done: false };
                let _ = statement.visit(&mut spoiler);
                if !spoiler.done {
                    break;
                }
                let proven = prove::prove(case.dialect, &schema, &statement, &targets, &tenant);
                assert!(proven.is_err(), "{fault:?} at {skip} of {}: {statement}", case.name);
                *spoilt.entry((kind(&whole), format!("{fault:?}"))).or_default() += 1;
            }
        }
    }
    let floors =
        [("query", 450), ("insert", 20), ("upsert", 10), ("update", 30), ("delete", 15), ("merge", 5)];
    for (kind, floor) in floors {
        for fault in [Mutation::Value, Mutation::Column, Mutation::Operator] {
            let count = spoilt.get(&(kind, format!("{fault:?}"))).copied().unwrap_or(0);
            assert!(count >= floor, "{fault:?}: only {count} of {kind}; {spoilt:?}");
        }
    }
}

/// The second pass rejects these statements as well, without the first pass.
#[test]
fn the_second_pass_knows_the_other_names_of_a_column() {
    let schema = cases::schema();
    let proven = |dialect, text: &str, values: usize| {
        let binds = (1..=values).map(Bind::Value).chain([Bind::Tenant]).collect();
        Rewritten { text: text.to_owned(), binds, tables: Vec::new(), read_only: false }
            .reprove(dialect, &schema)
    };
    let writes = |set: &str| {
        [
            format!("UPDATE orders SET {set} = ?1 WHERE orders.tenant_id = ?2"),
            format!("INSERT INTO orders (tenant_id, {set}) VALUES (?2, ?1)"),
            format!(
                "INSERT INTO orders (tenant_id, a) VALUES (?2, ?1) ON CONFLICT (a) DO UPDATE SET {set} = 1 \
                 WHERE orders.tenant_id = ?2"
            ),
        ]
    };
    for text in writes("note") {
        assert_eq!(proven(Dialect::Sqlite, &text, 1), Ok(()), "{text}");
    }
    for set in ["rowid", "oid", "_ROWID_", "`rowid`", "tenant_id", "Tenant_Id"] {
        for text in writes(set) {
            assert!(proven(Dialect::Sqlite, &text, 1).is_err(), "{text}");
        }
    }
    let command = "INSERT INTO notes (tenant_id, notes) VALUES (?1, 'delete-all')";
    assert!(proven(Dialect::Sqlite, command, 0).is_err());
    assert_eq!(proven(Dialect::Sqlite, &command.replace(", notes", ", note"), 0), Ok(()));
    // On other databases these are ordinary columns.
    let other = "UPDATE orders SET rowid = $1 WHERE orders.tenant_id = $2";
    assert_eq!(proven(Dialect::Postgres, other, 1), Ok(()));
}

/// Both passes check functions, types and operators, so a mistake of the first pass does no harm.
#[test]
fn the_second_pass_knows_functions_types_and_operators_by_itself() {
    let schema = cases::schema();
    let tenant = super::parameters::tenant(Dialect::Postgres, &schema, 9);
    let proven = |sql: &str| {
        let tokens = super::tokens::tokens(Dialect::Postgres, sql).unwrap();
        let (statements, targets) =
            super::parse::parse(Dialect::Postgres, tokens, super::parse::RECURSION).unwrap();
        prove::prove(Dialect::Postgres, &schema, &statements[0], &targets, &tenant)
    };
    for sql in [
        "SELECT spy(name) FROM countries",
        "SELECT (1).lo_get",
        "SELECT (name).lo_get FROM countries",
        "SELECT g.lo_get FROM generate_series(1, 2) g",
        "SELECT c.pg_typeof FROM countries c",
        "SELECT name FROM countries ORDER BY (name).lo_get",
        "SELECT 'a'::regclass",
        "SELECT regclass 'a'",
        "SELECT CAST('3' AS xid)",
        "SELECT name OPERATOR(public.=) 'a' FROM countries",
        "INSERT INTO feedback (a) VALUES (1) ON CONFLICT (spy(a)) DO NOTHING",
        "INSERT INTO feedback (a) VALUES (1) ON CONFLICT (a) WHERE spy(a) DO NOTHING",
        "INSERT INTO feedback (a) VALUES (1) ON CONFLICT ((a).lo_get) DO NOTHING",
        "INSERT INTO feedback (a) VALUES ((SELECT count(*) FROM orders))",
        "INSERT INTO feedback (a) VALUES (1) ON CONFLICT ((SELECT 1 FROM orders)) DO NOTHING",
        "SELECT 1 FROM countries c FULL JOIN orders o ON o.tenant_id = $9 AND c.id = o.id",
        "SELECT 1 FROM orders o LEFT JOIN countries c ON o.tenant_id = $9",
        "SELECT 1 FROM countries c RIGHT JOIN orders o ON o.tenant_id = $9",
        "SELECT 1 FROM countries c LEFT JOIN orders o ON o.tenant_id = $9 OR c.id = o.id",
        "SELECT 1 FROM countries c LEFT JOIN orders o ON c.tenant_id = $9",
    ] {
        assert!(proven(sql).is_err(), "{sql}");
    }
    for sql in [
        "SELECT c.name, lower(name), name::text FROM countries c WHERE name = 'a'",
        "INSERT INTO feedback (a) VALUES (1) ON CONFLICT (lower(a)) WHERE a IS NULL DO NOTHING",
        "SELECT 1 FROM countries c LEFT JOIN orders o ON o.tenant_id = $9 AND (c.id = o.id)",
        "SELECT 1 FROM orders o RIGHT JOIN countries c ON o.tenant_id = $9 AND (c.id = o.id)",
        "SELECT 1 FROM orders o JOIN countries c ON o.tenant_id = $9",
    ] {
        assert_eq!(proven(sql), Ok(()), "{sql}");
    }
}
