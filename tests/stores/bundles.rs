//! Bundles: a tenant is exported and imported, and what is no complete bundle leaves nothing behind.

use sqlx::{Postgres, Sqlite};
use tenancy::ErrorKind;
use tenancy::context::Actor;
use tenancy::tenant::{NewTenant, Slug, TenantStore};
use tokio::io::AsyncWriteExt;

use crate::common::TestBackend;
use crate::operations_fixture::{Shapes, Shop};
use crate::place_fixture::{App, provisioner_of};

fn shared(tenant: NewTenant) -> NewTenant {
    tenant
}

/// Tables whose ids are unique over all tenants, and those that refer to them.
const NEW_IDS: [&str; 2] = ["attachments", "comments"];

async fn an_imported_tenant_has_the_same_rows<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let mut kinds: Vec<fn(NewTenant) -> NewTenant> = vec![shared];
    kinds.extend(DB::kinds());
    let bystander = shop.tenant("bystander", shared).await;
    let before = shop.hashes(&bystander).await;
    for (from, kind) in kinds.iter().enumerate() {
        let acme = shop.tenant(&format!("acme-{from}"), *kind).await;
        let (manifest, bundle) = shop.export(&acme).await;
        assert_eq!(manifest.schema_version, Some(2));
        let own = shop.hashes(&acme).await;
        assert_eq!(own["projects"].0, 1500, "{own:?}");
        for (to, kind) in kinds.iter().enumerate() {
            let slug = format!("copy-{from}-{to}");
            let imported = shop
                .provisioner
                .import(&*bundle, App::<DB>::new_tenant(&slug, *kind), &Actor::user("ada"))
                .await
                .unwrap();
            shop.app.forget(imported.tenant.placement());
            assert!(imported.tenant.status().is_open());
            assert_eq!(imported.new_ids, to == 0, "only in the shared tables");
            let mut copy = shop.hashes(&imported.tenant).await;
            let mut wanted = own.clone();
            // Audit events stay with their tenant.
            wanted.remove("tenancy_audit_events");
            copy.remove("tenancy_audit_events");
            let actions = shop.audit_actions(&imported.tenant).await;
            assert_eq!(actions.iter().filter(|action| *action == "tenant.import").count(), 1, "{actions:?}");
            if imported.new_ids {
                for table in NEW_IDS {
                    let (new, old) = (copy.remove(table).unwrap(), wanted.remove(table).unwrap());
                    assert_eq!(new.0, old.0, "{table}");
                    assert_ne!(new.1, old.1, "{table} has new ids");
                }
            }
            assert_eq!(copy, wanted, "{from} to {to}");
            // The keys follow the new ids, also those of rows that refer to each other.
            let pool = shop.app.place(&imported.tenant);
            let id = DB::value(&imported.tenant);
            let id = if DB::NAME == "SQLite" { format!("X'{id}'") } else { format!("'{id}'") };
            if DB::NAME == "SQLite" {
                let broken = format!(
                    "SELECT (SELECT count(*) FROM comments WHERE tenant_id = {id} AND parent IS NULL) \
                     + (SELECT count(*) FROM pragma_foreign_key_check)"
                );
                assert_eq!(DB::number(&pool, &broken).await, 0);
                let joined = format!(
                    "SELECT count(*) FROM attachments a JOIN comments c ON c.id = a.comment AND c.tenant_id = a.tenant_id \
                     WHERE a.tenant_id = {id}"
                );
                assert_eq!(DB::number(&pool, &joined).await, 4);
            }
            // New rows get ids beyond those of the imported ones.
            let tenant =
                if DB::NAME == "SQLite" { format!("X'{}'", DB::value(&imported.tenant)) } else { id.clone() };
            shop.run_as(
                &imported.tenant,
                &format!("INSERT INTO comments (tenant_id, body) VALUES ({tenant}, 'new')"),
            )
            .await;
        }
        assert_eq!(shop.hashes(&acme).await, own, "the exported tenant is unchanged");
    }
    assert_eq!(shop.hashes(&bystander).await, before, "another tenant is unchanged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_imported_tenant_has_the_same_rows_on_sqlite() {
    an_imported_tenant_has_the_same_rows::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_imported_tenant_has_the_same_rows_on_postgres() {
    an_imported_tenant_has_the_same_rows::<Postgres>().await;
}

async fn what_is_no_bundle_leaves_nothing<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let acme = shop.tenant("acme", shared).await;
    let (_, bundle) = shop.export(&acme).await;
    let before = shop.hashes(&acme).await;
    let find = |text: &str| bundle.windows(text.len()).position(|part| part == text.as_bytes()).unwrap();
    let replaced = |old: &str, new: &str| {
        let mut changed = bundle.clone();
        changed[find(old)..][..new.len()].copy_from_slice(new.as_bytes());
        changed
    };
    let manifest = find("manifest.json");
    let cases: [(&str, Vec<u8>); 7] = [
        ("no complete bundle", Vec::new()),
        ("no complete bundle", b"not a tar archive, and long enough for a block".repeat(40)),
        ("`manifest.json` is missing", bundle[..manifest].to_vec()),
        ("no complete bundle", bundle[..find("project 700")].to_vec()),
        ("does not match projects", replaced("project 777", "project 778")),
        ("has the format 7", replaced("\"format\": 1", "\"format\": 7")),
        ("is from ", replaced(&format!("\"database\": \"{}", DB::NAME), "\"database\": \"Other")),
    ];
    let mut kinds: Vec<fn(NewTenant) -> NewTenant> = vec![shared];
    kinds.extend(DB::kinds());
    for (why, bundle) in cases {
        for kind in &kinds {
            let new = App::<DB>::new_tenant("copy", *kind);
            let error = shop.provisioner.import(&*bundle, new, &Actor::user("ada")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{why}: {error}");
            assert!(error.to_string().contains(why), "{why}: {error}");
            assert!(shop.app.store.by_slug(&Slug::parse("copy").unwrap()).await.unwrap().is_none(), "{why}");
        }
    }
    // A bundle of other migrations, by name.
    let newer =
        provisioner_of(&shop.app.pool, shop.app.files.path(), &[DB::PROJECTS, DB::APPLICATION, "SELECT 1"]);
    let error =
        newer.import(&*bundle, App::<DB>::new_tenant("copy", shared), &Actor::user("ada")).await.unwrap_err();
    assert!(
        error.to_string().contains("is of the migration 2, and this program has the migration 3"),
        "{error}"
    );
    // A slug that is taken.
    let error = shop
        .provisioner
        .import(&*bundle, App::<DB>::new_tenant("acme", shared), &Actor::user("ada"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(shop.hashes(&acme).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_bundle_leaves_nothing_on_sqlite() {
    what_is_no_bundle_leaves_nothing::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_bundle_leaves_nothing_on_postgres() {
    what_is_no_bundle_leaves_nothing::<Postgres>().await;
}

/// What an export does before it checks that the tenant was not moved: rows that a move deletes afterwards are still read.
async fn the_snapshot_of_an_export_has_begun<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let acme = shop.tenant("acme", shared).await;
    let globex = shop.tenant("globex", shared).await;
    let places = DB::places(&shop.app.pool, shop.app.files.path());
    let mut conn = DB::connect_to(&places, acme.placement()).await.unwrap();
    let id = DB::value(&acme);
    let id = if DB::NAME == "SQLite" { format!("X'{id}'") } else { format!("'{id}'") };
    DB::set_tenant(&mut conn, Some(acme.id())).await.unwrap();
    DB::run(&mut conn, DB::BEGIN_SNAPSHOT.to_owned(), None).await.unwrap();
    DB::read_number(&mut conn, "SELECT 1".to_owned() + DB::AS_NUMBER).await.unwrap();
    shop.run_as(&acme, &format!("DELETE FROM projects WHERE tenant_id = {id}")).await;
    let count = format!("SELECT count(*) FROM projects WHERE tenant_id = {id}");
    assert_eq!(DB::read_number(&mut conn, count).await.unwrap(), 1500);
    drop(conn);
    assert_eq!(shop.hashes(&globex).await["projects"].0, 1500, "another tenant is unchanged");
    assert!(!shop.hashes(&acme).await.contains_key("projects"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snapshot_of_an_export_has_begun_on_sqlite() {
    the_snapshot_of_an_export_has_begun::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snapshot_of_an_export_has_begun_on_postgres() {
    the_snapshot_of_an_export_has_begun::<Postgres>().await;
}

async fn a_stalled_upload_blocks_no_writer<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let acme = shop.tenant("acme", shared).await;
    let globex = shop.tenant("globex", shared).await;
    let (before, theirs) = (shop.hashes(&acme).await, shop.hashes(&globex).await);
    let (_, bundle) = shop.export(&acme).await;
    // When the first part is written, the import has read all rows.
    let (first, last) = bundle.split_at(bundle.len() - 4096);
    let (mut writer, reader) = tokio::io::duplex(512);
    let new = App::<DB>::new_tenant("copy", shared);
    let upload = async {
        writer.write_all(first).await.unwrap();
        let id = DB::value(&globex);
        let id = if DB::NAME == "SQLite" { format!("X'{id}'") } else { format!("'{id}'") };
        shop.run_as(&globex, &format!("INSERT INTO projects VALUES ({id}, 5001, 'new')")).await;
        writer.write_all(last).await.unwrap();
    };
    let ada = Actor::user("ada");
    let (imported, ()) = tokio::join!(Box::pin(shop.provisioner.import(reader, new, &ada)), upload);
    let copy = shop.hashes(&imported.unwrap().tenant).await;
    assert_eq!(copy["projects"], before["projects"]);
    assert_eq!(shop.hashes(&globex).await["projects"].0, theirs["projects"].0 + 1);
    assert_eq!(shop.hashes(&acme).await, before, "the exported tenant is unchanged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_upload_blocks_no_writer_on_sqlite() {
    a_stalled_upload_blocks_no_writer::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_upload_blocks_no_writer_on_postgres() {
    a_stalled_upload_blocks_no_writer::<Postgres>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_no_import_reads_is_not_exported() {
    let mut shop = Shop::<Sqlite>::with(
        "CREATE TABLE notes (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, body BLOB, PRIMARY KEY (tenant_id, id))",
    )
    .await;
    let acme = shop
        .tenant_with("acme", shared, "INSERT INTO notes VALUES (X'TENANT', 1, zeroblob(126000000))")
        .await;
    let globex = shop.tenant_with("globex", shared, "INSERT INTO notes VALUES (X'TENANT', 1, X'00')").await;
    let error = shop.provisioner.export(acme.id()).write_to(tokio::io::sink()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("a row of `notes` has 240 MiB"), "{error}");
    assert_eq!(shop.hashes(&globex).await["notes"].0, 1, "another tenant is exported");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_full_text_search_are_imported_and_restored() {
    let mut shop =
        Shop::<Sqlite>::with("CREATE VIRTUAL TABLE docs USING fts5 (tenant_id UNINDEXED, body)").await;
    let rows = "INSERT INTO docs (tenant_id, body) VALUES (X'TENANT', 'hello world'), (X'TENANT', 'second')";
    let acme = shop.tenant_with("acme", shared, rows).await;
    let globex = shop.tenant_with("globex", shared, rows).await;
    let (before, theirs) = (shop.hashes(&acme).await, shop.hashes(&globex).await);
    let (_, bundle) = shop.export(&acme).await;
    let copy = shop.import(&bundle, "copy").await.unwrap();
    assert_eq!(shop.hashes(&copy).await["docs"], before["docs"]);
    shop.run_as(&acme, &format!("DELETE FROM docs WHERE tenant_id = X'{}'", Sqlite::value(&acme))).await;
    shop.close(&acme).await;
    shop.restore(&acme, &bundle).await.unwrap();
    assert_eq!(shop.hashes(&acme).await["docs"], before["docs"]);
    let found = "SELECT count(*) FROM docs WHERE docs MATCH 'hello'";
    assert_eq!(Sqlite::number(&shop.app.pool, found).await, 3);
    shop.close(&copy).await;
    let receipt = shop.provisioner.deletion(copy.id(), &Actor::user("ada")).run(copy.slug()).await.unwrap();
    assert_eq!(receipt.tables["docs"], 2);
    assert_eq!(shop.hashes(&globex).await, theirs, "another tenant is unchanged");
}
