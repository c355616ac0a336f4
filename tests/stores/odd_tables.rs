//! Export, import, restore and deletion with tables of unusual shapes, beside another tenant that keeps its rows.

use std::sync::Arc;

use sqlx::{Postgres, Sqlite};
use tenancy::ErrorKind;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::scope::Schema;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, TenantId, TenantStatus, TenantStore};

use crate::common::CATALOG;
use crate::operations_fixture::{Shapes, Shop};
use crate::place_fixture::{App, provisioner_of};

fn shared(new: NewTenant) -> NewTenant {
    new
}

/// An import and a restore leave the rows as they were, and another tenant's too.
async fn rows_stay_as_they_are<DB: Shapes>(tables: &str, rows: &str) {
    let mut shop = Shop::<DB>::with(tables).await;
    let acme = shop.tenant_with("acme", shared, rows).await;
    let globex = shop.tenant_with("globex", shared, rows).await;
    let (before, theirs) = (shop.hashes(&acme).await, shop.hashes(&globex).await);
    let (_, bundle) = shop.export(&acme).await;
    let copy = shop.import(&bundle, "copy").await.unwrap();
    let of_rows = |mut hashes: std::collections::BTreeMap<String, (u64, String)>| {
        hashes.retain(|name, _| !name.starts_with("tenancy_"));
        hashes
    };
    assert_eq!(of_rows(shop.hashes(&copy).await), of_rows(before.clone()), "the copy");
    shop.close(&acme).await;
    shop.restore(&acme, &bundle).await.unwrap();
    assert_eq!(of_rows(shop.hashes(&acme).await), of_rows(before), "after the restore");
    assert_eq!(shop.hashes(&globex).await, theirs, "another tenant");
}

const NODES_SQLITE: &str = "INSERT INTO nodes VALUES (X'TENANT', 1, NULL), (X'TENANT', 2, 1), (X'TENANT', 3, 2), (X'TENANT', 4, NULL)";
const NODES_POSTGRES: &str =
    "INSERT INTO nodes VALUES ('TENANT', 1, NULL), ('TENANT', 2, 1), ('TENANT', 3, 2), ('TENANT', 4, NULL)";

/// A column that is written later is null until then. It does not get its default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_that_is_null_does_not_get_its_default() {
    rows_stay_as_they_are::<Sqlite>(
        "CREATE TABLE nodes (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, parent INTEGER DEFAULT 1, \
         PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, parent) REFERENCES nodes (tenant_id, id))",
        NODES_SQLITE,
    )
    .await;
    rows_stay_as_they_are::<Postgres>(
        "CREATE TABLE nodes (tenant_id uuid NOT NULL, id bigint NOT NULL, parent bigint DEFAULT 0, \
         PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, parent) REFERENCES nodes (tenant_id, id))",
        NODES_POSTGRES,
    )
    .await;
}

/// Without a primary key, the rows that are to refer to others cannot be told apart.
async fn references_without_a_primary_key_are_refused<DB: Shapes>(tables: &str, rows: &str) {
    let mut shop = Shop::<DB>::with(tables).await;
    let acme = shop.tenant_with("acme", shared, rows).await;
    let before = shop.hashes(&acme).await["nodes"].clone();
    let (_, bundle) = shop.export(&acme).await;
    let error = shop.import(&bundle, "copy").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("`nodes`"), "{error}");
    shop.close(&acme).await;
    let error = shop.restore(&acme, &bundle).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert_eq!(shop.hashes(&acme).await["nodes"], before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_refers_to_itself_needs_a_primary_key() {
    references_without_a_primary_key_are_refused::<Sqlite>(
        "CREATE TABLE nodes (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, parent INTEGER, UNIQUE (tenant_id, id), \
         FOREIGN KEY (tenant_id, parent) REFERENCES nodes (tenant_id, id))",
        NODES_SQLITE,
    )
    .await;
    // A primary key of SQLite can be null.
    references_without_a_primary_key_are_refused::<Sqlite>(
        "CREATE TABLE nodes (tenant_id BLOB NOT NULL, id INTEGER, parent INTEGER, PRIMARY KEY (tenant_id, id), \
         FOREIGN KEY (tenant_id, parent) REFERENCES nodes (tenant_id, id))",
        &NODES_SQLITE.replace("4, NULL", "NULL, 1"),
    )
    .await;
    references_without_a_primary_key_are_refused::<Postgres>(
        "CREATE TABLE nodes (tenant_id uuid NOT NULL, id bigint NOT NULL, parent bigint, UNIQUE (tenant_id, id), \
         FOREIGN KEY (tenant_id, parent) REFERENCES nodes (tenant_id, id))",
        NODES_POSTGRES,
    )
    .await;
}

/// The rows of a table that inherits have keys of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_inherits_keeps_its_references() {
    rows_stay_as_they_are::<Postgres>(
        "CREATE TABLE nodes (tenant_id uuid NOT NULL, id bigint NOT NULL, parent bigint, PRIMARY KEY (tenant_id, id), \
         FOREIGN KEY (tenant_id, parent) REFERENCES nodes (tenant_id, id)); \
         CREATE TABLE special (more text, PRIMARY KEY (tenant_id, id)) INHERITS (nodes)",
        "INSERT INTO nodes VALUES ('TENANT', 1, NULL), ('TENANT', 2, 1); \
         INSERT INTO special VALUES ('TENANT', 2, NULL, 'more'), ('TENANT', 3, 77, 'more')",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_with_a_nul_stays_whole() {
    rows_stay_as_they_are::<Sqlite>(
        "CREATE TABLE notes (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, body TEXT, PRIMARY KEY (tenant_id, id))",
        "INSERT INTO notes VALUES (X'TENANT', 1, 'before' || char(0) || 'after é'), (X'TENANT', 2, char(0)), (X'TENANT', 3, '')",
    )
    .await;
}

/// A column can have the name of SQLite's row number, and a primary key can be null.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_finds_its_rows_by_their_number() {
    const ROWS: &str =
        "INSERT INTO cells VALUES (X'TENANT', 1, 'a'), (X'TENANT', 2, 'b'), (X'TENANT', NULL, 'c')";
    for tables in [
        "CREATE TABLE cells (tenant_id BLOB NOT NULL, rowid INTEGER, body TEXT)",
        "CREATE TABLE cells (tenant_id BLOB NOT NULL, Rowid INTEGER, _ROWID_ TEXT)",
        "CREATE TABLE cells (tenant_id BLOB NOT NULL, code TEXT, body TEXT, PRIMARY KEY (tenant_id, code))",
    ] {
        let mut shop = Shop::<Sqlite>::with(tables).await;
        let acme = shop.tenant_with("acme", shared, ROWS).await;
        let globex = shop.tenant_with("globex", shared, ROWS).await;
        shop.close(&acme).await;
        let receipt = shop.delete(&acme).await.unwrap();
        assert_eq!(receipt.tables["cells"], 3, "{tables}");
        let sql = "SELECT count(*) FROM cells WHERE tenant_id = X'TENANT'";
        assert_eq!((shop.number(&acme, sql).await, shop.number(&globex, sql).await), (0, 3), "{tables}");
    }
    let mut shop = Shop::<Sqlite>::with(
        "CREATE TABLE cells (tenant_id BLOB NOT NULL, rowid INTEGER, _rowid_ TEXT, oid)",
    )
    .await;
    let acme = shop.tenant_with("acme", shared, "INSERT INTO cells VALUES (X'TENANT', 1, 'a', 2)").await;
    shop.close(&acme).await;
    assert_eq!(shop.delete(&acme).await.unwrap_err().kind(), ErrorKind::Misconfigured);
}

/// `TenantDb` finds the rows of an import and of a restore: the tenant has the type that it binds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_rows_have_the_tenant_in_the_type_that_is_bound() {
    for (column, declared, other) in [
        ("TEXT NOT NULL", "", ""),
        ("NOT NULL", "type = \"text\"", ""),
        ("UUID NOT NULL", "type = \"text\"", ""),
        ("UUID NOT NULL", "", ""),
        ("UUID NOT NULL", "", "; CREATE TABLE other (tenant_id TEXT NOT NULL)"),
    ] {
        let files = tempfile::tempdir().unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new();
        let options = options.filename(files.path().join("app.db")).create_if_missing(true);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let store = SqlStore::new(pool.clone());
        store.migrate().await.unwrap();
        let schema = Schema::from_toml(declared).unwrap();
        let tables = format!("CREATE TABLE notes (tenant_id {column}, id INTEGER NOT NULL){other}");
        let provisioner = provisioner_of(&pool, files.path(), &[&tables]).schema(schema.clone());
        let migrated: Vec<_> = futures_util::StreamExt::collect(provisioner.migrations().run()).await;
        assert!(migrated.iter().all(|place| place.as_ref().unwrap().result.is_ok()));
        let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
        let directory = TenantDirectory::new(Arc::new(store.clone()), catalog);
        let db = tenancy::TenantDb::from_pool(pool.clone()).schema(schema).build().await.unwrap();
        let ada = Actor::user("ada");
        let seen = async |id: &TenantId| -> i64 {
            let ctx = directory.context(id, ada.clone()).await.unwrap();
            sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&db.scope(&ctx)).await.unwrap()
        };
        let acme = provisioner.create(App::<Sqlite>::new_tenant("acme", shared)).await.unwrap();
        let ctx = directory.context(acme.id(), ada.clone()).await.unwrap();
        for id in [1, 2] {
            let insert = sqlx::query("INSERT INTO notes (id) VALUES ($1)").bind(id);
            insert.execute(&db.scope(&ctx)).await.unwrap();
        }
        let mut bundle = Vec::new();
        provisioner.export(acme.id()).write_to(&mut bundle).await.unwrap();
        let copy =
            provisioner.import(&*bundle, App::<Sqlite>::new_tenant("copy", shared), &ada).await.unwrap();
        let set = async |status: TenantStatus| {
            let now = store.by_id(acme.id()).await.unwrap().unwrap();
            store.update(&now.with_status(status).unwrap()).await.unwrap();
        };
        set(TenantStatus::PastDue).await;
        set(TenantStatus::Suspended).await;
        provisioner.restore(acme.id(), &*bundle).await.unwrap().apply(acme.slug(), &ada).await.unwrap();
        set(TenantStatus::Active).await;
        assert_eq!((seen(copy.tenant.id()).await, seen(acme.id()).await), (2, 2), "{tables}, {declared}");
    }
}

const ITEMS: &str = "CREATE TABLE items (tenant_id uuid NOT NULL, id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, \
    UNIQUE (tenant_id, id)); \
    CREATE TABLE orders (tenant_id uuid NOT NULL, id bigint NOT NULL, item bigint, day date NOT NULL, \
    PRIMARY KEY (tenant_id, id, day)) PARTITION BY RANGE (day); \
    CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (MINVALUE) TO (MAXVALUE); ";
const ITEM_ROWS: &str = "INSERT INTO items VALUES ('TENANT', NUMBER1), ('TENANT', NUMBER2); \
    INSERT INTO orders VALUES ('TENANT', 1, NUMBER1, '2026-01-01'), ('TENANT', 2, NUMBER2, '2026-01-01')";

/// A foreign key of a partition alone counts as one of its table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_key_of_a_partition_is_followed() {
    let key = "ALTER TABLE orders_1 ADD FOREIGN KEY (tenant_id, item) REFERENCES items (tenant_id, id) ON DELETE CASCADE";
    let mut shop = Shop::<Postgres>::with(&format!("{ITEMS}{key}")).await;
    let acme = shop.tenant_with("acme", shared, &ITEM_ROWS.replace("NUMBER", "1")).await;
    let globex = shop.tenant_with("globex", shared, &ITEM_ROWS.replace("NUMBER", "2")).await;
    let theirs = shop.hashes(&globex).await;
    let (_, bundle) = shop.export(&acme).await;
    let copy = shop.import(&bundle, "copy").await.unwrap();
    let joined = "SELECT count(*) FROM orders o JOIN items i ON i.id = o.item AND i.tenant_id = o.tenant_id";
    assert_eq!(shop.number(&copy, joined).await, 2, "the orders of the copy are of its own items");
    shop.close(&acme).await;
    let ada = Actor::user("ada");
    let held = shop.provisioner.deletion(acme.id(), &ada).hold("orders", "8 years").plan().await;
    assert_eq!(held.unwrap_err().kind(), ErrorKind::Misconfigured, "the parents of held rows are held too");
    let receipt = shop.delete(&acme).await.unwrap();
    assert_eq!((receipt.tables["orders"], receipt.tables["items"]), (2, 2));
    assert_eq!(shop.number(&copy, joined).await, 2);
    assert_eq!(shop.hashes(&globex).await, theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cascade_of_a_partition_without_the_tenant_forbids_a_deletion() {
    let key = "ALTER TABLE orders_1 ADD FOREIGN KEY (item) REFERENCES items (id) ON DELETE CASCADE";
    let mut shop = Shop::<Postgres>::with(&format!("{ITEMS}{key}")).await;
    let acme = shop.tenant_with("acme", shared, &ITEM_ROWS.replace("NUMBER", "1")).await;
    shop.close(&acme).await;
    let error = shop.delete(&acme).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("`orders`"), "{error}");
}

/// Held rows refer to a partition of a table that is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_sees_a_foreign_key_to_a_partition() {
    let tables = "CREATE TABLE items (tenant_id uuid NOT NULL, id bigint NOT NULL) PARTITION BY RANGE (id); \
        CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (MINVALUE) TO (MAXVALUE); \
        ALTER TABLE items_1 ADD PRIMARY KEY (tenant_id, id); \
        CREATE TABLE sales (tenant_id uuid NOT NULL, id bigint NOT NULL, item bigint, PRIMARY KEY (tenant_id, id), \
        FOREIGN KEY (tenant_id, item) REFERENCES items_1 (tenant_id, id) ON DELETE CASCADE)";
    let mut shop = Shop::<Postgres>::with(tables).await;
    let rows = "INSERT INTO items VALUES ('TENANT', 1); INSERT INTO sales VALUES ('TENANT', 1, 1)";
    let acme = shop.tenant_with("acme", shared, rows).await;
    shop.close(&acme).await;
    let deletion = shop.provisioner.deletion(acme.id(), &Actor::user("ada")).hold("sales", "8 years");
    assert_eq!(deletion.run(acme.slug()).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(shop.number(&acme, "SELECT count(*) FROM sales").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tables_of_one_name_are_refused() {
    let tables = "CREATE SCHEMA audit; CREATE TABLE audit.log (tenant_id uuid NOT NULL, id bigint NOT NULL); \
        CREATE TABLE \"audit.log\" (tenant_id uuid NOT NULL, id bigint NOT NULL)";
    let mut shop = Shop::<Postgres>::with(tables).await;
    let acme = shop.tenant_with("acme", shared, "INSERT INTO audit.log VALUES ('TENANT', 1)").await;
    let error = shop.provisioner.export(acme.id()).write_to(Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("`audit.log`"), "{error}");
    shop.close(&acme).await;
    assert_eq!(shop.delete(&acme).await.unwrap_err().kind(), ErrorKind::Misconfigured);
}

/// A statement can name the schema of a table. Such rows are not in the tenant's schema.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outside_of_the_schema_of_a_tenant_are_not_forgotten() {
    let tables = "CREATE SCHEMA IF NOT EXISTS audit; \
        CREATE TABLE IF NOT EXISTS audit.log (tenant_id uuid NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id)); \
        CREATE TABLE notes (tenant_id uuid NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id))";
    let mut shop = Shop::<Postgres>::with(tables).await;
    let rows = "INSERT INTO notes VALUES ('TENANT', 1)";
    let acme = shop.tenant_with("acme", NewTenant::own_schema, rows).await;
    let globex = shop.tenant_with("globex", NewTenant::own_schema, rows).await;
    shop.export(&acme).await;
    shop.run_as(&acme, &format!("INSERT INTO audit.log VALUES ('{}', 7)", acme.id())).await;
    let error = shop.provisioner.export(acme.id()).write_to(Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("audit"), "{error}");
    let ada = Actor::user("ada");
    let target = tenancy::tenant::Placement::database_of(acme.id());
    let plan = shop.provisioner.move_to(acme.id(), target, &ada).plan().await.unwrap();
    assert!(plan.refused.iter().any(|why| why.contains("audit")), "{plan}");
    shop.close(&acme).await;
    assert_eq!(shop.delete(&acme).await.unwrap_err().kind(), ErrorKind::Conflict);
    shop.run_as(&acme, "DELETE FROM audit.log").await;
    shop.delete(&acme).await.unwrap();
    shop.export(&globex).await;
}
