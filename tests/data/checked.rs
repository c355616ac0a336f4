//! A checked query is one SQL literal for both databases, proven at compile time, and runs for one tenant.

use sqlx::FromRow;
use tenancy::ErrorKind;
use tenancy::audit::{AuditEvent, AuditPolicy};
use tenancy::{query, query_as, query_scalar};
use uuid::Uuid;

use crate::common::{Fixture, Placing, placed};

#[derive(Debug, Clone, PartialEq, FromRow)]
struct Order {
    id: Uuid,
    status: String,
    total: i64,
}

/// The tests for one database. A macro, because the trait bounds of sqlx differ per database.
macro_rules! checked_tests {
    ($name:ident, $db:ty, $placing:ident) => {
        mod $name {
            use super::*;

            type Db = $db;
            const PLACING: Placing = Placing::$placing;

            async fn seeded() -> Fixture<Db> {
                let fixture = placed(PLACING, Fixture::<Db>::new()).await;
                for (ctx, most) in [(&fixture.acme, 3_i64), (&fixture.globex, 5)] {
                    let scope = fixture.db.scope(ctx);
                    for total in 1..=most {
                        let (id, status) = (Uuid::now_v7(), if total % 2 == 0 { "paid" } else { "open" });
                        let sql = query!(
                            &scope,
                            "INSERT INTO orders (id, status, total) VALUES ($1, $2, $3)",
                            id,
                            status,
                            total
                        );
                        assert_eq!(sql.execute().await.unwrap(), 1);
                    }
                }
                fixture
            }

            #[tokio::test]
            async fn each_tenant_reads_its_own() {
                let fixture = seeded().await;
                for (ctx, count, open) in [(&fixture.acme, 3, 2), (&fixture.globex, 5, 3)] {
                    let scope = fixture.db.scope(ctx);
                    let all =
                        query_scalar!(&scope, i64, "SELECT count(*) FROM orders").fetch_one().await.unwrap();
                    assert_eq!(all, count);
                    let orders = query_as!(
                        &scope,
                        Order,
                        "SELECT id, status, total FROM orders WHERE status = $1 OR total > $2 ORDER BY total",
                        "open",
                        99_i64
                    );
                    let orders = orders.fetch_all().await.unwrap();
                    assert_eq!(orders.len(), open);
                    let pairs = query_scalar!(
                        &scope,
                        i64,
                        "WITH paid AS (SELECT total FROM orders WHERE status = 'paid')
                         SELECT count(*) FROM orders a LEFT JOIN orders b ON a.total = b.total
                         WHERE a.total NOT IN (SELECT total FROM paid)"
                    );
                    assert_eq!(pairs.fetch_one().await.unwrap(), i64::try_from(open).unwrap());
                    let id = orders[0].id;
                    let find = |id: Uuid| query_as!(&scope, Order, "SELECT * FROM orders WHERE id = $1", id);
                    assert_eq!(find(id).fetch_one().await.unwrap(), orders[0]);
                    assert_eq!(find(Uuid::now_v7()).fetch_optional().await.unwrap(), None);
                    assert_eq!(
                        find(Uuid::now_v7()).fetch_one().await.unwrap_err().kind(),
                        ErrorKind::NotFound
                    );
                }
            }

            #[tokio::test]
            async fn each_tenant_changes_its_own() {
                let fixture = seeded().await;
                let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
                let theirs = query_scalar!(&globex, Uuid, "SELECT id FROM orders").fetch_all().await.unwrap();
                for id in theirs {
                    let stolen = query!(&acme, "UPDATE orders SET total = $1 WHERE id = $2", 0_i64, id);
                    assert_eq!(stolen.execute().await.unwrap(), 0);
                    assert_eq!(
                        query!(&acme, "DELETE FROM orders WHERE id = $1", id).execute().await.unwrap(),
                        0
                    );
                }
                let sum = async |scope| {
                    query_scalar!(scope, i64, "SELECT CAST(sum(total) AS bigint) FROM orders")
                        .fetch_one()
                        .await
                        .unwrap()
                };
                assert_eq!((sum(&acme).await, sum(&globex).await), (6, 15));
                // A write that returns rows commits.
                let raised =
                    query_scalar!(&acme, i64, "UPDATE orders SET total = total + $1 RETURNING total", 10_i64);
                assert_eq!(raised.fetch_all().await.unwrap().len(), 3);
                assert_eq!((sum(&acme).await, sum(&globex).await), (36, 15));

                let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                assert_eq!(query!(&mut tx, "DELETE FROM orders").execute().await.unwrap(), 3);
                drop(tx);
                assert_eq!((sum(&acme).await, sum(&globex).await), (36, 15));
            }

            #[tokio::test]
            async fn where_events_are_required_a_silent_change_is_not_made() {
                let fixture = placed(PLACING, Fixture::<Db>::with(AuditPolicy::Required, 4)).await;
                let scope = fixture.db.scope(&fixture.acme);
                let silent = query!(
                    &scope,
                    "INSERT INTO orders (id, status, total) VALUES ($1, 'x', 1)",
                    Uuid::now_v7()
                );
                assert_eq!(silent.execute().await.unwrap_err().kind(), ErrorKind::Unaudited);
                for recorded in [false, true] {
                    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
                    let id = query_scalar!(
                        &mut tx,
                        Uuid,
                        "INSERT INTO orders (id, status, total) VALUES ($1, 'x', 1) RETURNING id",
                        Uuid::now_v7()
                    );
                    let id = id.fetch_one().await.unwrap();
                    if recorded {
                        let event = AuditEvent::new(&fixture.acme, "order.create").target("order", id);
                        tx.record(event).await.unwrap();
                    }
                    assert_eq!(tx.commit().await.is_ok(), recorded);
                }
                let count =
                    query_scalar!(&scope, i64, "SELECT count(*) FROM orders").fetch_one().await.unwrap();
                assert_eq!(count, 1);
            }
        }
    };
}

checked_tests!(sqlite_shared, sqlx::Sqlite, Shared);
checked_tests!(sqlite_file, sqlx::Sqlite, Database);
checked_tests!(postgres_shared, sqlx::Postgres, Shared);
checked_tests!(postgres_schema, sqlx::Postgres, Schema);
checked_tests!(postgres_database, sqlx::Postgres, Database);

/// Cargo recompiles a program if a file that its `.d` file names changes.
#[test]
fn a_change_of_tenancy_toml_compiles_the_queries_anew() {
    let depends = std::env::current_exe().unwrap().with_extension("d");
    let depends = std::fs::read_to_string(depends).expect("cargo keeps it beside the program");
    assert!(depends.contains("tenancy.toml"), "{depends}");
}
