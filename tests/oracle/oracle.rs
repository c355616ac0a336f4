//! A rewritten statement on a database of several tenants does what the original does on a database of one tenant.
//!
//! Statements are random, from a seed that is printed, or written by hand. Each runs unchanged on a database with one
//! tenant's rows, and rewritten on two databases with different rows of other tenants. Rows, counts, errors and the
//! tenant's rows afterwards must be equal, and foreign rows unchanged. Equal results on both databases show that no
//! result depends on foreign rows.
//!
//! On PostgreSQL the statements also run unchanged behind policies alone. They behave equally without an exception,
//! because every key of these tables begins with the tenant.

use tenancy_sql::Dialect;

use crate::oracle_cases::{Case, cases};
use crate::oracle_fixture::{Databases, Layer};
use crate::oracle_statements::{Statements, TABLES};

/// Runs random statements. `ORACLE_SEED` and `ORACLE_COUNT` select others, and more.
#[expect(clippy::print_stdout, reason = "the seed, for whom a statement fails")]
async fn made_up(dialect: Dialect, layer: Layer, count: usize) {
    let read = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = read("ORACLE_SEED").unwrap_or(1);
    let count = read("ORACLE_COUNT").map_or(count, |n| usize::try_from(n).unwrap());
    let mut statements = Statements::new(dialect, layer == Layer::Rewriter, seed);
    let mut databases = Databases::new(dialect, layer, seed).await;
    let (mut failed, mut answered) = (0, 0);
    for n in 0..count {
        let sql = statements.next();
        match databases.compare(&sql, &[]).await {
            Ok(Ok(rows)) => answered += usize::from(!rows.is_empty()),
            Ok(Err(_)) => failed += 1,
            Err(why) => panic!("{dialect:?}, {layer:?}, seed {seed}, statement {n}:\n{why}"),
        }
    }
    databases.unchanged().await.unwrap();
    println!(
        "{dialect:?}, {layer:?}: seed {seed}, {count} statements, {answered} with rows, {failed} failed alike"
    );
    assert!(failed * 10 < count, "{failed} of {count} failed: the statements prove too little");
    assert!(answered * 3 > count, "{answered} of {count} answered rows: the statements prove too little");
}

/// Runs the statements written by hand; each must succeed, and return or write a row.
async fn by_hand(dialect: Dialect, layer: Layer, at_least: usize) {
    let mut databases = Databases::new(dialect, layer, 1).await;
    let cases = cases(dialect, layer);
    let mut wrong = Vec::new();
    for Case { sql, values } in &cases {
        match databases.compare(sql, values).await {
            Ok(Ok(rows)) if !rows.is_empty() && format!("{rows:?}") != "[[0 written]]" => {}
            Ok(answer) => wrong.push(format!("{sql}\nproves nothing: {answer:?}")),
            Err(why) => wrong.push(why),
        }
    }
    databases.unchanged().await.unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {dialect:?}, {layer:?} are wrong:\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    assert!(cases.len() >= at_least, "only {} were read", cases.len());
}

#[tokio::test]
async fn on_sqlite_a_rewritten_statement_does_what_it_does_for_one_tenant_alone() {
    made_up(Dialect::Sqlite, Layer::Rewriter, 10_000).await;
}

#[tokio::test]
async fn on_postgres_a_rewritten_statement_does_what_it_does_for_one_tenant_alone() {
    made_up(Dialect::Postgres, Layer::Rewriter, 6_000).await;
}

#[tokio::test]
async fn on_mariadb_a_rewritten_statement_does_what_it_does_for_one_tenant_alone() {
    made_up(Dialect::MySql, Layer::Rewriter, 4_000).await;
}

/// For a table without guards most statements that name it must fail the comparison, so the comparison detects leaks.
async fn leaks_without_guards(dialect: Dialect, layer: Layer) {
    for (table, ..) in TABLES {
        let mut databases = Databases::new(dialect, layer, 1).await.unguarded(table).await;
        let cases: Vec<_> =
            cases(dialect, layer).into_iter().filter(|case| case.sql.contains(table)).collect();
        let mut told = 0;
        for Case { sql, values } in &cases {
            told += usize::from(databases.compare(sql, values).await.is_err());
        }
        assert!(told * 2 > cases.len(), "{dialect:?}, {layer:?}, {table}: {told} of {} told", cases.len());
    }
}

#[tokio::test]
async fn a_guard_that_is_missing_is_seen() {
    leaks_without_guards(Dialect::Sqlite, Layer::Rewriter).await;
    leaks_without_guards(Dialect::Postgres, Layer::Rewriter).await;
    leaks_without_guards(Dialect::MySql, Layer::Rewriter).await;
}

#[tokio::test]
async fn on_sqlite_each_construct_does_what_it_does_for_one_tenant_alone() {
    by_hand(Dialect::Sqlite, Layer::Rewriter, 270).await;
}

#[tokio::test]
async fn on_postgres_each_construct_does_what_it_does_for_one_tenant_alone() {
    by_hand(Dialect::Postgres, Layer::Rewriter, 400).await;
}

#[tokio::test]
async fn on_mariadb_each_construct_does_what_it_does_for_one_tenant_alone() {
    by_hand(Dialect::MySql, Layer::Rewriter, 220).await;
}

/// Row-level security alone: an unchanged statement behind policies has the same effect.
#[tokio::test]
async fn behind_policies_a_statement_as_it_is_does_what_it_does_for_one_tenant_alone() {
    by_hand(Dialect::Postgres, Layer::Policies, 350).await;
    made_up(Dialect::Postgres, Layer::Policies, 1_000).await;
}

#[tokio::test]
async fn a_policy_that_is_missing_is_seen() {
    leaks_without_guards(Dialect::Postgres, Layer::Policies).await;
}
