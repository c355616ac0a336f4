//! Restore: the rows of a bundle replace those of its tenant, in one transaction, and the difference is shown before.

use sqlx::{Postgres, Sqlite};
use tenancy::ErrorKind;
use tenancy::context::Actor;
use tenancy::tenant::{NewTenant, Slug};

use crate::operations_fixture::{Shapes, Shop};

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
        assert_eq!(restored.iter().filter(|action| **action == "tenant.restore").count(), 1, "{restored:?}");
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
