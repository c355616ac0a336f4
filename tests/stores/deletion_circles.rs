//! Rows that refer to each other in a circle: a tenant with such rows is deleted and restored, and another one is unchanged.

use sqlx::{Postgres, Sqlite};
use tenancy::ErrorKind;
use tenancy::context::Actor;
use tenancy::tenant::{NewTenant, Tenant, TenantStatus, TenantStore};

use crate::operations_fixture::{Shapes, Shop};

fn shared(tenant: NewTenant) -> NewTenant {
    tenant
}

async fn two_tenants<DB: Shapes>(sql: &str, rows: &str) -> (Shop<DB>, Tenant, Tenant) {
    let mut shop = Shop::<DB>::with(sql).await;
    let acme = shop.tenant_with("acme", shared, rows).await;
    let globex = shop.tenant_with("globex", shared, rows).await;
    (shop, acme, globex)
}

/// Restores a tenant with these rows, and deletes it. The tables are `a` with `rows` rows, and others.
async fn deleted<DB: Shapes>(sql: &str, rows: &str, count: u64) {
    let (shop, acme, globex) = two_tenants::<DB>(sql, rows).await;
    let theirs = shop.hashes(&globex).await;
    let (_, bundle) = shop.export(&acme).await;
    let before = shop.hashes(&acme).await;
    shop.close(&acme).await;
    shop.restore(&acme, &bundle).await.unwrap();
    assert_eq!(shop.hashes(&acme).await["a"], before["a"]);
    let receipt = shop.provisioner.deletion(acme.id(), &Actor::user("ada")).run(acme.slug()).await.unwrap();
    assert_eq!(receipt.tables["a"], count, "{receipt:?}");
    assert!(shop.app.store.by_id(acme.id()).await.unwrap().is_none());
    assert_eq!(shop.hashes(&globex).await, theirs, "another tenant is unchanged");
}

/// Deletes a tenant with these rows. The receipt has these counts.
async fn deleted_at_once<DB: Shapes>(sql: &str, rows: &str, counts: &[(&str, u64)]) {
    let (shop, acme, globex) = two_tenants::<DB>(sql, rows).await;
    let theirs = shop.hashes(&globex).await;
    shop.close(&acme).await;
    let receipt = shop.delete(&acme).await.unwrap();
    for (table, count) in counts {
        assert_eq!(receipt.tables[*table], *count, "{receipt:?}");
    }
    assert_eq!(shop.hashes(&globex).await, theirs, "another tenant is unchanged");
}

const CIRCLE: &str =
    "INSERT INTO a VALUES (TENANT, 1, 1), (TENANT, 2, 1); INSERT INTO b VALUES (TENANT, 1, 2)";

fn on_postgres(rows: &str) -> String {
    rows.replace("TENANT", "'TENANT'")
}

fn on_sqlite(rows: &str) -> String {
    rows.replace("TENANT", "X'TENANT'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_required_keys_is_deleted_on_postgres() {
    let sql = "CREATE TABLE a (tenant_id uuid NOT NULL, id bigint NOT NULL, b bigint NOT NULL, PRIMARY KEY (tenant_id, id)); \
        CREATE TABLE b (tenant_id uuid NOT NULL, id bigint NOT NULL, a bigint NOT NULL, PRIMARY KEY (tenant_id, id), \
            FOREIGN KEY (tenant_id, a) REFERENCES a (tenant_id, id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED); \
        ALTER TABLE a ADD FOREIGN KEY (tenant_id, b) REFERENCES b (tenant_id, id) DEFERRABLE INITIALLY DEFERRED";
    Box::pin(deleted::<Postgres>(sql, &on_postgres(CIRCLE), 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_required_keys_is_deleted_on_sqlite() {
    // RESTRICT is checked at once, so the order matters: the one with RESTRICT goes first.
    for [of_a, of_b] in [["", "ON DELETE CASCADE"], ["ON DELETE RESTRICT", ""], ["", "ON DELETE RESTRICT"]] {
        let sql = format!(
            "CREATE TABLE a (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (tenant_id, id), \
                 FOREIGN KEY (tenant_id, b) REFERENCES b (tenant_id, id) {of_a} DEFERRABLE INITIALLY DEFERRED); \
             CREATE TABLE b (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, a INTEGER NOT NULL, PRIMARY KEY (tenant_id, id), \
                 FOREIGN KEY (tenant_id, a) REFERENCES a (tenant_id, id) {of_b} DEFERRABLE INITIALLY DEFERRED)"
        );
        Box::pin(deleted::<Sqlite>(&sql, &on_sqlite(CIRCLE), 2)).await;
    }
}

const CHECKED: &str = "INSERT INTO b VALUES (TENANT, 1, NULL); INSERT INTO a VALUES (TENANT, 1, 1); \
    UPDATE b SET a = 1 WHERE tenant_id = TENANT";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_forbids_null_in_a_circle_does_not_stop_a_deletion_on_postgres() {
    let sql = "CREATE TABLE a (tenant_id uuid NOT NULL, id bigint NOT NULL, b bigint CHECK (b IS NOT NULL), \
            PRIMARY KEY (tenant_id, id)); \
        CREATE TABLE b (tenant_id uuid NOT NULL, id bigint NOT NULL, a bigint, PRIMARY KEY (tenant_id, id), \
            FOREIGN KEY (tenant_id, a) REFERENCES a (tenant_id, id)); \
        ALTER TABLE a ADD FOREIGN KEY (tenant_id, b) REFERENCES b (tenant_id, id)";
    Box::pin(deleted_at_once::<Postgres>(sql, &on_postgres(CHECKED), &[("a", 1), ("b", 1)])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_forbids_null_in_a_circle_does_not_stop_a_deletion_on_sqlite() {
    let sql = "CREATE TABLE a (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, b INTEGER CHECK (b IS NOT NULL), \
            PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, b) REFERENCES b (tenant_id, id)); \
        CREATE TABLE b (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, a INTEGER, PRIMARY KEY (tenant_id, id), \
            FOREIGN KEY (tenant_id, a) REFERENCES a (tenant_id, id))";
    Box::pin(deleted_at_once::<Sqlite>(sql, &on_sqlite(CHECKED), &[("a", 1), ("b", 1)])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_one_table_with_restrict_are_deleted_on_sqlite() {
    for null in ["", "NOT NULL"] {
        let sql = format!(
            "CREATE TABLE a (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, parent INTEGER {null}, PRIMARY KEY (tenant_id, id), \
             FOREIGN KEY (tenant_id, parent) REFERENCES a (tenant_id, id) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED)"
        );
        let rows = "INSERT INTO a VALUES (TENANT, 1, 3), (TENANT, 2, 1), (TENANT, 3, 2), (TENANT, 4, 4), (TENANT, 5, 4)";
        Box::pin(deleted::<Sqlite>(&sql, &on_sqlite(rows), 5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_one_table_with_restrict_are_deleted_on_postgres() {
    let sql = "CREATE TABLE a (tenant_id uuid NOT NULL, id bigint NOT NULL, parent bigint, PRIMARY KEY (tenant_id, id), \
        FOREIGN KEY (tenant_id, parent) REFERENCES a (tenant_id, id) ON DELETE RESTRICT)";
    let rows =
        "INSERT INTO a VALUES (TENANT, 1, 3), (TENANT, 2, 1), (TENANT, 3, 2), (TENANT, 4, 4), (TENANT, 5, 4)";
    Box::pin(deleted::<Postgres>(sql, &on_postgres(rows), 5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_that_no_order_deletes_is_refused_in_the_plan() {
    let table = |name: &str, other: &str| {
        format!(
            "CREATE TABLE {name} (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, {other} INTEGER NOT NULL, \
             PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, {other}) REFERENCES {other} (tenant_id, id) \
             ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED)"
        )
    };
    let sql = format!("{}; {}", table("a", "b"), table("b", "a"));
    let (shop, acme, globex) = two_tenants::<Sqlite>(&sql, &on_sqlite(CIRCLE)).await;
    let (before, theirs) = (shop.hashes(&acme).await, shop.hashes(&globex).await);
    shop.close(&acme).await;
    let deletion = shop.provisioner.deletion(acme.id(), &Actor::user("ada"));
    for error in [deletion.plan().await.unwrap_err(), deletion.run(acme.slug()).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains("the rows of `b` and `a` refer to each other"), "{error}");
    }
    let now = shop.app.store.by_id(acme.id()).await.unwrap().unwrap();
    assert_eq!(now.status(), TenantStatus::Deactivated);
    assert_eq!(shop.hashes(&acme).await, before, "nothing was deleted");
    assert_eq!(shop.hashes(&globex).await, theirs, "another tenant is unchanged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_with_null_in_their_key_are_deleted_on_sqlite() {
    let sql = "CREATE TABLE a (tenant_id BLOB NOT NULL, code TEXT, body TEXT, PRIMARY KEY (tenant_id, code))";
    let rows = "INSERT INTO a VALUES (TENANT, NULL, 'a'), (TENANT, NULL, 'b'), (TENANT, '2', 'c')";
    Box::pin(deleted_at_once::<Sqlite>(sql, &on_sqlite(rows), &[("a", 3)])).await;
}
