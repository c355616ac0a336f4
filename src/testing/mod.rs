//! Conformance suites for your own stores: the promises of a trait, as a test.
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
mod domains;

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::{join, join_all};

#[cfg(feature = "api-keys")]
pub use self::api_keys::api_key_store;
pub use self::domains::domain_store;
use crate::error::{ErrorKind, Result};
use crate::tenant::{NewTenant, Placement, Slug, StatusSource, Tenant, TenantId, TenantStatus, TenantStore};

/// Holds a [`TenantStore`] to its promises, each on a store of its own from `fresh`.
///
/// # Panics
/// On the first promise that is broken, naming it.
pub async fn tenant_store<S, F>(fresh: F)
where
    S: TenantStore,
    F: AsyncFn() -> S,
{
    finds_what_was_inserted(&fresh().await).await;
    keeps_every_field(&fresh().await).await;
    refuses_what_is_taken(&fresh().await).await;
    tells_kinds_of_ids_apart(&fresh().await).await;
    writes_the_next_version(&fresh().await).await;
    refuses_a_stale_version(&fresh().await).await;
    refuses_to_update_what_is_not_there(&fresh().await).await;
    moves_a_slug(&fresh().await).await;
    keeps_the_slug_of_a_tenant_that_ends(&fresh().await).await;
    hands_no_slug_on_in_a_race(&fresh().await).await;
    keeps_tenants_apart(&fresh().await).await;
    lets_one_of_many_writers_win(&fresh().await).await;
    lists_every_tenant_once(&fresh().await).await;
}

async fn finds_what_was_inserted(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    assert_eq!(acme.version(), 1, "promise broken: a tenant is inserted as version 1");
    assert_holds(store, &acme, "a tenant is found after its insert").await;
    assert_absent(store, &TenantId::random(), &slug("globex"), "what was never inserted is `None`").await;
}

async fn keeps_every_field(store: &dyn TenantStore) {
    let placements = [
        Placement::Shared,
        Placement::Schema { name: "tenant_schema".to_owned() },
        Placement::Database { name: "cluster-7".to_owned() },
    ];
    let fields = TenantStatus::ALL.into_iter().zip(placements.iter().cycle());
    for (index, (status, placement)) in fields.enumerate() {
        let new = NewTenant::new(slug(&format!("tenant-{index}")), format!("Ténant “{index}”"), "pro")
            .status(status)
            .placement(placement.clone());
        let expected = new.clone().into_tenant();
        let inserted = done(store.insert(new).await, "an insert of a new tenant succeeds");
        assert_eq!(*inserted, expected, "promise broken: an insert answers with what was inserted");
        assert_holds(store, &expected, "every field is read back as it was written").await;
    }

    let trial = NewTenant::new(slug("trial"), "Trial", "pro").status(TenantStatus::Trialing);
    let trial = done(store.insert(trial).await, "an insert of a new tenant succeeds");
    let changed = trial.with_status_by(TenantStatus::Suspended, StatusSource::Billing);
    let changed = done(changed, "the lifecycle has this step").with_plan("free").with_name("Renamed");
    let written = done(store.update(&changed).await, "an update over the version that was read succeeds");
    assert_eq!(*written, changed.next_version(), "promise broken: an update answers with what was written");
    assert_holds(store, &written, "status, plan, name and who set the status are written").await;
}

async fn refuses_what_is_taken(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    let same_id = NewTenant::new(slug("other"), "Other", "free").id(acme.id().clone());
    assert_refused(store.insert(same_id).await, ErrorKind::Conflict, "a second tenant with an id is refused");
    let other = NewTenant::new(slug("acme"), "Other", "free");
    assert_refused(store.insert(other).await, ErrorKind::Conflict, "a second tenant with a slug is refused");
    assert_holds(store, &acme, "a refused insert changes nothing").await;
    assert_absent(store, &TenantId::random(), &slug("other"), "a refused insert leaves nothing behind").await;
}

async fn tells_kinds_of_ids_apart(store: &dyn TenantStore) {
    // Each id reads like another tenant's slug, or like another kind of id.
    let names = [
        (TenantId::from_int(42), "globex"),
        (TenantId::parse("globex"), "acme"),
        (TenantId::parse("acme"), "n42"),
        (TenantId::parse("n42"), "initech"),
        (TenantId::parse("018f3f5e-3a5a-7c3e-9d0a-00000000002a"), "umbrella"),
    ];
    let mut tenants = Vec::new();
    for (id, name) in names {
        let id = done(id, "the suite's ids are ids");
        let new = NewTenant::new(slug(name), name, "free").id(id);
        tenants.push(done(store.insert(new).await, "ids of every kind can be inserted"));
    }
    for tenant in &tenants {
        assert_holds(store, tenant, "an id is never taken for a slug, nor for another kind of id").await;
    }
    for id in [TenantId::from_int(4), TenantId::from_int(420), TenantId::parse("umbrella")] {
        let id = done(id, "the suite's ids are ids");
        assert_absent(store, &id, &slug("nobody"), "only the whole id is a match").await;
    }
}

async fn writes_the_next_version(store: &dyn TenantStore) {
    let mut tenant = insert(store, "acme").await;
    for version in 2..5 {
        let renamed = tenant.with_name(format!("Acme {version}"));
        tenant = done(store.update(&renamed).await, "an update over the version that was read succeeds");
        assert_eq!(tenant.version(), version, "promise broken: every update is one version on");
        assert_holds(store, &tenant, "an update is seen by the next read").await;
    }
    let unchanged = done(store.update(&tenant).await, "an update may write the same again");
    assert_eq!(unchanged.version(), 5, "promise broken: every update is one version on, whatever it changes");
}

async fn refuses_a_stale_version(store: &dyn TenantStore) {
    let read = insert(store, "acme").await;
    let winner = done(
        store.update(&read.with_name("Winner")).await,
        "an update over the version that was read succeeds",
    );
    let late = store.update(&read.with_name("Late")).await;
    assert_refused(late, ErrorKind::StaleVersion, "an update over a version that is gone is refused");
    assert_holds(store, &winner, "a refused update changes nothing").await;
    let early = winner.next_version().with_name("Early");
    let early = store.update(&early).await;
    assert_refused(
        early,
        ErrorKind::StaleVersion,
        "an update over a version that is not there yet is refused",
    );
    assert_holds(store, &winner, "a refused update changes nothing").await;
}

async fn refuses_to_update_what_is_not_there(store: &dyn TenantStore) {
    let never = NewTenant::new(slug("acme"), "Acme", "free").into_tenant();
    let refused = store.update(&never).await;
    assert_refused(refused, ErrorKind::TenantUnknown, "an update of a tenant that is not there is refused");
    assert_absent(store, never.id(), never.slug(), "a refused update leaves nothing behind").await;
}

async fn moves_a_slug(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    let globex = insert(store, "globex").await;
    // Ask once before, so that a cache has something to be wrong about.
    assert_holds(store, &acme, "a tenant is found after its insert").await;

    let taken = store.update(&acme.with_slug(slug("globex"))).await;
    assert_refused(taken, ErrorKind::Conflict, "a slug that is taken is refused");
    assert_holds(store, &acme, "a refused update changes nothing").await;
    assert_holds(store, &globex, "a refused update changes nothing").await;

    let moved = store.update(&acme.with_slug(slug("acme-corp"))).await;
    let moved = done(moved, "a slug that is free can be taken");
    assert_holds(store, &moved, "a tenant is found under its new slug").await;
    assert_absent(store, &TenantId::random(), &slug("acme"), "a tenant is not found under its old slug")
        .await;

    let heir = store.update(&globex.with_slug(slug("acme"))).await;
    assert_refused(heir, ErrorKind::Conflict, "a slug that was given up is not handed on at once");
    let newcomer = store.insert(NewTenant::new(slug("acme"), "Other", "free")).await;
    assert_refused(
        newcomer,
        ErrorKind::Conflict,
        "a slug that was given up is not handed on to a new tenant",
    );
    assert_holds(store, &globex, "a refused update changes nothing").await;
    assert_absent(store, &TenantId::random(), &slug("acme"), "a refused insert leaves nothing behind").await;

    let back = store.update(&moved.with_slug(slug("acme"))).await;
    let back = done(back, "a tenant can take back the slug that it gave up");
    assert_holds(store, &back, "a slug belongs to the tenant that has it now").await;
    let heir = store.update(&globex.with_slug(slug("acme-corp"))).await;
    assert_refused(heir, ErrorKind::Conflict, "every slug that a tenant had is its own for a while");
}

async fn keeps_the_slug_of_a_tenant_that_ends(store: &dyn TenantStore) {
    let mut acme = insert(store, "acme").await;
    for status in [TenantStatus::Deactivated, TenantStatus::Deleting] {
        let next = done(acme.with_status(status), "the lifecycle has this step");
        acme = done(store.update(&next).await, "an update over the version that was read succeeds");
        let newcomer = store.insert(NewTenant::new(slug("acme"), "Other", "free")).await;
        assert_refused(newcomer, ErrorKind::Conflict, "the slug of a tenant that ends is not handed on");
        assert_holds(store, &acme, "a refused insert changes nothing").await;
    }
}

async fn hands_no_slug_on_in_a_race(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    let renamed = acme.with_slug(slug("acme-corp"));
    let (renaming, rivals) = join(
        store.update(&renamed),
        join_all((0..8).map(|_| store.insert(NewTenant::new(slug("acme"), "Rival", "free")))),
    )
    .await;
    done(renaming, "an update over the version that was read succeeds");
    for rival in rivals {
        match rival {
            Ok(_) => panic!("promise broken: a slug that is being given up is not handed on"),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Retryable),
                "promise broken: who wants a slug that is taken hears `conflict`: {error}"
            ),
        }
    }
}

async fn keeps_tenants_apart(store: &dyn TenantStore) {
    let acme = insert(store, "acme").await;
    let globex = insert(store, "globex").await;
    let globex = done(store.update(&globex.with_plan("pro")).await, "an update of one tenant succeeds");
    assert_holds(store, &acme, "an update of one tenant leaves the others alone").await;
    assert_holds(store, &globex, "an update is seen by the next read").await;
}

async fn lets_one_of_many_writers_win(store: &dyn TenantStore) {
    let read = insert(store, "acme").await;
    let attempts: Vec<Tenant> = (0..16).map(|n| read.with_name(format!("Writer {n}"))).collect();
    let results = join_all(attempts.iter().map(|attempt| store.update(attempt))).await;
    let mut winners = Vec::new();
    for result in results {
        match result {
            Ok(tenant) => winners.push(tenant),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::StaleVersion | ErrorKind::Retryable),
                "promise broken: who loses a race hears `stale-version`, not `{}`: {error}",
                error.kind()
            ),
        }
    }
    let names: HashSet<&str> = winners.iter().map(|winner| winner.name()).collect();
    assert_eq!(
        winners.len(),
        1,
        "promise broken: of several updates over one version exactly one wins, not {names:?}"
    );
    assert_holds(store, &winners[0], "what the winner wrote is what is there").await;
}

async fn lists_every_tenant_once(store: &dyn TenantStore) {
    let none = done(store.list(None, 10).await, "a list of none is empty, not an error");
    assert!(none.is_empty(), "promise broken: a list of none is empty");
    let mut wanted = HashSet::new();
    for index in 0..7 {
        let tenant = insert(store, &format!("tenant-{index}")).await;
        wanted.insert(tenant.id().clone());
    }
    for id in [TenantId::from_int(9), TenantId::from_int(10), TenantId::parse("acme")] {
        let id = done(id, "the suite's ids are ids");
        let new = NewTenant::new(slug(&format!("of-{}", wanted.len())), "Acme", "free").id(id.clone());
        done(store.insert(new).await, "ids of every kind can be inserted");
        wanted.insert(id);
    }
    for limit in [1, 3, 10, 100] {
        let mut seen: Vec<TenantId> = Vec::new();
        loop {
            let page = done(store.list(seen.last(), limit).await, "a list succeeds");
            assert!(page.len() <= usize::from(limit), "promise broken: a page holds no more than its limit");
            if page.is_empty() {
                break;
            }
            for tenant in &page {
                let read = done(store.by_id(tenant.id()).await, "a read by id succeeds");
                assert_eq!(read.as_ref(), Some(tenant), "promise broken: a list shows tenants as they are");
            }
            seen.extend(page.iter().map(|tenant| tenant.id().clone()));
            assert!(seen.len() <= wanted.len(), "promise broken: a list shows each tenant once");
        }
        assert_eq!(seen.len(), wanted.len(), "promise broken: a list shows each tenant once");
        assert_eq!(seen.into_iter().collect::<HashSet<_>>(), wanted, "promise broken: a list shows them all");
    }
}

async fn insert(store: &dyn TenantStore, name: &str) -> Arc<Tenant> {
    let new = NewTenant::new(slug(name), name, "free").status(TenantStatus::Active);
    done(store.insert(new).await, "an insert of a new tenant succeeds")
}

async fn assert_holds(store: &dyn TenantStore, tenant: &Tenant, promise: &str) {
    // Twice, for caches: the first read may fill what the second one reads.
    for _ in 0..2 {
        let by_id = done(store.by_id(tenant.id()).await, "a read by id succeeds");
        assert_eq!(by_id.as_deref(), Some(tenant), "promise broken: {promise} (read by id)");
        let by_slug = done(store.by_slug(tenant.slug()).await, "a read by slug succeeds");
        assert_eq!(by_slug.as_deref(), Some(tenant), "promise broken: {promise} (read by slug)");
        for at_hand in [store.peek_id(tenant.id()), store.peek_slug(tenant.slug())].into_iter().flatten() {
            assert_eq!(*at_hand, *tenant, "promise broken: {promise} (what is at hand)");
        }
    }
}

async fn assert_absent(store: &dyn TenantStore, id: &TenantId, slug: &Slug, promise: &str) {
    for _ in 0..2 {
        let by_id = done(store.by_id(id).await, "a read of an id that is not there is `None`, not an error");
        assert_eq!(by_id, None, "promise broken: {promise} (read by id)");
        let by_slug = done(store.by_slug(slug).await, "a read of a slug that is not there is `None`");
        assert_eq!(by_slug, None, "promise broken: {promise} (read by slug)");
        let at_hand = store.peek_id(id).or_else(|| store.peek_slug(slug));
        assert_eq!(at_hand, None, "promise broken: {promise} (what is at hand)");
    }
}

fn assert_refused<T>(result: Result<T>, kind: ErrorKind, promise: &str) {
    match result {
        Ok(_) => panic!("promise broken: {promise}; it was accepted"),
        Err(error) => assert_eq!(error.kind(), kind, "promise broken: {promise} with `{kind}`: {error}"),
    }
}

fn done<T>(result: Result<T>, promise: &str) -> T {
    result.unwrap_or_else(|error| panic!("promise broken: {promise}: {error}"))
}

fn slug(text: &str) -> Slug {
    done(Slug::parse(text), "the suite's slugs are slugs")
}
