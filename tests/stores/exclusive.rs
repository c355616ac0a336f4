//! One operation on the data of a tenant at a time; others are served meanwhile.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tenancy::ErrorKind;
use tenancy::context::Actor;
use tenancy::operations::DeletionHook;
use tenancy::placement::Provisioner;
use tenancy::tenant::{NewTenant, Placement, Slug, Tenant, TenantId, TenantStatus, TenantStore};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::operations_fixture::{Shapes, Shop};

/// Tries every other operation while a deletion runs.
struct Intruder<DB: Shapes> {
    provisioner: Provisioner<DB>,
    bundle: Vec<u8>,
    other: (TenantId, Slug),
    seen: Arc<Mutex<Vec<(&'static str, ErrorKind)>>>,
}

#[async_trait]
impl<DB: Shapes> DeletionHook<DB> for Intruder<DB> {
    fn name(&self) -> &'static str {
        "intruder"
    }

    async fn delete(&self, acme: &Tenant, _: &mut DB::Connection) -> tenancy::Result<u64> {
        block_in_place(|| Handle::current().block_on(self.intrude(acme)))
    }
}

impl<DB: Shapes> Intruder<DB> {
    async fn intrude(&self, acme: &Tenant) -> tenancy::Result<u64> {
        let (ada, Self { provisioner, bundle, .. }) = (Actor::user("ada"), self);
        let restore = provisioner.restore(acme.id(), &bundle[..]).await?;
        let movement = provisioner.move_to(acme.id(), Placement::database_of(acme.id()), &ada);
        let new = NewTenant::new(Slug::parse("again").unwrap(), "again", "free").id(acme.id().clone());
        for (name, result) in [
            ("delete", provisioner.deletion(acme.id(), &ada).run(acme.slug()).await.map(|_| ())),
            ("restore", restore.apply(acme.slug(), &ada).await),
            ("move", movement.run(|_| {}).await.map(|_| ())),
            ("roll back", movement.roll_back().await),
            ("import", provisioner.import(&bundle[..], new, &Actor::user("ada")).await.map(|_| ())),
        ] {
            self.seen.lock().unwrap().push((name, result.expect_err(name).kind()));
        }
        // The other tenant is deleted meanwhile.
        provisioner.deletion(&self.other.0, &ada).run(&self.other.1).await?;
        Ok(1)
    }
}

async fn operations_of_one_tenant_exclude_each_other<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let acme = shop.tenant("acme", |new| new).await;
    let globex = shop.tenant("globex", |new| new).await;
    let (_, bundle) = shop.export(&acme).await;
    shop.close(&acme).await;
    shop.close(&globex).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let intruder = Intruder {
        provisioner: shop.provisioner.clone(),
        bundle,
        other: (globex.id().clone(), globex.slug().clone()),
        seen: seen.clone(),
    };
    let deletion = shop.provisioner.deletion(acme.id(), &Actor::user("ada")).hook(intruder);
    let receipt = deletion.run(acme.slug()).await.unwrap();
    assert_eq!(receipt.hooks["intruder"], 1);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 5);
    assert!(seen.iter().all(|(_, kind)| *kind == ErrorKind::Retryable), "{seen:?}");
    for tenant in [&acme, &globex] {
        assert!(shop.app.store.by_id(tenant.id()).await.unwrap().is_none());
    }
}

/// Two imports of the same id: one of them succeeds, and the other removes nothing of it.
async fn an_import_leaves_the_tenant_of_another_alone<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let acme = shop.tenant("acme", |new| new).await;
    let (_, bundle) = shop.export(&acme).await;
    let id = TenantId::random();
    let new = |slug: &str, id: &TenantId| {
        NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").id(id.clone()).own_database()
    };
    shop.app.forget(&Placement::database_of(&id));
    let ada = Actor::user("ada");
    let import = |slug: &str| shop.provisioner.import(&bundle[..], new(slug, &id), &ada);
    let (one, two) = tokio::join!(Box::pin(import("one")), Box::pin(import("two")));
    let (imported, refused) = match (one, two) {
        (Ok(imported), Err(refused)) | (Err(refused), Ok(imported)) => (imported, refused),
        both => panic!("{both:?}"),
    };
    assert!(matches!(refused.kind(), ErrorKind::Retryable | ErrorKind::Conflict), "{refused}");
    // A later one, and one whose slug is taken.
    assert_eq!(import("three").await.unwrap_err().kind(), ErrorKind::Conflict);
    let taken =
        shop.provisioner.import(&bundle[..], new(imported.tenant.slug().as_str(), &TenantId::random()), &ada);
    assert_eq!(taken.await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(shop.hashes(&imported.tenant).await["projects"].0, 1500);
    assert_eq!(shop.hashes(&acme).await["projects"].0, 1500);
}

/// What restores a tenant wants it closed for good reasons, and alone in one place.
async fn a_tenant_that_is_being_deleted_is_not_restored<DB: Shapes>() {
    let mut shop = Shop::<DB>::new().await;
    let acme = shop.tenant("acme", |new| new).await;
    let (_, bundle) = shop.export(&acme).await;
    shop.close(&acme).await;
    let now = shop.app.store.by_id(acme.id()).await.unwrap().unwrap();
    shop.app.store.update(&now.with_status(TenantStatus::Deleting).unwrap()).await.unwrap();
    let restore = shop.provisioner.restore(acme.id(), &bundle[..]).await.unwrap();
    let error = restore.apply(acme.slug(), &Actor::user("ada")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IllegalTransition, "{error}");
}

on_every_database! {
    operations_of_one_tenant_exclude_each_other,
    an_import_leaves_the_tenant_of_another_alone,
    a_tenant_that_is_being_deleted_is_not_restored,
}
