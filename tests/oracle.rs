//! A rewritten statement on the database of all tenants does what the statement does on a database of one tenant.
//!
//! Statements are made up at random, from a seed that is printed. Each runs as it is on a database that holds one
//! tenant's rows and, rewritten, on two that hold others' rows as well, each time other ones: the same rows, the
//! same count, the same error, the same rows afterwards, and the others' rows as they were. That it is the same on
//! both also shows that nothing of the others' rows can be learnt.

mod common;
mod oracle_statements;
mod oracle_worlds;

use oracle_statements::Statements;
use oracle_worlds::Worlds;
use tenancy_sql::Dialect;

/// Runs statements that are made up. `ORACLE_SEED` and `ORACLE_COUNT` run others, and more.
#[expect(clippy::print_stdout, reason = "the seed, for whom a statement fails")]
async fn made_up(dialect: Dialect, count: usize) {
    let read = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = read("ORACLE_SEED").unwrap_or(1);
    let count = read("ORACLE_COUNT").map_or(count, |n| usize::try_from(n).unwrap());
    let mut statements = Statements::new(dialect, seed);
    let mut worlds = Worlds::new(dialect, seed).await;
    let (mut failed, mut answered) = (0, 0);
    for n in 0..count {
        let sql = statements.next();
        match worlds.compare(&sql, &[], format_args!("seed {seed}, statement {n}")).await {
            Err(_) => failed += 1,
            Ok(rows) => answered += usize::from(!rows.is_empty()),
        }
    }
    worlds.unchanged("the end").await;
    println!("{dialect:?}: seed {seed}, {count} statements, {answered} with rows, {failed} failed alike");
    assert!(failed * 6 < count, "{failed} of {count} failed: the statements prove too little");
    assert!(answered * 3 > count, "{answered} of {count} answered rows: the statements prove too little");
}

#[tokio::test]
async fn on_sqlite_a_rewritten_statement_does_what_it_does_for_one_tenant_alone() {
    made_up(Dialect::Sqlite, 10_000).await;
}

#[tokio::test]
async fn on_postgres_a_rewritten_statement_does_what_it_does_for_one_tenant_alone() {
    made_up(Dialect::Postgres, 6_000).await;
}

#[tokio::test]
async fn on_mariadb_a_rewritten_statement_does_what_it_does_for_one_tenant_alone() {
    made_up(Dialect::MySql, 4_000).await;
}
