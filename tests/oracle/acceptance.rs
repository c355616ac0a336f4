//! Every accepted statement of the collection of ordinary statements can be prepared on its database.

#[path = "../../sql/tests/legitimate/mod.rs"]
mod legitimate;

use legitimate::{CORPORA, Corpus, schema};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres, SqlSafeStr, SqliteConnection};
use tenancy_sql::rewrite;

use crate::common::TestBackend;
use crate::mysql::fresh_mysql;

#[tokio::test]
async fn what_is_accepted_for_postgres_can_be_prepared() {
    let (url, _cleanup) = Postgres::fresh_url().await;
    let connection = PgConnection::connect(&url).await.expect("the new database opens");
    prepare_all(connection, &CORPORA[0], 110).await;
}

#[tokio::test]
async fn what_is_accepted_for_sqlite_can_be_prepared() {
    let connection = SqliteConnection::connect("sqlite::memory:").await.expect("SQLite opens");
    prepare_all(connection, &CORPORA[1], 55).await;
}

#[tokio::test]
async fn what_is_accepted_for_mariadb_can_be_prepared() {
    let (connection, _cleanup) = fresh_mysql().await;
    prepare_all(connection, &CORPORA[2], 28).await;
}

async fn prepare_all<C: Connection>(mut connection: C, corpus: &Corpus, at_least: usize)
where
    for<'c> &'c mut C: Executor<'c>,
{
    connection.execute(sqlx::raw_sql(corpus.tables)).await.expect("the tables are created");
    let (schema, mut wrong, mut prepared) = (schema(), Vec::new(), 0);
    for sql in corpus.statements() {
        // The statement of the service is valid itself.
        if let Err(e) = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await {
            wrong.push(format!("as written: {sql}\n{e}"));
        }
        let Ok(rewritten) = rewrite(corpus.dialect, sql, &schema) else { continue };
        match connection.prepare(AssertSqlSafe(rewritten.text()).into_sql_str()).await {
            Ok(_) => prepared += 1,
            Err(e) => wrong.push(format!("{sql}\n{}\n{e}", rewritten.text())),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {:?} cannot be prepared:\n\n{}",
        wrong.len(),
        corpus.dialect,
        wrong.join("\n\n")
    );
    assert!(prepared >= at_least, "only {prepared} were prepared");
}
