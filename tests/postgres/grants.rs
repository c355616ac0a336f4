//! The grants on the library's own tables, and the error of a missing one.

use sqlx::{AssertSqlSafe, Connection, Postgres};
use tenancy::audit::AuditEvent;
use tenancy::isolation::RlsPolicies;
use tenancy::isolation::doctor::Check;
use tenancy::quota::Gauge;
use tenancy::{Error, ErrorKind, TenantScoped};
use uuid::Uuid;

use crate::common::{Fixture, Order};
use crate::doctor_cases;

fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    // The message of the database is the cause.
    assert!(error.cause().is_some_and(|cause| cause.to_string().contains("permission denied")), "{text}");
}

#[tokio::test]
async fn the_error_of_a_missing_privilege_names_the_table_and_the_privilege() {
    let fixture = Fixture::<Postgres>::new().await;
    let order = || Order { id: Uuid::now_v7(), status: "open".to_owned(), total: 1 };
    for ctx in [&fixture.acme, &fixture.globex] {
        Order::insert(&fixture.db.scope(ctx), &order()).await.unwrap();
    }
    for (privilege, table) in [
        ("INSERT", "orders"),
        ("SELECT", "tenancy_gauges"),
        ("INSERT", "tenancy_audit_events"),
        ("INSERT", "tenancy_usage"),
    ] {
        fixture.raw(&format!("REVOKE {privilege} ON {table} FROM CURRENT_USER")).await.unwrap();
    }
    for ctx in [&fixture.acme, &fixture.globex] {
        let scope = fixture.db.scope(ctx);
        let error = Order::insert(&scope, &order()).await.unwrap_err();
        says(&error, &["lacks INSERT", "on the table `orders`", "tenancy policies --role"]);
        assert_eq!(Order::count(&scope).await.unwrap(), 1);

        let mut tx = fixture.db.begin(ctx).await.unwrap();
        says(&Order::insert(&mut tx, &order()).await.unwrap_err(), &["lacks INSERT", "`orders`"]);
        tx.rollback().await.unwrap();

        let mut tx = fixture.db.begin(ctx).await.unwrap();
        let error = Gauge::new("projects").acquire(&mut tx, 1).await.unwrap_err();
        let needs = "`tenancy_gauges`, on which it needs SELECT, INSERT and UPDATE";
        says(&error, &[needs, "`GRANT SELECT, INSERT, UPDATE ON tenancy_gauges TO`"]);
        tx.rollback().await.unwrap();

        let mut tx = fixture.db.begin(ctx).await.unwrap();
        let recorded = match tx.record(AuditEvent::new(ctx, "order.opened")).await {
            Ok(()) => tx.commit().await,
            Err(error) => Err(error),
        };
        says(&recorded.unwrap_err(), &["`tenancy_audit_events`, on which it needs SELECT and INSERT"]);
    }
    // A statement of the application has sqlx's error. The text of the converted one names the table.
    fixture.raw("REVOKE SELECT ON orders FROM CURRENT_USER").await.unwrap();
    let scope = fixture.db.scope(&fixture.acme);
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM orders").fetch_one(&scope).await;
    let words = ["the privilege of the statement's command", "on the table `orders`"];
    says(&Error::from_sqlx(count.unwrap_err()), &words);
    says(&Order::count(&scope).await.unwrap_err(), &["lacks SELECT on the table `orders`"]);
}

/// The privileges of a role on each table of the library, without those on which it has none.
async fn granted(fixture: &doctor_cases::Fixture) -> Vec<(String, String)> {
    let mut conn = fixture.connect(&fixture.owner).await;
    let sql = format!(
        "SELECT c.relname::text, string_agg(p, ', ' ORDER BY at) FROM pg_class c, \
         unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) WITH ORDINALITY u(p, at) \
         WHERE c.relkind = 'r' AND c.relname LIKE 'tenancy\\_%' AND has_table_privilege('{}', c.oid, p) \
         GROUP BY 1 ORDER BY 1",
        fixture.app
    );
    let rows = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    rows
}

#[tokio::test]
async fn policies_grant_what_the_tables_of_tenants_need_and_nothing_of_the_control_plane() {
    let fixture = doctor_cases::Fixture::new().await;
    let schema = doctor_cases::schema();
    fixture.as_owner("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {app}").await;
    assert_eq!(granted(&fixture).await, []);
    let report = fixture.examined(&fixture.app, "").await;
    let missing: Vec<_> = report.findings().iter().map(|found| (found.check(), found.object())).collect();
    let tables = [
        "tenancy_audit_events",
        "tenancy_gauge_resources",
        "tenancy_gauges",
        "tenancy_usage",
        "tenancy_usage_batches",
    ];
    assert_eq!(missing, tables.map(|table| (Check::MissingGrant, table)), "{report}");
    // A table that does not exist is no error. A grant would open one without row-level security.
    let without =
        "DROP TABLE tenancy_usage_batches CASCADE; ALTER TABLE tenancy_gauges DISABLE ROW LEVEL SECURITY";
    fixture.as_owner(without).await;
    let mut owner = fixture.connect(&fixture.owner).await;
    let policies = RlsPolicies::new(&schema).runtime_role(&fixture.app);
    let plan = policies.apply(&mut owner).await.unwrap();
    let own = plan.changes().iter().filter(|change| change.object().contains("tenancy_")).count();
    assert_eq!((own, plan.tables()), (3, policies.plan(&mut owner).await.unwrap().tables()));
    assert!(policies.plan(&mut owner).await.unwrap().is_empty());
    let wanted = [
        ("tenancy_audit_events", "SELECT, INSERT"),
        ("tenancy_gauge_resources", "SELECT, INSERT, DELETE"),
        ("tenancy_usage", "SELECT, INSERT, UPDATE, DELETE"),
    ];
    assert_eq!(granted(&fixture).await, wanted.map(|(table, all)| (table.to_owned(), all.to_owned())));
    fixture.examined(&fixture.app, "").await.assert_clean();

    fixture.as_owner("ALTER TABLE tenancy_gauges ENABLE ROW LEVEL SECURITY").await;
    policies.apply(&mut owner).await.unwrap();
    let gauges = ("tenancy_gauges".to_owned(), "SELECT, INSERT, UPDATE".to_owned());
    assert!(granted(&fixture).await.contains(&gauges));
    fixture.examined(&fixture.app, "").await.assert_clean();
}
