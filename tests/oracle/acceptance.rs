//! Every accepted statement of the collection of ordinary statements can be prepared on its database.

#[path = "../../sql/tests/legitimate/mod.rs"]
mod legitimate;

use legitimate::{CORPORA, Corpus, schema};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres, SqlSafeStr, SqliteConnection};
use tenancy_sql::{Rewritten, Schema, rewrite};

use crate::common::TestBackend;
use crate::mysql::fresh_mysql;

#[tokio::test]
async fn what_is_accepted_for_postgres_can_be_prepared_and_planned() {
    let (url, _cleanup) = Postgres::fresh_url().await;
    let connection = PgConnection::connect(&url).await.expect("the new database opens");
    // Only the plan shows whether a conflict target is a key.
    let planned = async |connection: &mut PgConnection, sql: &Rewritten| {
        let nulls = vec!["NULL"; sql.binds().len()].join(", ");
        let values = if nulls.is_empty() { String::new() } else { format!("({nulls})") };
        let plan =
            format!("PREPARE asked AS {}; EXPLAIN EXECUTE asked{values}; DEALLOCATE asked", sql.text());
        connection.execute(sqlx::raw_sql(AssertSqlSafe(plan))).await.map(drop)
    };
    check_all(connection, &CORPORA[0], &schema(), 110, planned).await;
}

#[tokio::test]
async fn what_is_accepted_for_sqlite_can_be_prepared() {
    let connection = SqliteConnection::connect("sqlite::memory:").await.expect("SQLite opens");
    let prepared = async |connection: &mut SqliteConnection, sql: &Rewritten| {
        connection.prepare(AssertSqlSafe(sql.text()).into_sql_str()).await.map(drop)
    };
    check_all(connection, &CORPORA[1], &schema(), 55, prepared).await;
}

#[tokio::test]
async fn what_is_accepted_for_mariadb_can_be_prepared() {
    let (connection, _cleanup) = fresh_mysql().await;
    let prepared = async |connection: &mut MySqlConnection, sql: &Rewritten| {
        connection.prepare(AssertSqlSafe(sql.text()).into_sql_str()).await.map(drop)
    };
    check_all(connection, &CORPORA[2], &schema(), 28, prepared).await;
}

async fn check_all<C: Connection>(
    mut connection: C,
    corpus: &Corpus,
    schema: &Schema,
    at_least: usize,
    check: impl AsyncFn(&mut C, &Rewritten) -> sqlx::Result<()>,
) where
    for<'c> &'c mut C: Executor<'c>,
{
    connection.execute(sqlx::raw_sql(corpus.tables)).await.expect("the tables are created");
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for sql in corpus.statements() {
        let Ok(rewritten) = rewrite(corpus.dialect, sql, schema) else { continue };
        match check(&mut connection, &rewritten).await {
            Ok(()) => checked += 1,
            Err(e) => wrong.push(format!("{sql}\n{}\n{e}", rewritten.text())),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {:?} cannot run:\n\n{}",
        wrong.len(),
        corpus.dialect,
        wrong.join("\n\n")
    );
    assert!(checked >= at_least, "only {checked} were checked");
}
