//! A deletion that failed and is repeated: its receipt counts what is gone, and a hold keeps what it names.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::Sqlite;
use tenancy::context::Actor;
use tenancy::operations::{Deletion, DeletionHook};
use tenancy::tenant::{NewTenant, Tenant, TenantStore};
use tenancy::{Error, ErrorKind};

use crate::operations_fixture::{Shapes, Shop};
use crate::place_fixture::provisioner_of;

fn shared(tenant: NewTenant) -> NewTenant {
    tenant
}

fn deletion<DB: Shapes>(shop: &Shop<DB>, tenant: &Tenant, holds: &[&str]) -> Deletion<DB> {
    let deletion = shop.provisioner.deletion(tenant.id(), &Actor::user("ada"));
    holds.iter().fold(deletion, |deletion, table| deletion.hold(*table, "a law"))
}

/// Plan and run fail for this reason.
async fn refused<DB: Shapes>(shop: &Shop<DB>, tenant: &Tenant, holds: &[&str], why: &str) {
    let deletion = deletion(shop, tenant, holds);
    let plan = deletion.plan().await.unwrap_err();
    let run = deletion.run(tenant.slug()).await.unwrap_err();
    for error in [plan, run] {
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

/// Lets no row of a table be deleted, for which a condition holds.
fn stop<DB: Shapes>(table: &str, condition: &str) -> String {
    if DB::NAME == "SQLite" {
        return format!(
            "CREATE TRIGGER stop BEFORE DELETE ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'stop'); END"
        );
    }
    format!(
        "CREATE OR REPLACE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stop'; END $$; \
         CREATE TRIGGER stop BEFORE DELETE ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION stop()"
    )
}

fn go_on<DB: Shapes>(table: &str) -> String {
    if DB::NAME == "SQLite" {
        "DROP TRIGGER stop".to_owned()
    } else {
        format!("DROP TRIGGER stop ON {table}")
    }
}

async fn a_hold_that_comes_too_late_is_refused<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let globex = shop.tenant("globex", shared).await;
    let theirs = shop.hashes(&globex).await;
    let kinds = [shared as fn(NewTenant) -> NewTenant].into_iter().chain(DB::kinds());
    for (at, kind) in kinds.enumerate() {
        let acme = shop.tenant(&format!("acme-{at}"), kind).await;
        shop.close(&acme).await;
        let place = shop.app.place(&acme);
        // The projects are deleted before the lines.
        DB::raw(&place, &stop::<DB>("lines", "true")).await.unwrap();
        let held = ["comments", "attachments"];
        deletion(&shop, &acme, &held).run(acme.slug()).await.unwrap_err();

        let late = ["comments", "attachments", "projects"];
        refused(&shop, &acme, &late, "deleted 1500 rows of `projects`, so the hold").await;
        refused(&shop, &acme, &[], "put `attachments` on hold (a law)").await;
        refused(&shop, &acme, &["attachments", "comments", "nonsense"], "names no table").await;

        let receipt =
            deletion(&shop, &acme, &["comments", "attachments", "lines"]).run(acme.slug()).await.unwrap();
        assert_eq!(receipt.tables["projects"], 1500, "{receipt:?}");
        let held: Vec<&str> = receipt.holds.keys().map(String::as_str).collect();
        assert_eq!(held, ["attachments", "comments", "lines"]);
        assert!(held.iter().all(|table| !receipt.tables.contains_key(*table)), "{receipt:?}");
        DB::raw(&place, &go_on::<DB>("lines")).await.unwrap();
        assert!(shop.app.store.by_id(acme.id()).await.unwrap().is_none());
        assert_eq!(shop.hashes(&globex).await, theirs);
    }
}

/// The last step of a deletion fails. Then nothing is left that a hold could keep.
async fn a_hold_on_a_dropped_place_is_refused<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    for (at, kind) in DB::kinds().into_iter().enumerate() {
        let globex = shop.tenant(&format!("globex-{at}"), kind).await;
        let theirs = shop.hashes(&globex).await;
        let acme = shop.tenant(&format!("acme-{at}"), kind).await;
        shop.close(&acme).await;
        DB::raw(&shop.app.pool, &stop::<DB>("tenancy_tenants", "true")).await.unwrap();
        deletion(&shop, &acme, &[]).run(acme.slug()).await.unwrap_err();
        DB::raw(&shop.app.pool, &go_on::<DB>("tenancy_tenants")).await.unwrap();

        refused(&shop, &acme, &["projects"], "deleted 1500 rows of `projects`").await;
        refused(&shop, &acme, &["nonsense"], "the place of the tenant does not exist any more").await;
        assert!(deletion(&shop, &acme, &[]).plan().await.unwrap().tables.is_empty());
        let receipt = deletion(&shop, &acme, &[]).run(acme.slug()).await.unwrap();
        assert_eq!((receipt.tables["projects"], receipt.tables["comments"]), (1500, 700), "{receipt:?}");
        assert_eq!(receipt.holds, BTreeMap::new());
        assert_eq!(shop.hashes(&globex).await, theirs);
    }
}

/// A table is deleted in part when the run fails.
async fn a_repeat_counts_the_rows_of_both_runs<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let globex = shop.tenant("globex", shared).await;
    let theirs = shop.hashes(&globex).await;
    let acme = shop.tenant("acme", shared).await;
    shop.close(&acme).await;
    DB::raw(&shop.app.pool, &stop::<DB>("projects", "OLD.id = 900")).await.unwrap();
    deletion(&shop, &acme, &[]).batch(400).run(acme.slug()).await.unwrap_err();
    let plan = deletion(&shop, &acme, &[]).plan().await.unwrap();
    let projects = plan.tables.iter().find(|table| table.name == "projects").unwrap();
    assert!((1..1500).contains(&projects.rows), "{plan}");
    let deleted = format!("deleted {} rows of `projects`", 1500 - projects.rows);
    refused(&shop, &acme, &["projects"], &deleted).await;
    DB::raw(&shop.app.pool, &go_on::<DB>("projects")).await.unwrap();
    let receipt = deletion(&shop, &acme, &[]).run(acme.slug()).await.unwrap();
    assert_eq!((receipt.tables["projects"], receipt.tables["comments"]), (1500, 700), "{receipt:?}");
    assert_eq!(shop.hashes(&globex).await, theirs);
}

struct Unreachable;

#[async_trait]
impl<DB: Shapes> DeletionHook<DB> for Unreachable {
    fn name(&self) -> &'static str {
        "unreachable"
    }

    async fn delete(&self, _: &Tenant, _: &mut DB::Connection) -> tenancy::Result<u64> {
        Err(Error::from_sqlx(sqlx::Error::PoolTimedOut))
    }
}

/// The repeat is given another directory, in which the file of the tenant is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_no_run_dropped_is_not_taken_for_deleted() {
    let mut shop = Shop::<Sqlite>::new().await;
    let globex = shop.tenant("globex", NewTenant::own_database).await;
    let acme = shop.tenant("acme", NewTenant::own_database).await;
    shop.close(&acme).await;
    deletion(&shop, &acme, &[]).hook(Unreachable).run(acme.slug()).await.unwrap_err();
    let before = (shop.hashes(&acme).await, shop.hashes(&globex).await);

    let elsewhere = tempfile::tempdir().unwrap();
    let other = provisioner_of(&shop.app.pool, elsewhere.path(), &[]);
    let wrong = other.deletion(acme.id(), &Actor::user("ada"));
    for error in
        [wrong.plan().await.map(drop), wrong.run(acme.slug()).await.map(drop)].map(Result::unwrap_err)
    {
        assert_eq!(error.kind(), ErrorKind::PlacementMissing, "{error}");
        assert!(error.to_string().contains("no run of this deletion has dropped it"), "{error}");
    }
    assert_eq!((shop.hashes(&acme).await, shop.hashes(&globex).await), before);

    let receipt = deletion(&shop, &acme, &[]).run(acme.slug()).await.unwrap();
    assert_eq!(receipt.tables["projects"], 1500, "{receipt:?}");
    assert_eq!(shop.hashes(&globex).await, before.1);
}

on_every_database! {
    a_hold_that_comes_too_late_is_refused,
    a_hold_on_a_dropped_place_is_refused,
    a_repeat_counts_the_rows_of_both_runs,
}
