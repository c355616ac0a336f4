//! A sqlx query on a scope reaches only rows of its tenant, or is rejected.

use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use sqlx::{Executor, FromRow, Row};
use tenancy::audit::{AuditEvent, AuditPolicy};
use tenancy::scope::Scope;
use tenancy::{Error, ErrorKind};
use uuid::Uuid;

use crate::common::{Fixture, Placing, placed};

#[derive(Debug, Clone, PartialEq, FromRow)]
struct Order {
    id: Uuid,
    status: String,
    total: i64,
}

fn refusal(error: &sqlx::Error) -> &Error {
    let sqlx::Error::Configuration(cause) = error else { panic!("not a refusal: {error:?}") };
    cause.downcast_ref().unwrap_or_else(|| panic!("not an error of tenancy: {cause:?}"))
}

/// The tests for one database. A macro, because the trait bounds of sqlx differ per database.
macro_rules! dynamic_tests {
    ($name:ident, $db:ty, $placing:ident, $catalog:literal) => {
        mod $name {
            use super::*;

            type Db = $db;
            const PLACING: Placing = Placing::$placing;
            const CATALOG: &str = $catalog;

            async fn seeded() -> (Fixture<Db>, Vec<Order>) {
                let fixture = placed(PLACING, Fixture::<Db>::new()).await;
                let mut acme = Vec::new();
                for (ctx, mine) in [(&fixture.acme, true), (&fixture.globex, false)] {
                    for total in 1..=5 {
                        let order = Order { id: Uuid::now_v7(), status: "open".to_owned(), total };
                        let done = sqlx::query("INSERT INTO orders (id, status, total) VALUES ($1, $2, $3)")
                            .bind(order.id)
                            .bind(&order.status)
                            .bind(order.total)
                            .execute(&fixture.db.scope(ctx))
                            .await
                            .unwrap();
                        assert_eq!(done.rows_affected(), 1);
                        if mine {
                            acme.push(order);
                        }
                    }
                }
                (fixture, acme)
            }

            async fn sum(scope: &Scope<'_, Db>) -> i64 {
                sqlx::query_scalar("SELECT CAST(coalesce(sum(total), 0) AS bigint) FROM orders")
                    .fetch_one(scope)
                    .await
                    .unwrap()
            }

            #[tokio::test]
            async fn every_form_of_query_sees_its_own_rows_only() {
                let (fixture, acme) = seeded().await;
                let scope = fixture.db.scope(&fixture.acme);
                let sql = "SELECT id, status, total FROM orders WHERE total > $1 OR status = $2 ORDER BY id";
                let all: Vec<Order> = sqlx::query_as(sql).bind(0_i64).bind("open").fetch_all(&scope).await.unwrap();
                assert_eq!(all, acme);
                let streamed: Vec<Order> =
                    sqlx::query_as(sql).bind(0_i64).bind("open").fetch(&scope).try_collect().await.unwrap();
                assert_eq!(streamed, acme);
                assert_eq!(sum(&scope).await, 15);
                let none = sqlx::query("SELECT id FROM orders WHERE total = $1").bind(99_i64);
                assert!(none.fetch_optional(&scope).await.unwrap().is_none());

                let mut builder = sqlx::QueryBuilder::<Db>::new("SELECT count(*) FROM orders WHERE total IN (");
                let mut totals = builder.separated(", ");
                for total in [1_i64, 2, 3] {
                    totals.push_bind(total);
                }
                totals.push_unseparated(")");
                let count: i64 = builder.build_query_scalar().fetch_one(&scope).await.unwrap();
                assert_eq!(count, 3);

                // The same text for the second tenant, with the cache filled by the first.
                let other = fixture.db.scope(&fixture.globex);
                let theirs: Vec<Order> =
                    sqlx::query_as(sql).bind(0_i64).bind("open").fetch_all(&other).await.unwrap();
                assert_eq!(theirs.len(), 5);
                assert!(theirs.iter().all(|order| !acme.contains(order)));

                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                let inside: Vec<Order> =
                    sqlx::query_as(sql).bind(0_i64).bind("open").fetch_all(&mut tx).await.unwrap();
                assert_eq!(inside, acme);
            }

            #[tokio::test]
            async fn joins_subqueries_and_ctes_are_scoped_everywhere() {
                let (fixture, _) = seeded().await;
                for ctx in [&fixture.acme, &fixture.globex] {
                    let scope = fixture.db.scope(ctx);
                    for sql in [
                        "SELECT count(*) FROM orders a JOIN orders b ON a.total = b.total",
                        "SELECT count(*) FROM orders a LEFT JOIN orders b ON a.total = b.total",
                        "WITH mine AS (SELECT total FROM orders) SELECT count(*) FROM mine",
                        "SELECT count(*) FROM orders WHERE total IN (SELECT total FROM orders)",
                        "SELECT (SELECT count(*) FROM orders)",
                        "SELECT count(*) FROM (SELECT total FROM orders UNION SELECT total FROM orders) u",
                        "SELECT count(*) FROM orders o WHERE EXISTS (SELECT 1 FROM orders p WHERE p.id = o.id)",
                    ] {
                        let count: i64 = sqlx::query_scalar(sql).fetch_one(&scope).await.unwrap();
                        assert_eq!(count, 5, "{sql}");
                    }
                }
            }

            #[tokio::test]
            async fn a_change_reaches_its_own_rows_only() {
                let (fixture, acme) = seeded().await;
                let (ours, theirs) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
                let done = sqlx::query("UPDATE orders SET total = total + 100 WHERE total > 0 OR 1 = 1")
                    .execute(&ours)
                    .await
                    .unwrap();
                assert_eq!(done.rows_affected(), 5);
                assert_eq!((sum(&ours).await, sum(&theirs).await), (515, 15));
                // Another tenant cannot change a row by its id, nor detect that the row exists.
                let touched = sqlx::query("DELETE FROM orders WHERE id = $1").bind(acme[0].id).execute(&theirs);
                assert_eq!(touched.await.unwrap().rows_affected(), 0);
                let id: Uuid = sqlx::query_scalar("DELETE FROM orders WHERE id = $1 RETURNING id")
                    .bind(acme[0].id)
                    .fetch_one(&ours)
                    .await
                    .unwrap();
                assert_eq!(id, acme[0].id);
                assert_eq!((sum(&ours).await, sum(&theirs).await), (414, 15));
                sqlx::query("DELETE FROM orders").execute(&ours).await.unwrap();
                assert_eq!((sum(&ours).await, sum(&theirs).await), (0, 15));
            }

            #[tokio::test]
            async fn sql_that_is_not_known_to_be_safe_is_rejected_with_the_reason() {
                let (fixture, _) = seeded().await;
                let scope = fixture.db.scope(&fixture.acme);
                for sql in [
                    "TRUNCATE orders",
                    "DROP TABLE orders",
                    "SELECT 1; DELETE FROM orders",
                    "UPDATE orders SET tenant_id = $1",
                    "INSERT INTO orders VALUES ($1, $2, $3, $4)",
                    "INSERT INTO orders (tenant_id, id, status, total) VALUES ($1, $2, 'x', 1)",
                    "SELECT set_config('app.tenant_id', 'x', false)",
                    CATALOG,
                    "SELECT count(*) FROM tenancy_audit_events",
                    "DELETE FROM TENANCY_GAUGES",
                    "SELECT load_extension('x')",
                    "SELECT query_to_xml('select * from orders', true, true, '')",
                    "PRAGMA table_info(orders)",
                    "ATTACH 'x' AS y",
                    "SET app.tenant_id = 'x'",
                    "not sql at all",
                    "",
                ] {
                    let error = sqlx::query(sql).execute(&scope).await.unwrap_err();
                    assert_eq!(refusal(&error).kind(), ErrorKind::SqlRejected, "{sql}: {error}");
                    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                    let error = (&mut tx).execute(sql).await.unwrap_err();
                    assert_eq!(refusal(&error).kind(), ErrorKind::SqlRejected, "{sql}: {error}");
                }
                assert_eq!((sum(&scope).await, sum(&fixture.db.scope(&fixture.globex)).await), (15, 15));
            }

            #[tokio::test]
            async fn a_missing_or_extra_value_never_replaces_the_tenant() {
                let (fixture, _) = seeded().await;
                let scope = fixture.db.scope(&fixture.acme);
                let sql = "SELECT count(*) FROM orders WHERE total = $1 OR total = $2";
                let globex = fixture.globex.tenant_id();
                for query in [
                    sqlx::query(sql),
                    sqlx::query(sql).bind(1_i64),
                    sqlx::query(sql).bind(1_i64).bind(2_i64).bind(globex),
                    sqlx::query("SELECT count(*) FROM orders").bind(globex),
                ] {
                    let error = query.fetch_all(&scope).await.unwrap_err();
                    assert_eq!(refusal(&error).kind(), ErrorKind::InvalidInput, "{error}");
                }
            }

            #[tokio::test]
            async fn a_prepared_statement_is_scoped_as_well() {
                let (fixture, _) = seeded().await;
                let scope = fixture.db.scope(&fixture.acme);
                let sql = sqlx::SqlStr::from_static("SELECT count(*) FROM orders WHERE total > $1");
                let statement = scope_prepare(&scope, sql).await;
                for (ctx, least, count) in [(&fixture.acme, 0_i64, 5_i64), (&fixture.acme, 3, 2), (&fixture.globex, 4, 1)] {
                    let scope = fixture.db.scope(ctx);
                    let row = sqlx::Statement::query(&statement).bind(least).fetch_one(&scope).await.unwrap();
                    assert_eq!(row.get::<i64, _>(0), count);
                }
                let error = (&scope).prepare(sqlx::SqlStr::from_static("TRUNCATE orders")).await.unwrap_err();
                assert_eq!(refusal(&error).kind(), ErrorKind::SqlRejected);
            }

            async fn scope_prepare(scope: &Scope<'_, Db>, sql: sqlx::SqlStr) -> <Db as sqlx::Database>::Statement {
                scope.prepare(sql).await.unwrap()
            }

            #[tokio::test]
            async fn a_transaction_keeps_all_or_nothing() {
                let (fixture, acme) = seeded().await;
                let ours = fixture.db.scope(&fixture.acme);
                let add = "UPDATE orders SET total = total + 1";
                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                sqlx::query(add).execute(&mut tx).await.unwrap();
                drop(tx);
                assert_eq!(sum(&ours).await, 15);
                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                sqlx::query(add).execute(&mut tx).await.unwrap();
                tx.commit().await.unwrap();
                assert_eq!(sum(&ours).await, 20);

                // After a failed statement the commit returns an error, and nothing is kept.
                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                sqlx::query(add).execute(&mut tx).await.unwrap();
                let twice = sqlx::query("INSERT INTO orders (id, status, total) VALUES ($1, 'x', 1)").bind(acme[0].id);
                assert!(matches!(twice.execute(&mut tx).await.unwrap_err(), sqlx::Error::Database(_)));
                assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::RolledBack);
                assert_eq!(sum(&ours).await, 20);
            }

            /// Enough rows that most are still in transit when the reader stops.
            const MANY: &str = "SELECT a.total FROM orders a CROSS JOIN orders b CROSS JOIN orders c CROSS JOIN orders d \
                                CROSS JOIN orders e";

            #[tokio::test]
            async fn a_part_of_a_transaction_is_undone_alone() {
                let (fixture, _) = seeded().await;
                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                let mut part = tx.begin().await.unwrap();
                sqlx::query("UPDATE orders SET total = total + 100").execute(&mut *part).await.unwrap();
                // A stream that writes and is dropped early is undone as well.
                {
                    let sql = "UPDATE orders SET total = 0 RETURNING id";
                    let mut rows = sqlx::query(sql).fetch(&mut *part);
                    assert!(rows.try_next().await.unwrap().is_some());
                }
                part.rollback().await.unwrap();
                let mut part = tx.begin().await.unwrap();
                sqlx::query("UPDATE orders SET total = total + 10").execute(&mut *part).await.unwrap();
                part.commit().await.unwrap();
                tx.commit().await.unwrap();
                assert_eq!(sum(&fixture.db.scope(&fixture.acme)).await, 15 + 50);
                assert_eq!(sum(&fixture.db.scope(&fixture.globex)).await, 15);
            }

            #[tokio::test]
            async fn a_stream_can_be_dropped_early_and_the_transaction_continues() {
                let (fixture, _) = seeded().await;
                for (ctx, other) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
                    let (before, theirs) = (sum(&fixture.db.scope(ctx)).await, sum(&fixture.db.scope(other)).await);
                    let mut tx = fixture.db.begin(ctx).await.unwrap();
                    for left in 1..=3 {
                        sqlx::query("UPDATE orders SET total = total + 1").execute(&mut tx).await.unwrap();
                        let mut rows = sqlx::query(MANY).fetch(&mut tx);
                        for _ in 0..left {
                            rows.try_next().await.unwrap().unwrap();
                        }
                        drop(rows);
                        let sum: i64 = sqlx::query_scalar("SELECT CAST(sum(total) AS bigint) FROM orders")
                            .fetch_one(&mut tx)
                            .await
                            .unwrap();
                        assert_eq!(sum, before + 5 * left);
                    }
                    assert!(sqlx::query(MANY).fetch(&mut tx).try_next().await.unwrap().is_some());
                    tx.commit().await.unwrap();
                    assert_eq!(sum(&fixture.db.scope(ctx)).await, before + 15);
                    assert_eq!(sum(&fixture.db.scope(other)).await, theirs);
                }
            }

            #[tokio::test]
            async fn what_writes_is_read_to_its_end_or_nothing_is_kept() {
                let (fixture, _) = seeded().await;
                let scope = fixture.db.scope(&fixture.acme);
                let add = "UPDATE orders SET total = total + 1 RETURNING id";
                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                sqlx::query(add).execute(&mut tx).await.unwrap();
                assert!(sqlx::query(add).fetch(&mut tx).try_next().await.unwrap().is_some());
                let again = sqlx::query("SELECT id FROM orders").fetch_all(&mut tx).await.unwrap_err();
                let error = tx.commit().await.unwrap_err();
                for error in [refusal(&again), &error] {
                    assert_eq!(error.kind(), ErrorKind::RolledBack);
                    assert!(error.to_string().starts_with("not all rows of a statement that writes"), "{error}");
                }
                assert_eq!(sum(&scope).await, 15);

                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                let ids: Vec<_> = sqlx::query(add).fetch(&mut tx).try_collect().await.unwrap();
                assert_eq!(ids.len(), 5);
                tx.commit().await.unwrap();
                assert_eq!((sum(&scope).await, sum(&fixture.db.scope(&fixture.globex)).await), (20, 15));
            }

            /// Drops a statement while it waits for its first or a later row, as a timeout does.
            #[tokio::test]
            async fn a_statement_dropped_in_flight_ends_the_transaction() {
                let (fixture, _) = seeded().await;
                let deadline = Instant::now() + Duration::from_mins(1);
                for rows_before in [0, 1] {
                    loop {
                        assert!(Instant::now() < deadline, "no row was waited for within a minute");
                        let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                        sqlx::query("UPDATE orders SET total = total + 1").execute(&mut tx).await.unwrap();
                        let mut rows = sqlx::query(MANY).fetch(&mut tx);
                        for _ in 0..rows_before {
                            rows.try_next().await.unwrap().unwrap();
                        }
                        let waits = loop {
                            match futures_util::poll!(rows.try_next()) {
                                Poll::Pending => break true,
                                Poll::Ready(row) if row.as_ref().unwrap().is_none() => break false,
                                Poll::Ready(_) => {}
                            }
                        };
                        drop(rows);
                        if !waits {
                            tx.rollback().await.unwrap();
                            continue;
                        }
                        let error = tx.commit().await.unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::RolledBack);
                        assert!(error.to_string().contains("was cancelled before its result arrived"), "{error}");
                        break;
                    }
                    assert_eq!(sum(&fixture.db.scope(&fixture.acme)).await, 15);
                }
            }

            #[tokio::test]
            async fn where_events_are_required_a_silent_change_is_not_made() {
                let fixture = placed(PLACING, Fixture::<Db>::with(AuditPolicy::Required, 4)).await;
                let scope = fixture.db.scope(&fixture.acme);
                let insert = || {
                    sqlx::query("INSERT INTO orders (id, status, total) VALUES ($1, 'x', 1)").bind(Uuid::now_v7())
                };
                let error = insert().execute(&scope).await.unwrap_err();
                assert_eq!(refusal(&error).kind(), ErrorKind::Unaudited);
                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                insert().execute(&mut tx).await.unwrap();
                assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Unaudited);
                assert_eq!(sum(&scope).await, 0);
                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                insert().execute(&mut tx).await.unwrap();
                tx.record(AuditEvent::new(&fixture.acme, "order.create")).await.unwrap();
                tx.commit().await.unwrap();
                assert_eq!(sum(&scope).await, 1);
            }
        }
    };
}

dynamic_tests!(sqlite_shared, sqlx::Sqlite, Shared, "SELECT * FROM sqlite_master");
dynamic_tests!(sqlite_file, sqlx::Sqlite, Database, "SELECT * FROM sqlite_master");
dynamic_tests!(postgres_shared, sqlx::Postgres, Shared, "SELECT * FROM pg_stats");
dynamic_tests!(postgres_schema, sqlx::Postgres, Schema, "SELECT * FROM pg_stats");
dynamic_tests!(postgres_database, sqlx::Postgres, Database, "SELECT * FROM pg_stats");

/// An error in rows that were not read fails the transaction.
#[tokio::test]
async fn an_error_in_rows_that_were_left_is_not_lost() {
    let fixture = Fixture::<sqlx::Postgres>::new().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        for next in ["commit", "read"] {
            let mut tx = fixture.db.begin(ctx).await.unwrap();
            for total in [1_i64, 2, 0] {
                sqlx::query("INSERT INTO orders (id, status, total) VALUES ($1, 'open', $2)")
                    .bind(Uuid::now_v7())
                    .bind(total)
                    .execute(&mut tx)
                    .await
                    .unwrap();
            }
            let divided = "SELECT 10 / total FROM (SELECT total FROM orders ORDER BY id) o";
            assert!(sqlx::query(divided).fetch(&mut tx).try_next().await.unwrap().is_some());
            if next == "read" {
                let error = sqlx::query("SELECT id FROM orders").fetch_all(&mut tx).await.unwrap_err();
                assert_eq!(Error::from_sqlx(error).kind(), ErrorKind::InvalidInput);
            }
            let kind = tx.commit().await.unwrap_err().kind();
            assert_eq!(kind, if next == "read" { ErrorKind::RolledBack } else { ErrorKind::InvalidInput });
            let none: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
                .fetch_one(&fixture.db.scope(ctx))
                .await
                .unwrap();
            assert_eq!(none, 0);
        }
    }
}
