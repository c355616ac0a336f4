//! Statements that sea-query builds run unchanged on a scope.

use sea_query::{
    Alias, Expr, ExprTrait, Func, JoinType, OnConflict, Order, PostgresQueryBuilder, Query,
    SqliteQueryBuilder,
};
use sea_query_sqlx::SqlxBinder;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::common::Fixture;

fn name(text: &str) -> Alias {
    Alias::new(text)
}

/// The tests for one database. A macro, because the trait bounds of sqlx differ per database.
macro_rules! sea_query_tests {
    ($module:ident, $db:ty, $builder:expr) => {
        #[tokio::test]
        async fn $module() {
            let fixture = Fixture::<$db>::new().await;
            let ids = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
            for (ctx, totals) in [(&fixture.acme, [1_i64, 2, 3]), (&fixture.globex, [10, 20, 30])] {
                let mut insert = Query::insert();
                insert.into_table("orders").columns(["id", "status", "total"]);
                for (id, total) in ids.iter().zip(totals) {
                    insert.values_panic([(*id).into(), "open".into(), total.into()]);
                }
                let (sql, values) = insert.build_sqlx($builder);
                let done = sqlx::query_with(AssertSqlSafe(sql), values)
                    .execute(&fixture.db.scope(ctx))
                    .await
                    .unwrap();
                assert_eq!(done.rows_affected(), 3);
            }
            for (ctx, totals) in [(&fixture.acme, [3_i64, 2]), (&fixture.globex, [30, 20])] {
                let scope = fixture.db.scope(ctx);
                let mut inner = Query::select();
                inner.expr(Func::min(Expr::col((name("i"), name("total"))))).from_as("orders", "i");
                let mut select = Query::select();
                select
                    .column(("o", "total"))
                    .from_as("orders", "o")
                    .join_as(JoinType::InnerJoin, "orders", "p", Expr::col(("p", "id")).equals(("o", "id")))
                    .and_where(Expr::col(("o", "status")).eq("open"))
                    .and_where(Expr::col(("o", "total")).gt(inner))
                    .order_by(("o", "total"), Order::Desc)
                    .limit(10);
                let (sql, values) = select.build_sqlx($builder);
                let got: Vec<i64> =
                    sqlx::query_scalar_with(AssertSqlSafe(sql), values).fetch_all(&scope).await.unwrap();
                assert_eq!(got, totals);
            }

            // Writes in a transaction; both tenants have rows with these ids.
            let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
            let (sql, values) = Query::update()
                .table("orders")
                .value("status", "paid")
                .and_where(Expr::col("id").eq(ids[0]))
                .build_sqlx($builder);
            let done = sqlx::query_with(AssertSqlSafe(sql), values).execute(&mut tx).await.unwrap();
            assert_eq!(done.rows_affected(), 1);
            let (sql, values) = Query::delete()
                .from_table("orders")
                .and_where(Expr::col("id").ne(ids[0]))
                .build_sqlx($builder);
            let done = sqlx::query_with(AssertSqlSafe(sql), values).execute(&mut tx).await.unwrap();
            assert_eq!(done.rows_affected(), 2);
            let (sql, values) = Query::insert()
                .into_table("orders")
                .columns(["id", "status", "total"])
                .values_panic([ids[1].into(), "new".into(), 5_i64.into()])
                .on_conflict(OnConflict::columns(["tenant_id", "id"]).update_column("status").to_owned())
                .build_sqlx($builder);
            let done = sqlx::query_with(AssertSqlSafe(sql), values).execute(&mut tx).await.unwrap();
            assert_eq!(done.rows_affected(), 1);
            tx.commit().await.unwrap();

            for (ctx, wanted) in
                [(&fixture.acme, vec!["new", "paid"]), (&fixture.globex, vec!["open", "open", "open"])]
            {
                let (sql, values) = Query::select()
                    .column("status")
                    .from("orders")
                    .order_by("status", Order::Asc)
                    .build_sqlx($builder);
                let got: Vec<String> = sqlx::query_scalar_with(AssertSqlSafe(sql), values)
                    .fetch_all(&fixture.db.scope(ctx))
                    .await
                    .unwrap();
                assert_eq!(got, wanted);
            }
        }
    };
}

sea_query_tests!(on_sqlite_what_it_builds_reaches_one_tenant, sqlx::Sqlite, SqliteQueryBuilder);
sea_query_tests!(on_postgres_what_it_builds_reaches_one_tenant, sqlx::Postgres, PostgresQueryBuilder);
