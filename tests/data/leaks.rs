//! No leak of other libraries that depends on who runs a query, and when, reaches this one.
//!
//! Each name begins with its entry of the catalogue of leaks. The entries about the text of a query are in
//! `sql/tests/cases/leaks.txt`, those of the other sections in `leak_list`.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::{Postgres, QueryBuilder, Row};
use tenancy::audit::AuditPolicy;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::select::PageRequest;
use tenancy::{ErrorKind, TenantScoped};
use uuid::Uuid;

use crate::common::{Fixture, Order, TestBackend};

/// Three orders of acme with totals 1 to 3, and two of globex with totals 10 and 20.
async fn seeded<DB: TestBackend + SupportsRow<Order>>(connections: u32) -> Fixture<DB> {
    let fixture = Fixture::<DB>::with(AuditPolicy::Optional, connections).await;
    for (ctx, totals) in [(&fixture.acme, vec![1, 2, 3]), (&fixture.globex, vec![10, 20])] {
        for total in totals {
            let order = Order { id: Uuid::now_v7(), status: "open".to_owned(), total };
            Order::insert(&fixture.db.scope(ctx), &order).await.unwrap();
        }
    }
    fixture
}

/// SQL that no query builder can express runs on the same scope, without an exception from scoping.
#[tokio::test]
async fn q40_sql_that_no_builder_can_say_is_scoped_as_well() {
    let fixture = seeded::<Postgres>(4).await;
    let sql = "WITH RECURSIVE ranked AS (
                   SELECT id, total, rank() OVER (ORDER BY total DESC) AS place FROM orders
               ), sums(place, sum) AS (
                   SELECT place, total::numeric FROM ranked WHERE place = 1
                   UNION ALL SELECT r.place, s.sum + r.total FROM sums s JOIN ranked r ON r.place = s.place + 1
               )
               SELECT max(sum)::bigint FROM sums";
    for (ctx, sum) in [(&fixture.acme, 6_i64), (&fixture.globex, 30)] {
        let got: i64 = sqlx::query_scalar(sql).fetch_one(&fixture.db.scope(ctx)).await.unwrap();
        assert_eq!(got, sum);
    }
}

/// No scoped query object exists that could be changed afterwards: the executor reads the whole text when it runs.
#[tokio::test]
async fn q44_a_query_that_is_changed_later_is_scoped_as_it_runs() {
    let fixture = seeded::<Postgres>(4).await;
    let scope = fixture.db.scope(&fixture.acme);
    let mut query = QueryBuilder::<Postgres>::new("SELECT total FROM orders WHERE status = ");
    query.push_bind("open");
    query.push(" OR true UNION ALL SELECT o.total FROM orders o ORDER BY 1");
    let totals: Vec<i64> = query.build_query_scalar().fetch_all(&scope).await.unwrap();
    assert_eq!(totals, [1, 1, 2, 2, 3, 3]);

    let mut query = QueryBuilder::<Postgres>::new("SELECT total FROM orders");
    query.push("; SELECT 1");
    assert!(query.build().fetch_all(&scope).await.is_err());
}

/// No function accepts a bare connection: each has a case in `compile-fail/tests/ui`.
#[test]
fn q45_there_is_no_scoping_to_forget() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("compile-fail/tests/ui");
    for call in ["find", "list", "count", "exists", "insert", "update", "delete", "query"] {
        let messages = std::fs::read_to_string(cases.join(format!("{call}_on_a_pool.stderr"))).unwrap();
        assert!(messages.contains("is not the scope of a tenant"), "{call}: {messages}");
    }
}

/// The executor itself scopes queries, so no order of middleware layers can skip it.
async fn q46_whatever_runs_a_query_scopes_it<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = seeded::<DB>(4).await;
    for (ctx, count) in [(&fixture.acme, 3), (&fixture.globex, 2)] {
        let scope = fixture.db.scope(ctx);
        assert_eq!(Order::count(&scope).await.unwrap(), count);
        let clone = fixture.db.clone();
        assert_eq!(Order::count(&clone.scope(&ctx.clone())).await.unwrap(), count);
        let mut tx = clone.begin(ctx).await.unwrap();
        assert_eq!(Order::count(&mut tx).await.unwrap(), count);
        tx.rollback().await.unwrap();
    }
}

/// An id from a cache, a form or another query gives no access to its row.
async fn q58_ids_of_another_tenant_find_nothing<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = seeded::<DB>(4).await;
    let theirs = Order::list(&fixture.db.scope(&fixture.globex), PageRequest::first(10)).await.unwrap().items;
    let acme = fixture.db.scope(&fixture.acme);
    for order in &theirs {
        assert_eq!(Order::find(&acme, order.id).await.unwrap(), None);
        assert!(!Order::delete(&acme, order.id).await.unwrap().found());
    }
    // A cursor of another tenant is only a position: the page contains the caller's own rows.
    let page = Order::list(&acme, PageRequest::after(theirs[0].id, 10)).await.unwrap();
    assert!(page.items.iter().all(|order| order.total < 10));
    assert_eq!(
        Order::list(&fixture.db.scope(&fixture.globex), PageRequest::first(10)).await.unwrap().items,
        theirs
    );
}

/// One prepared statement serves every tenant: its text contains no tenant.
#[tokio::test]
async fn w08_a_prepared_statement_is_the_same_for_every_tenant() {
    let fixture = seeded::<Postgres>(1).await;
    for _ in 0..3 {
        for (ctx, sum) in [(&fixture.acme, 6_i64), (&fixture.globex, 30)] {
            let scope = fixture.db.scope(ctx);
            let got: i64 =
                sqlx::query_scalar("SELECT sum(total)::bigint FROM orders").fetch_one(&scope).await.unwrap();
            assert_eq!(got, sum);
            let got = tenancy::query_scalar!(
                &scope,
                i64,
                "SELECT CAST(max(total) - min(total) AS bigint) FROM orders"
            );
            assert_eq!(got.fetch_one().await.unwrap(), if sum == 6 { 2 } else { 10 });
        }
    }
    let prepared =
        sqlx::query("SELECT statement FROM pg_prepared_statements").fetch_all(&fixture.pool).await.unwrap();
    let texts: Vec<String> = prepared.iter().map(|row| row.get(0)).collect();
    for part in ["sum(total)", "max(total)"] {
        assert_eq!(texts.iter().filter(|text| text.contains(part)).count(), 1, "{texts:?}");
    }
    for ctx in [&fixture.acme, &fixture.globex] {
        assert!(!texts.iter().any(|text| text.contains(&ctx.tenant_id().to_string())), "{texts:?}");
    }
}

/// An error refers to the text in the source, not to the rewritten text.
#[tokio::test]
async fn w09_a_rejection_points_into_the_text_that_was_written() {
    let fixture = seeded::<Postgres>(2).await;
    let scope = fixture.db.scope(&fixture.acme);
    let refused = sqlx::query("SELECT o.id\nFROM orders o\nJOIN orders p ON p.id = o.id AND spy(p.id)")
        .fetch_all(&scope)
        .await
        .unwrap_err();
    let sqlx::Error::Configuration(cause) = &refused else { panic!("{refused:?}") };
    let error: &tenancy::Error = cause.downcast_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::SqlRejected);
    let text = error.to_string();
    assert!(
        text.contains("3 | JOIN orders p ON p.id = o.id AND spy(p.id)") && !text.contains("__tnt"),
        "{text}"
    );
}

in_every_placement!(q46_whatever_runs_a_query_scopes_it, q58_ids_of_another_tenant_find_nothing);

/// Each entry of the sections Q (queries) and W (rewriting) has a test with its name.
#[test]
fn no_leak_of_the_catalogue_is_left_out() {
    let wanted = "Q01 Q02 Q04 Q05 Q06 Q08 Q09 Q10 Q12 Q13 Q14 Q16 Q17 Q18 Q20 Q21 Q22 Q24 Q25 Q26 Q28 Q29 Q30 Q32 \
                  Q33 Q34 Q36 Q37 Q38 Q40 Q41 Q42 Q44 Q45 Q46 Q48 Q49 Q50 Q52 Q53 Q54 Q56 Q57 Q58 \
                  W01 W02 W03 W04 W05 W06 W07 W08 W09 W10 W11 W12";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = std::fs::read_to_string(root.join("sql/tests/cases/leaks.txt")).unwrap();
    let mut named: BTreeSet<String> = cases
        .lines()
        .filter_map(|line| line.strip_prefix("== ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    let folders = std::fs::read_dir(root.join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let files =
        folders.filter(|folder| folder.is_dir()).flat_map(|folder| std::fs::read_dir(folder).unwrap());
    for entry in files {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            named.extend(
                source.split("fn ").skip(1).filter_map(|name| Some(name.split_once('_')?.0.to_uppercase())),
            );
        }
    }
    let left_out: Vec<_> = wanted.split_whitespace().filter(|id| !named.contains(*id)).collect();
    assert_eq!(left_out, [""; 0]);
}
