//! Conformance tests for your own implementations of the store traits, and a fake Stripe (feature `fake-stripe`). For
//! `cargo test`, not for production code.
//!
//! Each function runs every rule of a trait's contract against new, empty stores and panics at the first violation.
//!
//! ```
//! use tenancy::store::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! tenancy::testing::tenant_store(async || MemoryStore::new()).await;
//! # }
//! ```

#[cfg(feature = "api-keys")]
mod api_keys;
#[cfg(feature = "custom-domains")]
mod domains;
mod expect;
#[cfg(feature = "fake-stripe")]
mod fake_stripe;
#[cfg(feature = "quota")]
mod meter;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};

#[cfg(feature = "api-keys")]
pub use self::api_keys::api_key_store;
#[cfg(feature = "custom-domains")]
pub use self::domains::domain_store;
use self::expect::{assert_rejected, expect_ok};
#[cfg(feature = "fake-stripe")]
pub use self::fake_stripe::{FakeStripe, FakeStripeOptions, Fault, FinalFailure};
#[cfg(feature = "quota")]
pub use self::meter::meter;
use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::plan::{FeatureValue, NewOverride};
use crate::tenant::{
    NewTenant, Placement, PlacementName, Region, Slug, StatusSource, Suspension, Tenant, TenantId,
    TenantStatus, TenantStore,
};

/// Tests a [`TenantStore`] against the contract of the trait. `fresh` creates a new, empty store for each rule.
///
/// # Panics
/// If the store violates a rule, with that rule.
pub async fn tenant_store<S, F>(fresh: F)
where
    S: TenantStore,
    F: AsyncFn() -> S,
{
    finds_what_was_inserted(&fresh().await).await;
    keeps_every_field(&fresh().await).await;
    rejects_a_taken_id_or_slug(&fresh().await).await;
    distinguishes_kinds_of_ids(&fresh().await).await;
    writes_the_next_version(&fresh().await).await;
    rejects_a_stale_version(&fresh().await).await;
    rejects_an_update_of_an_absent_tenant(&fresh().await).await;
    keeps_an_old_slug_in_cooldown(&fresh().await).await;
    keeps_the_slug_of_a_closed_tenant(&fresh().await).await;
    reassigns_no_slug_in_a_race(&fresh().await).await;
    updates_one_tenant_only(&fresh().await).await;
    accepts_one_of_many_concurrent_updates(&fresh().await).await;
    lists_every_tenant_once(&fresh().await).await;
}

async fn finds_what_was_inserted(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    assert_eq!(acme.version(), 1, "promise broken: a tenant is inserted as version 1");
    assert_holds(store, &acme, "a tenant is found after its insert").await;
    assert_absent(store, &TenantId::random(), &slug("globex"), "a tenant that was never inserted is `None`")
        .await;
}

async fn keeps_every_field(store: &dyn TenantStore) {
    let placements = [
        Placement::Shared,
        Placement::Schema { name: PlacementName::parse("tenant_schema").expect("a plain name") },
        Placement::Database { name: PlacementName::parse("cluster-7").expect("a plain name") },
    ];
    let fields = TenantStatus::ALL.into_iter().zip(placements.iter().cycle());
    for (index, (status, placement)) in fields.enumerate() {
        let new = NewTenant::new(slug(&format!("tenant-{index}")), format!("Ténant “{index}”"), "pro")
            .status(status)
            .placement(placement.clone());
        let region = Region::parse("eu-1").expect("a plain name");
        let new = if index % 2 == 0 { new.region(region) } else { new };
        let expected = new.clone().into_tenant();
        let inserted = expect_ok(store.insert(new).await, "an insert of a new tenant succeeds");
        assert_eq!(*inserted, expected, "promise broken: an insert returns the inserted tenant");
        assert_holds(store, &expected, "every field is read back as it was written").await;
    }

    let trial = NewTenant::new(slug("trial"), "Trial", "pro").status(TenantStatus::Trialing);
    let trial = expect_ok(store.insert(trial).await, "an insert of a new tenant succeeds");
    let changed = trial.with_status_by(TenantStatus::Suspended, StatusSource::Billing);
    let changed = expect_ok(changed, "the lifecycle has this step").with_plan("free").with_name("Renamed");
    let changed = changed.with_region(Some(Region::parse("us-1").expect("a plain name")));
    let changed = expect_ok(with_terms(&changed), "an override with a reason is accepted");
    let written =
        expect_ok(store.update(&changed).await, "an update over the version that was read succeeds");
    assert_eq!(*written, changed.next_version(), "promise broken: an update returns the written tenant");
    assert_holds(store, &written, "status, plan, name, plan terms and the source of the status are written")
        .await;

    let suspension = Suspension::new("moves “17”").and_then(|moving| moving.message("Back at 14:00."));
    let now = Timestamp::from_seconds(1_795_932_000);
    let suspended = expect_ok(suspension, "a reason and a message");
    let suspended = expect_ok(written.suspend(suspended, now), "a suspended tenant can get a reason");
    let written =
        expect_ok(store.update(&suspended).await, "an update over the version that was read succeeds");
    assert_holds(store, &written, "the suspension is written").await;
    let resumed = expect_ok(written.resume(), "a suspended tenant can be resumed");
    let written =
        expect_ok(store.update(&resumed).await, "an update over the version that was read succeeds");
    assert_holds(store, &written, "the end of the suspension is written").await;
}

/// The tenant with everything that can be beside its plan.
fn with_terms(tenant: &Tenant) -> Result<Tenant> {
    let now = Timestamp::from_seconds(1_795_932_000);
    let more = NewOverride::add("seats", 5, "contract “17”").until(now.after(Duration::from_hours(1)));
    let (set, rate) = (FeatureValue::from("unlimited"), FeatureValue::rate(9, Duration::from_mins(1)));
    tenant
        .with_plan_version(Some(3))
        .with_billing_anchor(Some(now))
        .with_override(more, "user:ada", now)?
        .with_override(NewOverride::set("projects", set, "trial"), "user:ada", now)?
        .with_override(NewOverride::set("requests", rate, "trial").from(now), "user:ada", now)
}

async fn rejects_a_taken_id_or_slug(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    let same_id = NewTenant::new(slug("other"), "Other", "free").id(acme.id().clone());
    assert_rejected(
        store.insert(same_id).await,
        ErrorKind::Conflict,
        "a second tenant with the same id is rejected",
    );
    let other = NewTenant::new(slug("acme"), "Other", "free");
    assert_rejected(
        store.insert(other).await,
        ErrorKind::Conflict,
        "a second tenant with the same slug is rejected",
    );
    assert_holds(store, &acme, "a rejected insert changes nothing").await;
    assert_absent(store, &TenantId::random(), &slug("other"), "a rejected insert writes nothing").await;
}

async fn distinguishes_kinds_of_ids(store: &dyn TenantStore) {
    // Each id has the text of another tenant's slug, or looks like another kind of id.
    let names = [
        (TenantId::from_int(42), "globex"),
        (TenantId::parse("globex"), "acme"),
        (TenantId::parse("acme"), "n42"),
        (TenantId::parse("n42"), "initech"),
        (TenantId::parse("018f3f5e-3a5a-7c3e-9d0a-00000000002a"), "umbrella"),
    ];
    let mut tenants = Vec::new();
    for (id, name) in names {
        let id = expect_ok(id, "the ids of the suite are valid");
        let new = NewTenant::new(slug(name), name, "free").id(id);
        tenants.push(expect_ok(store.insert(new).await, "ids of every kind can be inserted"));
    }
    for tenant in &tenants {
        assert_holds(store, tenant, "an id is never confused with a slug or with another kind of id").await;
    }
    for id in [TenantId::from_int(4), TenantId::from_int(420), TenantId::parse("umbrella")] {
        let id = expect_ok(id, "the ids of the suite are valid");
        assert_absent(store, &id, &slug("absent"), "only the whole id is a match").await;
    }
}

async fn writes_the_next_version(store: &dyn TenantStore) {
    let mut tenant = insert(store, "acme").await;
    for version in 2..5 {
        let renamed = tenant.with_name(format!("Acme {version}"));
        tenant = expect_ok(store.update(&renamed).await, "an update over the version that was read succeeds");
        assert_eq!(tenant.version(), version, "promise broken: every update increments the version");
        assert_holds(store, &tenant, "the next read returns the update").await;
    }
    let unchanged = expect_ok(store.update(&tenant).await, "an update without a change succeeds");
    assert_eq!(
        unchanged.version(),
        5,
        "promise broken: every update increments the version, whatever it changes"
    );
}

async fn rejects_a_stale_version(store: &dyn TenantStore) {
    let read = insert(store, "acme").await;
    let winner = expect_ok(
        store.update(&read.with_name("Winner")).await,
        "an update over the version that was read succeeds",
    );
    let late = store.update(&read.with_name("Late")).await;
    assert_rejected(late, ErrorKind::StaleVersion, "an update over an old version is rejected");
    assert_holds(store, &winner, "a rejected update changes nothing").await;
    let early = winner.next_version().with_name("Early");
    let early = store.update(&early).await;
    assert_rejected(early, ErrorKind::StaleVersion, "an update over a future version is rejected");
    assert_holds(store, &winner, "a rejected update changes nothing").await;
}

async fn rejects_an_update_of_an_absent_tenant(store: &dyn TenantStore) {
    let never = NewTenant::new(slug("acme"), "Acme", "free").into_tenant();
    let result = store.update(&never).await;
    assert_rejected(result, ErrorKind::TenantUnknown, "an update of an absent tenant is rejected");
    assert_absent(store, never.id(), never.slug(), "a rejected update writes nothing").await;
}

async fn keeps_an_old_slug_in_cooldown(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    let globex = insert(store, "globex").await;
    // Read once before the update, so that a cache has an old entry.
    assert_holds(store, &acme, "a tenant is found after its insert").await;

    let taken = store.update(&acme.with_slug(slug("globex"))).await;
    assert_rejected(taken, ErrorKind::Conflict, "a taken slug is rejected");
    assert_holds(store, &acme, "a rejected update changes nothing").await;
    assert_holds(store, &globex, "a rejected update changes nothing").await;

    let moved = store.update(&acme.with_slug(slug("acme-corp"))).await;
    let moved = expect_ok(moved, "a free slug can be taken");
    assert_holds(store, &moved, "a tenant is found under its new slug").await;
    assert_absent(store, &TenantId::random(), &slug("acme"), "a tenant is not found under its old slug")
        .await;

    let other = store.update(&globex.with_slug(slug("acme"))).await;
    assert_rejected(other, ErrorKind::Conflict, "an old slug stays in its cool-down");
    let newcomer = store.insert(NewTenant::new(slug("acme"), "Other", "free")).await;
    assert_rejected(newcomer, ErrorKind::Conflict, "a new tenant cannot take an old slug in its cool-down");
    assert_holds(store, &globex, "a rejected update changes nothing").await;
    assert_absent(store, &TenantId::random(), &slug("acme"), "a rejected insert writes nothing").await;

    let back = store.update(&moved.with_slug(slug("acme"))).await;
    let back = expect_ok(back, "a tenant can take back its old slug");
    assert_holds(store, &back, "a slug belongs to its current tenant").await;
    let other = store.update(&globex.with_slug(slug("acme-corp"))).await;
    assert_rejected(other, ErrorKind::Conflict, "each old slug of a tenant has its cool-down");
}

async fn keeps_the_slug_of_a_closed_tenant(store: &dyn TenantStore) {
    let mut acme = insert(store, "acme").await;
    for status in [TenantStatus::Deactivated, TenantStatus::Deleting] {
        let next = expect_ok(acme.with_status(status), "the lifecycle has this step");
        acme = expect_ok(store.update(&next).await, "an update over the version that was read succeeds");
        let newcomer = store.insert(NewTenant::new(slug("acme"), "Other", "free")).await;
        assert_rejected(newcomer, ErrorKind::Conflict, "the slug of a closed tenant is not reassigned");
        assert_holds(store, &acme, "a rejected insert changes nothing").await;
    }
}

async fn reassigns_no_slug_in_a_race(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    let renamed = acme.with_slug(slug("acme-corp"));
    let (renaming, rivals) = join(
        store.update(&renamed),
        join_all((0..8).map(|_| store.insert(NewTenant::new(slug("acme"), "Rival", "free")))),
    )
    .await;
    expect_ok(renaming, "an update over the version that was read succeeds");
    for rival in rivals {
        match rival {
            Ok(_) => panic!("promise broken: a slug is not reassigned while it changes"),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Retryable),
                "promise broken: an insert with a taken slug returns `conflict`: {error}"
            ),
        }
    }
}

async fn updates_one_tenant_only(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    let globex = insert(store, "globex").await;
    let globex = expect_ok(store.update(&globex.with_plan("pro")).await, "an update of one tenant succeeds");
    assert_holds(store, &acme, "an update of one tenant does not change others").await;
    assert_holds(store, &globex, "the next read returns the update").await;
}

async fn accepts_one_of_many_concurrent_updates(store: &dyn TenantStore) {
    let read = insert(store, "acme").await;
    let attempts: Vec<Tenant> = (0..16).map(|n| read.with_name(format!("Writer {n}"))).collect();
    let results = join_all(attempts.iter().map(|attempt| store.update(attempt))).await;
    let mut winners = Vec::new();
    for result in results {
        match result {
            Ok(tenant) => winners.push(tenant),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::StaleVersion | ErrorKind::Retryable),
                "promise broken: a concurrent update that loses returns `stale-version`, not `{}`: {error}",
                error.kind()
            ),
        }
    }
    let names: HashSet<&str> = winners.iter().map(|winner| winner.name()).collect();
    assert_eq!(
        winners.len(),
        1,
        "promise broken: of several updates over one version exactly one succeeds, not {names:?}"
    );
    assert_holds(store, &winners[0], "the store contains the update that succeeded").await;
}

async fn lists_every_tenant_once(store: &dyn TenantStore) {
    let none = expect_ok(store.list(None, 10).await, "a list without tenants is empty, not an error");
    assert!(none.is_empty(), "promise broken: a list without tenants is empty");
    let mut expected_ids = HashSet::new();
    for index in 0..7 {
        let tenant = insert(store, &format!("tenant-{index}")).await;
        expected_ids.insert(tenant.id().clone());
    }
    for id in [TenantId::from_int(9), TenantId::from_int(10), TenantId::parse("acme")] {
        let id = expect_ok(id, "the ids of the suite are valid");
        let new = NewTenant::new(slug(&format!("of-{}", expected_ids.len())), "Acme", "free").id(id.clone());
        expect_ok(store.insert(new).await, "ids of every kind can be inserted");
        expected_ids.insert(id);
    }
    for limit in [1, 3, 10, 100] {
        let mut seen: Vec<TenantId> = Vec::new();
        loop {
            let page = expect_ok(store.list(seen.last(), limit).await, "a list succeeds");
            assert!(page.len() <= usize::from(limit), "promise broken: a page holds no more than its limit");
            if page.is_empty() {
                break;
            }
            for tenant in &page {
                let read = expect_ok(store.by_id(tenant.id()).await, "a read by id succeeds");
                assert_eq!(
                    read.as_ref(),
                    Some(tenant),
                    "promise broken: a list contains the current tenants"
                );
            }
            seen.extend(page.iter().map(|tenant| tenant.id().clone()));
            assert!(seen.len() <= expected_ids.len(), "promise broken: a list contains each tenant once");
        }
        assert_eq!(seen.len(), expected_ids.len(), "promise broken: a list contains each tenant once");
        assert_eq!(
            seen.into_iter().collect::<HashSet<_>>(),
            expected_ids,
            "promise broken: a list contains all tenants"
        );
    }
}

async fn insert(store: &dyn TenantStore, name: &str) -> Arc<Tenant> {
    let new = NewTenant::new(slug(name), name, "free").status(TenantStatus::Active);
    expect_ok(store.insert(new).await, "an insert of a new tenant succeeds")
}

async fn assert_holds(store: &dyn TenantStore, tenant: &Tenant, promise: &str) {
    // Read twice: the first read may fill a cache for the second.
    for _ in 0..2 {
        let by_id = expect_ok(store.by_id(tenant.id()).await, "a read by id succeeds");
        assert_eq!(by_id.as_deref(), Some(tenant), "promise broken: {promise} (read by id)");
        let by_slug = expect_ok(store.by_slug(tenant.slug()).await, "a read by slug succeeds");
        assert_eq!(by_slug.as_deref(), Some(tenant), "promise broken: {promise} (read by slug)");
        for cached in [store.peek_id(tenant.id()), store.peek_slug(tenant.slug())].into_iter().flatten() {
            assert_eq!(*cached, *tenant, "promise broken: {promise} (cached)");
        }
    }
}

async fn assert_absent(store: &dyn TenantStore, id: &TenantId, slug: &Slug, promise: &str) {
    for _ in 0..2 {
        let by_id = expect_ok(store.by_id(id).await, "a read of an absent id is `None`, not an error");
        assert_eq!(by_id, None, "promise broken: {promise} (read by id)");
        let by_slug = expect_ok(store.by_slug(slug).await, "a read of an absent slug is `None`");
        assert_eq!(by_slug, None, "promise broken: {promise} (read by slug)");
        let cached = store.peek_id(id).or_else(|| store.peek_slug(slug));
        assert_eq!(cached, None, "promise broken: {promise} (cached)");
    }
}

fn slug(text: &str) -> Slug {
    expect_ok(Slug::parse(text), "the slugs of the suite are valid")
}
