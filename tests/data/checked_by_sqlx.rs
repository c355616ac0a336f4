//! Checked queries through sqlx's own macros: the compiler checks column and parameter types with the database.
//!
//! This file compiles with the data in `.sqlx`. After a change of a query or a table, write the data again:
//! `SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$PWD/.sqlx DATABASE_URL=… cargo test --all-features --test data --no-run`,
//! with the tables of [`TABLES`] and `common::TestBackend::ORDERS` in that database.

use std::path::Path;

use sqlx::{Executor, Postgres, SqlSafeStr};
use tenancy::audit::MemorySink;
use tenancy::context::Actor;
use tenancy::scope::query::CheckedQuery;
use tenancy::scope::{Dialect, Reason};
use tenancy::{ErrorKind, query_as_checked, query_checked, query_scalar_checked};
use uuid::Uuid;

use crate::common::{Fixture, TestBackend};

const TABLES: &str = include_str!("../fixture/customers.sql");

#[derive(Debug, PartialEq)]
struct Customer {
    name: String,
    /// The column is nullable: a type other than `Option` does not compile.
    note: Option<String>,
}

async fn seeded() -> Fixture<Postgres> {
    let fixture = Fixture::<Postgres>::new().await;
    Postgres::raw(&fixture.pool, TABLES).await.unwrap();
    for (ctx, name, total) in [(&fixture.acme, "Ada", 10_i64), (&fixture.globex, "Bob", 20)] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        let (order, none) = (Uuid::now_v7(), None::<String>);
        let added = query_checked!(
            &mut tx,
            "INSERT INTO orders (id, status, total) VALUES ($1, $2, $3)",
            order,
            "open",
            total
        );
        assert_eq!(added.execute().await.unwrap(), 1);
        let added = query_checked!(
            &mut tx,
            "INSERT INTO customers (id, name, note, order_id) VALUES ($1, $2, $3, $4)",
            Uuid::now_v7(),
            name,
            none,
            order
        );
        assert_eq!(added.execute().await.unwrap(), 1);
        tx.commit().await.unwrap();
    }
    fixture
}

#[tokio::test]
async fn each_tenant_reads_its_own_rows_in_the_databases_types() {
    let fixture = seeded().await;
    for (ctx, name, total) in [(&fixture.acme, "Ada", 10_i64), (&fixture.globex, "Bob", 20)] {
        let scope = fixture.db.scope(ctx);
        let rows = query_checked!(&scope, "SELECT name, note FROM customers").fetch_all().await.unwrap();
        let (seen, note): (&String, &Option<String>) = (&rows[0].name, &rows[0].note);
        assert_eq!((rows.len(), seen.as_str(), note.as_deref()), (1, name, None));

        let customers =
            query_as_checked!(&scope, Customer, "SELECT name, note FROM customers WHERE name = $1", name);
        assert_eq!(customers.fetch_one().await.unwrap(), Customer { name: name.to_owned(), note: None });

        let sum = query_scalar_checked!(&scope, r#"SELECT sum(total)::bigint AS "sum!" FROM orders"#);
        assert_eq!(sum.fetch_one().await.unwrap(), total);
    }
}

#[tokio::test]
async fn w10_what_sqlx_knows_of_a_column_is_known_through_the_guard() {
    let fixture = seeded().await;
    let scope = fixture.db.scope(&fixture.acme);
    // NOT NULL of a table holds in the guarded text; a column that an outer join makes nullable needs the `?`
    // override.
    let rows = query_checked!(
        &scope,
        r#"SELECT o.total, c.name AS "name?" FROM orders o LEFT JOIN customers c ON c.order_id = o.id AND c.name <> $1"#,
        "Ada"
    );
    let row = rows.fetch_one().await.unwrap();
    let (total, name): (i64, Option<String>) = (row.total, row.name);
    assert_eq!((total, name), (10, None));

    // The overrides for nullability, column type and parameter type still apply.
    let note: Option<&str> = None;
    let rows = query_checked!(
        &scope,
        r#"SELECT name AS "name?", id AS "id: Uuid", total AS "total!: i64"
           FROM (SELECT c.name, o.id, o.total FROM orders o JOIN customers c ON c.order_id = o.id) AS found
           WHERE name IS DISTINCT FROM $1"#,
        note as Option<&str>
    );
    let row = rows.fetch_optional().await.unwrap().unwrap();
    let (name, _id, total): (Option<String>, Uuid, i64) = (row.name, row.id, row.total);
    assert_eq!((name.as_deref(), total), (Some("Ada"), 10));
}

#[tokio::test]
async fn a_change_keeps_to_its_tenant() {
    let fixture = seeded().await;
    let scope = fixture.db.scope(&fixture.acme);
    let changed = query_checked!(&scope, "UPDATE orders SET status = $1", "paid").execute().await.unwrap();
    assert_eq!(changed, 1);
    let gone = query_checked!(&scope, "DELETE FROM customers RETURNING name").fetch_all().await.unwrap();
    assert_eq!((gone.len(), gone[0].name.as_str()), (1, "Ada"));
    let none = query_scalar_checked!(&scope, "SELECT name FROM customers").fetch_one().await;
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);

    let other = fixture.db.scope(&fixture.globex);
    let status = query_scalar_checked!(&other, "SELECT status FROM orders").fetch_all().await.unwrap();
    assert_eq!(status, ["open"]);
    let name = query_scalar_checked!(&other, "SELECT name FROM customers").fetch_all().await.unwrap();
    assert_eq!(name, ["Bob"]);
    // A query without a table binds no tenant.
    let one = query_scalar_checked!(&other, r#"SELECT 1 AS "one!""#).fetch_one().await.unwrap();
    assert_eq!(one, 1);
}

#[tokio::test]
async fn values_and_scopes_mean_what_they_say_where_they_stand() {
    macro_rules! names {
        ($scope:expr, $name:expr) => {
            query_as_checked!($scope, Customer, "SELECT name, note FROM customers WHERE name = $1", $name)
        };
    }
    let fixture = seeded().await;
    for (ctx, own, other) in [(&fixture.acme, "Ada", "Bob"), (&fixture.globex, "Bob", "Ada")] {
        let scope = fixture.db.scope(ctx);
        let (tenancy_scope, tenancy_tenant) = (&scope, own);
        let found = query_as_checked!(
            tenancy_scope,
            Customer,
            "SELECT name, note FROM customers WHERE name = $1",
            tenancy_tenant
        );
        assert_eq!(found.fetch_one().await.unwrap().name, own);
        let (scope, tenant) = (tenancy_scope, other);
        assert_eq!(names!(scope, tenant).fetch_all().await.unwrap(), []);
        assert_eq!(names!(scope, own).fetch_one().await.unwrap().name, own);
    }
}

/// A context from a cross-tenant read opens no checked query.
#[tokio::test]
async fn a_cross_tenant_context_opens_no_checked_query() {
    let fixture = seeded().await;
    let (audit, reason) = (MemorySink::new(), Reason::new("monthly report FIN-12").unwrap());
    let across = fixture.db.cross_tenant(&fixture.directory, &audit, reason, Actor::user("ada")).unwrap();
    let contexts = across.read(async |tenant| Ok(tenant.context().clone())).await.unwrap();
    assert_eq!(contexts.len(), 2);
    for ctx in contexts.iter().map(|tagged| &tagged.value) {
        let scope = fixture.db.scope(ctx);
        let added = query_checked!(
            &scope,
            "INSERT INTO orders (id, status, total) VALUES ($1, $2, $3)",
            Uuid::now_v7(),
            "open",
            7_i64
        );
        assert_eq!(added.execute().await.unwrap_err().kind(), ErrorKind::CrossTenantContext);
        let found =
            query_as_checked!(&scope, Customer, "SELECT name, note FROM customers WHERE name = $1", "Ada");
        assert_eq!(found.fetch_all().await.unwrap_err().kind(), ErrorKind::CrossTenantContext);
    }
}

#[tokio::test]
async fn what_was_proven_for_one_database_does_not_run_on_another() {
    let fixture = seeded().await;
    let scope = fixture.db.scope(&fixture.acme);
    let query = || sqlx::query::<Postgres>("SELECT 1");
    let run = |dialect| CheckedQuery::unchecked_for_macros_only(&scope, query(), false, dialect).execute();
    assert_eq!(run(Dialect::Postgres).await.unwrap(), 1);
    let refused = run(Dialect::Sqlite).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Misconfigured);
    assert!(refused.to_string().contains("name Postgres first in `dialects`"), "{refused}");
}

/// The scoped executor runs sqlx's own macros unchanged: sqlx checks the original text, and the executor scopes it.
#[tokio::test]
async fn sqlx_s_own_macros_run_on_a_scope_unchanged() {
    let fixture = seeded().await;
    for (ctx, name, total) in [(&fixture.acme, "Ada", 10_i64), (&fixture.globex, "Bob", 20)] {
        let scope = fixture.db.scope(ctx);
        let orders = sqlx::query!("SELECT id, total FROM orders WHERE total > $1", 5_i64);
        let orders = orders.fetch_all(&scope).await.unwrap();
        assert_eq!((orders.len(), orders[0].total), (1, total));
        let customers = sqlx::query_as!(Customer, "SELECT name, note FROM customers");
        let customers = customers.fetch_all(&scope).await.unwrap();
        assert_eq!(customers, [Customer { name: name.to_owned(), note: None }]);

        let mut tx = fixture.db.begin(ctx).await.unwrap();
        let changed =
            sqlx::query!("UPDATE orders SET total = total + $1", 1_i64).execute(&mut tx).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);
        let sum = sqlx::query_scalar!(r#"SELECT sum(total)::bigint AS "sum!" FROM orders"#);
        assert_eq!(sum.fetch_one(&mut tx).await.unwrap(), total + 1);
        tx.rollback().await.unwrap();
    }
}

/// `.sqlx` equals what the database describes now.
#[tokio::test]
async fn the_offline_data_is_what_the_database_describes() {
    let fixture = seeded().await;
    let mut conn = fixture.pool.acquire().await.unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx")).unwrap() {
        let json = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let data: serde_json::Value = serde_json::from_str(&json).unwrap();
        let sql = sqlx::AssertSqlSafe(data["query"].as_str().unwrap()).into_sql_str();
        let now = serde_json::to_value((&mut *conn).describe(sql).await.unwrap()).unwrap();
        assert_eq!(now, data["describe"], "{}", data["query"]);
        count += 1;
    }
    assert!(count >= 16, "only {count} queries are in .sqlx");
}
