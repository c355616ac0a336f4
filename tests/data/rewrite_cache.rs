//! The cache of rewritten texts returns the right text for thousands of statements, prepared ones and long ones.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr, Statement};
use tenancy::scope::{Backend, Schema};
use tenancy::{Error, ErrorKind};
use uuid::Uuid;

use crate::common::Fixture;

/// A text with this many values; `n` makes it distinct.
fn list(values: usize, n: usize) -> String {
    let mut sql = format!("SELECT count(*) FROM orders WHERE total <> -{n} AND total IN (");
    for at in 1..=values {
        let _ = write!(sql, "{}${at}", if at == 1 { "" } else { ", " });
    }
    sql + ")"
}

/// The tests for one database. A macro, because the trait bounds of sqlx differ per database.
macro_rules! cache_tests {
    ($name:ident, $db:ty) => {
        mod $name {
            use super::*;

            type Db = $db;

            /// Orders with totals from 1: three of acme, and five of globex.
            async fn seeded() -> Fixture<Db> {
                let fixture = Fixture::<Db>::new().await;
                for (ctx, most) in [(&fixture.acme, 3_i64), (&fixture.globex, 5)] {
                    for total in 1..=most {
                        sqlx::query("INSERT INTO orders (id, status, total) VALUES ($1, 'open', $2)")
                            .bind(Uuid::now_v7())
                            .bind(total)
                            .execute(&fixture.db.scope(ctx))
                            .await
                            .unwrap();
                    }
                }
                fixture
            }

            async fn count(fixture: &Fixture<Db>, sql: &str, values: usize) -> [i64; 2] {
                let mut counts = [0; 2];
                for (ctx, count) in [&fixture.acme, &fixture.globex].into_iter().zip(&mut counts) {
                    let mut query = sqlx::query_scalar::<Db, i64>(AssertSqlSafe(sql));
                    for value in 1..=values {
                        query = query.bind(i64::try_from(value).unwrap());
                    }
                    *count = query.fetch_one(&fixture.db.scope(ctx)).await.unwrap();
                }
                counts
            }

            async fn prepare(fixture: &Fixture<Db>, sql: String) -> <Db as sqlx::Database>::Statement {
                (&fixture.db.scope(&fixture.acme)).prepare(AssertSqlSafe(sql).into_sql_str()).await.unwrap()
            }

            async fn run(
                fixture: &Fixture<Db>,
                statement: &<Db as sqlx::Database>::Statement,
                values: usize,
            ) -> [i64; 2] {
                let mut counts = [0; 2];
                for (ctx, count) in [&fixture.acme, &fixture.globex].into_iter().zip(&mut counts) {
                    let mut query = statement.query();
                    for value in 1..=values {
                        query = query.bind(i64::try_from(value).unwrap());
                    }
                    *count = query.fetch_one(&fixture.db.scope(ctx)).await.unwrap().get(0);
                }
                counts
            }

            #[tokio::test]
            async fn thousands_of_texts_are_each_run_as_they_are_written() {
                let fixture = seeded().await;
                let statement = prepare(&fixture, list(2, 0)).await;
                let others: Vec<_> = [1, 7, 60].map(|values| (values, list(values, 1))).into();
                let mut prepared = Vec::new();
                for (values, sql) in others {
                    prepared.push((values, prepare(&fixture, sql).await));
                }
                for n in 0..40 {
                    for values in 1..=50 {
                        let own = [values.min(3), values.min(5)].map(|count| i64::try_from(count).unwrap());
                        assert_eq!(count(&fixture, &list(values, n), values).await, own, "{n}: {values}");
                    }
                    // Statements that are prepared, run once and dropped.
                    let once = prepare(&fixture, list(4, 100 + n)).await;
                    assert_eq!(run(&fixture, &once, 4).await, [3, 4]);
                }
                // The statements from before still return the same.
                assert_eq!(run(&fixture, &statement, 2).await, [2, 2]);
                for (values, statement) in &prepared {
                    let own = [3, 5].map(|most| i64::try_from(*values.min(&most)).unwrap());
                    assert_eq!(run(&fixture, statement, *values).await, own);
                }
                assert_eq!(count(&fixture, &list(2, 0), 2).await, [2, 2]);
            }

            /// More statements than the cache keeps once they are dropped.
            #[tokio::test]
            async fn thousands_of_statements_are_prepared() {
                let fixture = seeded().await;
                let mut kept = Vec::new();
                for n in 0..2500 {
                    let statement = prepare(&fixture, list(n % 3 + 1, n)).await;
                    if n % 100 == 0 {
                        // A clone also keeps the text in the cache.
                        kept.push((n % 3 + 1, statement.clone()));
                    }
                }
                for (values, statement) in kept {
                    let own = i64::try_from(values).unwrap();
                    assert_eq!(run(&fixture, &statement, values).await, [own; 2]);
                }
            }

            #[tokio::test]
            async fn a_text_that_equals_a_rewritten_one_is_a_text_of_its_own() {
                let fixture = seeded().await;
                let sql = "SELECT count(*) FROM orders WHERE total > 0";
                let schema = Schema::new("tenant_id").unwrap();
                let rewritten =
                    tenancy_sql::rewrite(<Db as Backend>::DIALECT, sql, &schema).unwrap().text().to_owned();
                assert!(rewritten.contains("tenant_id"), "{rewritten}");
                for prepares in [false, true] {
                    assert_eq!(count(&fixture, sql, 0).await, [3, 5]);
                    let held = if prepares { Some(prepare(&fixture, sql.to_owned()).await) } else { None };
                    for (ctx, other) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
                        let scope = fixture.db.scope(ctx);
                        let query = || sqlx::query_scalar::<Db, i64>(AssertSqlSafe(rewritten.clone()));
                        // The rewritten text, used as input, has a parameter that the caller must bind.
                        let error = Error::from_sqlx(query().fetch_one(&scope).await.unwrap_err());
                        assert_eq!(error.kind(), ErrorKind::InvalidInput);
                        assert_eq!(query().bind(other.tenant_id()).fetch_one(&scope).await.unwrap(), 0);
                        let own = query().bind(ctx.tenant_id()).fetch_one(&scope).await.unwrap();
                        assert_eq!(own, if ctx.tenant_id() == fixture.acme.tenant_id() { 3 } else { 5 });
                    }
                    if let Some(statement) = held {
                        assert_eq!(run(&fixture, &statement, 0).await, [3, 5]);
                    }
                }
            }

            /// A text that is too long for the cache and for a rewrite on the worker thread.
            #[tokio::test]
            async fn a_long_text_runs_and_is_prepared() {
                let fixture = seeded().await;
                let sql = list(1200, 0);
                assert!(sql.len() > 4096);
                assert_eq!(count(&fixture, &sql, 1200).await, [3, 5]);
                let statement = prepare(&fixture, sql).await;
                assert_eq!(run(&fixture, &statement, 1200).await, [3, 5]);
                let few = Error::from_sqlx(
                    statement.query().fetch_one(&fixture.db.scope(&fixture.acme)).await.unwrap_err(),
                );
                assert_eq!(few.kind(), ErrorKind::InvalidInput);
                let mut refused = list(1200, 0);
                refused.push_str("; DROP TABLE orders");
                let error = sqlx::query(AssertSqlSafe(refused))
                    .execute(&fixture.db.scope(&fixture.acme))
                    .await
                    .unwrap_err();
                assert_eq!(Error::from_sqlx(error).kind(), ErrorKind::SqlRejected);
            }

            /// The rewrite of a long text runs on a blocking thread, so other tasks on the worker continue.
            #[test]
            fn a_long_text_is_rewritten_off_the_worker() {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(1)
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let fixture = seeded().await;
                    let (release, held) = std::sync::mpsc::channel::<()>();
                    let holder = tokio::task::spawn_blocking(move || held.recv());
                    let long = list(1200, 0);
                    let mut long = std::pin::pin!(count(&fixture, &long, 1200));
                    for n in 0..20 {
                        let short = list(2, n);
                        let mut short = std::pin::pin!(count(&fixture, &short, 2));
                        tokio::select! {
                            biased;
                            _ = &mut long => panic!("the long text was rewritten on the worker"),
                            counts = &mut short => assert_eq!(counts, [2, 2]),
                        }
                    }
                    release.send(()).unwrap();
                    holder.await.unwrap().unwrap();
                    assert_eq!(long.await, [3, 5]);
                });
            }
        }
    };
}

cache_tests!(sqlite, sqlx::Sqlite);
cache_tests!(postgres, sqlx::Postgres);
