//! Restore: the rows of a bundle replace those of its tenant, in one transaction, and the difference is shown before.

use sqlx::{Postgres, Sqlite};
use tenancy::ErrorKind;
use tenancy::context::Actor;
use tenancy::tenant::{NewTenant, Slug};

use crate::operations_fixture::{Shapes, Shop};
use crate::place_fixture::provisioner_of;
use futures_util::StreamExt;

fn shared(tenant: NewTenant) -> NewTenant {
    tenant
}

async fn a_tenant_is_restored<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let ada = Actor::user("ada");
    let other = shop.tenant("other", shared).await;
    let (_, of_other) = shop.export(&other).await;
    let theirs = shop.hashes(&other).await;
    let mut kinds: Vec<fn(NewTenant) -> NewTenant> = vec![shared];
    kinds.extend(DB::kinds());
    for (at, kind) in kinds.into_iter().enumerate() {
        let acme = shop.tenant(&format!("acme-{at}"), kind).await;
        let before = shop.hashes(&acme).await;
        let (_, bundle) = shop.export(&acme).await;

        // Nothing has changed yet.
        let restore = shop.provisioner.restore(acme.id(), &*bundle).await.unwrap();
        for table in restore.differences().iter().filter(|table| table.name != "lines") {
            assert_eq!((table.added, table.changed, table.removed), (0, 0, 0), "{restore}");
        }
        let tenant = if DB::NAME == "SQLite" {
            format!("X'{}'", DB::value(&acme))
        } else {
            format!("'{}'", acme.id())
        };
        let sql = format!(
            "DELETE FROM projects WHERE id <= 10 AND tenant_id = {tenant}; \
             UPDATE projects SET name = 'changed' WHERE id BETWEEN 11 AND 15 AND tenant_id = {tenant}; \
             INSERT INTO projects VALUES ({tenant}, 5001, 'new'), ({tenant}, 5002, 'new'); \
             DELETE FROM attachments WHERE tenant_id = {tenant}; \
             UPDATE comments SET parent = NULL WHERE tenant_id = {tenant}; DELETE FROM settings WHERE tenant_id = {tenant}"
        );
        shop.run_as(&acme, &sql).await;
        let changed = shop.hashes(&acme).await;
        assert_ne!(changed, before);

        let read = async || shop.provisioner.restore(acme.id(), &*bundle).await.unwrap();
        let restore = read().await;
        let of = |name: &str| {
            let table = restore.differences().iter().find(|table| table.name == name).unwrap();
            (table.added, table.changed, table.removed)
        };
        assert_eq!(of("projects"), (10, 5, 2), "{restore}");
        assert_eq!(of("comments"), (0, 700, 0));
        assert_eq!(of("settings"), (1, 0, 0));
        assert_eq!(of("lines"), (4, 0, 4), "without a primary key");
        assert!(restore.to_string().contains("10 added"), "{restore}");

        let error = restore.apply(acme.slug(), &ada).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IllegalTransition, "the tenant is open");
        shop.close(&acme).await;
        let error = read().await.apply(&Slug::parse("other").unwrap(), &ada).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = shop.provisioner.restore(acme.id(), &*of_other).await.unwrap_err();
        assert!(error.to_string().contains("of another tenant, `other`"), "{error}");
        assert_eq!(shop.hashes(&acme).await, changed, "nothing has changed");

        read().await.apply(acme.slug(), &ada).await.unwrap();
        let mut after = shop.hashes(&acme).await;
        // The event of the restore.
        after.remove("tenancy_audit_events");
        assert_eq!(after, before);
        let next = format!("INSERT INTO comments (tenant_id, body) VALUES ({tenant}, 'new')");
        shop.run_as(&acme, &next).await;
        assert_eq!(shop.hashes(&other).await, theirs, "another tenant is unchanged");
        let restored = shop.audit_actions(&acme).await;
        for event in ["tenant.restore_begin", "tenant.restore"] {
            assert_eq!(restored.iter().filter(|action| **action == event).count(), 1, "{restored:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_restored_on_sqlite() {
    a_tenant_is_restored::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_restored_on_postgres() {
    a_tenant_is_restored::<Postgres>().await;
}

/// A person reads the differences. Meanwhile a migration runs, or somebody changes a table.
async fn a_place_that_changed_since_the_bundle_was_read_is_not_restored<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let ada = Actor::user("ada");
    let kinds: Vec<_> = [shared as fn(NewTenant) -> NewTenant].into_iter().chain(DB::kinds()).collect();
    let globex = shop.tenant("globex", shared).await;
    let mut read = Vec::new();
    for (at, kind) in kinds.into_iter().enumerate() {
        let acme = shop.tenant(&format!("acme-{at}"), kind).await;
        let (_, bundle) = shop.export(&acme).await;
        shop.close(&acme).await;
        let restore = shop.provisioner.restore(acme.id(), &*bundle).await.unwrap();
        read.push((acme, bundle, restore));
    }
    let add = "ALTER TABLE settings ADD COLUMN price INTEGER NOT NULL DEFAULT 17";
    let texts = [DB::PROJECTS, DB::APPLICATION, add];
    let newer = provisioner_of(&shop.app.pool, shop.app.files.path(), &texts);
    let migrated: Vec<_> = newer.migrations().run().collect().await;
    assert!(migrated.iter().all(|place| place.as_ref().unwrap().result.is_ok()), "{migrated:?}");
    let theirs = shop.hashes(&globex).await;
    let mut refused = Vec::new();
    for (acme, _, restore) in read {
        let before = shop.hashes(&acme).await;
        refused.push(restore.apply(acme.slug(), &ada).await.unwrap_err());
        assert_eq!(shop.hashes(&acme).await, before, "nothing has changed");
        let actions = shop.audit_actions(&acme).await;
        assert!(!actions.iter().any(|action| action.starts_with("tenant.restore")), "{actions:?}");

        // The same without a migration.
        let mut bundle = Vec::new();
        newer.export(acme.id()).write_to(&mut bundle).await.unwrap();
        let restore = newer.restore(acme.id(), &*bundle).await.unwrap();
        let column = format!("ALTER TABLE lines ADD COLUMN extra_{} INTEGER", refused.len());
        DB::raw(&shop.app.place(&acme), &column).await.unwrap();
        let error = restore.apply(acme.slug(), &ada).await.unwrap_err();
        assert!(error.to_string().contains("the table `lines` was changed since the bundle"), "{error}");
    }
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("the migration 3 ran since the bundle was read"), "{error}");
    }
    let now = shop.hashes(&globex).await;
    assert_eq!((&now["settings"], &now["projects"]), (&theirs["settings"], &theirs["projects"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_changed_since_the_bundle_was_read_is_not_restored_on_sqlite() {
    Box::pin(a_place_that_changed_since_the_bundle_was_read_is_not_restored::<Sqlite>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_changed_since_the_bundle_was_read_is_not_restored_on_postgres() {
    Box::pin(a_place_that_changed_since_the_bundle_was_read_is_not_restored::<Postgres>()).await;
}

/// Lets no event with these actions be recorded. A connection of SQLite can still know a trigger of the same name that another
/// one dropped.
fn without_events<DB: Shapes>(trigger: &str, condition: &str) -> String {
    if DB::NAME == "SQLite" {
        return format!(
            "CREATE TRIGGER {trigger} BEFORE INSERT ON tenancy_audit_events WHEN NEW.action {condition} \
             BEGIN SELECT RAISE(ABORT, 'stop'); END"
        );
    }
    format!(
        "CREATE OR REPLACE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stop'; END $$; \
         CREATE TRIGGER {trigger} BEFORE INSERT ON tenancy_audit_events FOR EACH ROW WHEN (NEW.action {condition}) \
         EXECUTE FUNCTION stop()"
    )
}

/// Before the first event nothing changes. After the rows, the error says that they are restored.
async fn the_error_of_an_event_says_what_happened_to_the_rows<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let ada = Actor::user("ada");
    let globex = shop.tenant("globex", shared).await;
    let theirs = shop.hashes(&globex).await;
    let kinds: Vec<_> = [shared as fn(NewTenant) -> NewTenant].into_iter().chain(DB::kinds()).collect();
    for (at, kind) in kinds.into_iter().enumerate() {
        let acme = shop.tenant(&format!("acme-{at}"), kind).await;
        let rows = async || {
            let mut rows = shop.hashes(&acme).await;
            rows.remove("tenancy_audit_events");
            rows
        };
        let before = rows().await;
        let (_, bundle) = shop.export(&acme).await;
        shop.run_as(&acme, &format!("UPDATE projects SET name = 'changed' WHERE {}", own::<DB>(&acme))).await;
        let changed = rows().await;
        assert_ne!(changed, before);
        shop.close(&acme).await;
        let read = async || shop.provisioner.restore(acme.id(), &*bundle).await.unwrap();
        let [all, last] = ["all", "last"].map(|name| format!("stop_{name}_{at}"));
        let drop_trigger = async |name: &str| {
            let on = if DB::NAME == "SQLite" { "" } else { " ON tenancy_audit_events" };
            DB::raw(&shop.app.pool, &format!("DROP TRIGGER {name}{on}")).await.unwrap();
        };

        DB::raw(&shop.app.pool, &without_events::<DB>(&all, "LIKE 'tenant.restore%'")).await.unwrap();
        let error = read().await.apply(acme.slug(), &ada).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        drop_trigger(&all).await;
        assert_eq!(rows().await, changed, "nothing has changed");

        DB::raw(&shop.app.pool, &without_events::<DB>(&last, "= 'tenant.restore'")).await.unwrap();
        let error = read().await.apply(acme.slug(), &ada).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert!(error.to_string().contains("the rows of the bundle are restored, but the event"), "{error}");
        drop_trigger(&last).await;
        assert_eq!(rows().await, before, "restored");
        let actions = shop.audit_actions(&acme).await;
        assert_eq!(
            actions.iter().filter(|action| *action == "tenant.restore_begin").count(),
            1,
            "{actions:?}"
        );
        assert_eq!(shop.hashes(&globex).await, theirs);
    }
}

/// The rows of a tenant, in SQL.
fn own<DB: Shapes>(tenant: &tenancy::tenant::Tenant) -> String {
    let value = DB::value(tenant);
    if DB::NAME == "SQLite" { format!("tenant_id = X'{value}'") } else { format!("tenant_id = '{value}'") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_of_an_event_says_what_happened_to_the_rows_on_sqlite() {
    the_error_of_an_event_says_what_happened_to_the_rows::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_of_an_event_says_what_happened_to_the_rows_on_postgres() {
    the_error_of_an_event_says_what_happened_to_the_rows::<Postgres>().await;
}
