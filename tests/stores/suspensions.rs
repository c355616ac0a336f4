//! An operator suspends a tenant with a reason and a message, and resumes it.

use std::sync::Arc;

use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::scope::StoredEvent;
use tenancy::store::SqlStore;
use tenancy::tenant::{
    NewTenant, Slug, StatusSource, Suspension, Tenant, TenantId, TenantStatus, TenantStore,
};
use tenancy::{ErrorKind, TenantDb};

use crate::common::{CATALOG, TestBackend};

async fn tenant<DB: TestBackend>(store: &SqlStore<DB>, slug: &str, status: TenantStatus) -> Arc<Tenant> {
    store.insert(NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").status(status)).await.unwrap()
}

fn ada() -> Actor {
    Actor::user("ada")
}

async fn a_tenant_is_suspended_with_a_message_and_resumed_as_it_was<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = Arc::new(SqlStore::<DB>::new(pool.clone()));
    store.migrate().await.unwrap();
    let db = TenantDb::from_pool(pool).build().await.unwrap();
    let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
    let directory = TenantDirectory::new(store.clone(), catalog);
    for status in [TenantStatus::Trialing, TenantStatus::Active, TenantStatus::PastDue] {
        let acme = tenant(&store, &format!("acme-{status}").replace('_', "-"), status).await;
        let globex = tenant(&store, &format!("globex-{status}").replace('_', "-"), status).await;
        let suspension = Suspension::new("moves, ticket 17").unwrap().message("Back at 14:00 UTC.").unwrap();
        let suspended = store.suspend(acme.id(), suspension, &ada()).await.unwrap();
        assert_eq!(*store.by_id(acme.id()).await.unwrap().unwrap(), *suspended);
        let known = suspended.suspension().unwrap();
        assert_eq!((known.reason(), known.user_message()), ("moves, ticket 17", Some("Back at 14:00 UTC.")));
        assert!(known.since().is_some());
        let refused = directory.context(acme.id(), ada()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TenantSuspended);
        assert_eq!(refused.to_string(), "this tenant is suspended: Back at 14:00 UTC.");
        directory.context(globex.id(), ada()).await.unwrap();

        // Another message, as the work takes longer.
        let later = Suspension::new("still moves").unwrap().message("Back at 15:00 UTC.").unwrap();
        store.suspend(acme.id(), later, &ada()).await.unwrap();
        let refused = directory.context(acme.id(), ada()).await.unwrap_err();
        assert!(refused.to_string().ends_with("Back at 15:00 UTC."), "{refused}");

        let resumed = store.resume(acme.id(), "moved", &ada()).await.unwrap();
        assert_eq!((resumed.status(), resumed.suspension()), (status, None));
        directory.context(acme.id(), ada()).await.unwrap();
        let again = store.resume(acme.id(), "moved", &ada()).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::IllegalTransition);

        let own = directory.context(acme.id(), ada()).await.unwrap();
        let events = StoredEvent::newest(&db.scope(&own), None, 50).await.unwrap();
        let with = |text: &str| events.iter().filter(|event| event.json().contains(text)).count();
        assert_eq!((with("tenant.suspend"), with("tenant.resume"), with("\"id\":\"ada\"")), (2, 1, 3));
        assert_eq!((with("moves, ticket 17"), with("Back at 15:00 UTC.")), (1, 1));
        let other = directory.context(globex.id(), ada()).await.unwrap();
        assert!(StoredEvent::newest(&db.scope(&other), None, 50).await.unwrap().is_empty());
        assert_eq!(store.by_id(globex.id()).await.unwrap().unwrap().status(), status);
    }
}

async fn what_is_closed_already_is_not_suspended<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = SqlStore::<DB>::new(pool);
    store.migrate().await.unwrap();
    let reason = || Suspension::new("moves").unwrap();
    for status in [TenantStatus::Provisioning, TenantStatus::Deactivated, TenantStatus::Deleting] {
        let acme = tenant(&store, &format!("acme-{status}"), status).await;
        let error = store.suspend(acme.id(), reason(), &ada()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IllegalTransition, "{status}");
        assert_eq!(*store.by_id(acme.id()).await.unwrap().unwrap(), *acme);
    }
    let unknown = store.suspend(&TenantId::random(), reason(), &ada()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::TenantUnknown);
    // What billing suspended is not opened by an operator who suspended it too.
    let globex = tenant(&store, "globex", TenantStatus::Active).await;
    let unpaid = globex.with_status_by(TenantStatus::Suspended, StatusSource::Billing).unwrap();
    let unpaid = store.update(&unpaid).await.unwrap();
    let error = store.resume(globex.id(), "please", &ada()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IllegalTransition);
    let held = store.suspend(globex.id(), reason(), &ada()).await.unwrap();
    assert_eq!(held.status_set_by(), StatusSource::Operator);
    let resumed = store.resume(globex.id(), "moved", &ada()).await.unwrap();
    assert_eq!((resumed.status(), resumed.status_set_by()), (unpaid.status(), StatusSource::Billing));
    assert_eq!(resumed.suspension(), None);
    assert_eq!(store.resume(globex.id(), "", &ada()).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let nothing = store.rename(globex.id(), None, None, &ada()).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_reason_and_a_message_are_plain_texts() {
    let long = "x".repeat(501);
    for text in ["", "  ", long.as_str(), "a\u{1b}[31m", "a\u{202e}b"] {
        assert_eq!(Suspension::new(text).unwrap_err().kind(), ErrorKind::InvalidInput, "{text:?}");
        let message = Suspension::new("moves").unwrap().message(text);
        assert_eq!(message.unwrap_err().kind(), ErrorKind::InvalidInput, "{text:?}");
    }
    let two_lines = Suspension::new("x".repeat(500)).unwrap().message("one line\nanother").unwrap();
    assert_eq!(two_lines.user_message(), Some("one line\nanother"));
}

on_every_database!(
    a_tenant_is_suspended_with_a_message_and_resumed_as_it_was,
    what_is_closed_already_is_not_suspended,
);
