use std::sync::Arc;

use futures_util::future::join_all;

use super::{assert_refused, done};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::error::ErrorKind;
use crate::tenant::{Challenge, Domain, DomainState, DomainStore, TenantDomain, TenantId};

const DAY: i64 = 24 * 60 * 60;

/// Holds a [`DomainStore`] to its promises, each on a store of its own from `fresh`, which runs by the clock that it is
/// given, and lets a domain rest for 30 days.
///
/// # Panics
/// On the first promise that is broken, naming it.
pub async fn domain_store<S, F>(fresh: F)
where
    S: DomainStore,
    F: AsyncFn(Arc<dyn Clock>) -> S,
{
    let world = async || {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_700_000_000)));
        let store = fresh(clock.clone()).await;
        World { store, clock, acme: TenantId::random(), globex: TenantId::random() }
    };
    verifies_what_was_proven(&world().await).await;
    wants_the_very_token(&world().await).await;
    lets_the_first_verified_win(&world().await).await;
    ends_a_claim(&world().await).await;
    lets_a_removed_domain_rest(&world().await).await;
    wants_a_new_token_after_a_removal(&world().await).await;
    gives_up_only_ones_own(&world().await).await;
    keeps_one_row_for_every_spelling(&world().await).await;
    lists_a_tenants_domains(&world().await).await;
    lets_one_of_many_tenants_win(&world().await).await;
}

struct World<S> {
    store: S,
    clock: Arc<ManualClock>,
    acme: TenantId,
    globex: TenantId,
}

impl<S: DomainStore> World<S> {
    async fn claim(&self, tenant: &TenantId, name: &str) -> Challenge {
        let claimed =
            done(self.store.claim_domain(tenant, &domain(name)).await, "a free domain can be claimed");
        challenge(claimed)
    }

    async fn own(&self, tenant: &TenantId, name: &str) {
        let seen = [self.claim(tenant, name).await.record_text()];
        let verified = self.store.verify_domain(tenant, &domain(name), &seen).await;
        assert!(
            done(verified, "a claim is verified by its token").is_verified(),
            "promise broken: a claim is verified by its token"
        );
        self.assert_is(name, Some(tenant), "a verified domain is its tenant's").await;
    }

    async fn assert_is(&self, name: &str, tenant: Option<&TenantId>, promise: &str) {
        // Twice, for caches: the first read may fill what the second one reads.
        for _ in 0..2 {
            let found = done(self.store.by_domain(&domain(name)).await, "a read by domain succeeds");
            assert_eq!(found.as_ref(), tenant, "promise broken: {promise}");
            if let Some(at_hand) = self.store.peek_domain(&domain(name)) {
                assert_eq!(Some(&at_hand), tenant, "promise broken: {promise} (what is at hand)");
            }
        }
    }
}

async fn verifies_what_was_proven(world: &World<impl DomainStore>) {
    let World { store, acme, globex, .. } = world;
    world.assert_is("acme.com", None, "what was never claimed is nobody's").await;
    let first = world.claim(acme, "acme.com").await;
    world.assert_is("acme.com", None, "a claim makes a domain nobody's").await;
    assert_eq!(
        world.claim(acme, "acme.com").await,
        first,
        "promise broken: a claim that is pending is answered as it is"
    );
    let seen = ["v=spf1 -all".to_owned(), first.record_text()];
    let verified = done(store.verify_domain(acme, &domain("acme.com"), &seen).await, "a token verifies");
    assert!(verified.is_verified(), "promise broken: one record of several is enough");
    world.assert_is("acme.com", Some(acme), "a verified domain is its tenant's").await;
    world.assert_is("www.acme.com", None, "a domain below a verified one is another").await;
    world.assert_is("acme.co", None, "only the whole domain is a match").await;

    // What is verified stays so, whatever DNS says later.
    let again =
        done(store.verify_domain(acme, &domain("acme.com"), &[]).await, "verifying again is no error");
    assert_eq!(again, verified, "promise broken: what is verified stays so");
    let again = done(store.claim_domain(acme, &domain("acme.com")).await, "claiming one's own is no error");
    assert_eq!(again, verified, "promise broken: a claim of one's own domain changes nothing");
    world.own(globex, "globex.com").await;
    world.assert_is("acme.com", Some(acme), "a domain of one tenant leaves those of others alone").await;
}

async fn wants_the_very_token(world: &World<impl DomainStore>) {
    let World { store, acme, globex, .. } = world;
    let mine = world.claim(acme, "acme.com").await;
    let theirs = world.claim(globex, "acme.com").await;
    let elsewhere = world.claim(acme, "acme.org").await;
    assert!(
        mine.token() != theirs.token() && mine.token() != elsewhere.token() && mine.token().len() >= 32,
        "promise broken: a token is random, and of one tenant and one domain"
    );
    let text = mine.record_text();
    for wrong in [
        theirs.record_text(),
        elsewhere.record_text(),
        text.to_uppercase(),
        format!(" {text}"),
        format!("{text}0"),
        text[..text.len() - 1].to_owned(),
        mine.token().to_owned(),
        String::new(),
    ] {
        let still = store.verify_domain(acme, &domain("acme.com"), &[wrong]).await;
        let still = done(still, "a wrong token leaves the claim as it is");
        assert_eq!(challenge(still), mine, "promise broken: a wrong token leaves the claim as it is");
    }
    world.assert_is("acme.com", None, "a wrong token verifies nothing").await;
    let unclaimed = store.verify_domain(acme, &domain("other.com"), &[text]).await;
    assert_refused(unclaimed, ErrorKind::NotFound, "what was not claimed cannot be verified");
}

async fn lets_the_first_verified_win(world: &World<impl DomainStore>) {
    let World { store, acme, globex, .. } = world;
    let squatter = world.claim(globex, "acme.com").await;
    world.own(acme, "acme.com").await;
    let late = store.verify_domain(globex, &domain("acme.com"), &[squatter.record_text()]).await;
    match late {
        Ok(_) => panic!("promise broken: the first to verify a domain has it"),
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound),
            "promise broken: the claims of others are void once a domain is verified: {error}"
        ),
    }
    let again = store.claim_domain(globex, &domain("acme.com")).await;
    assert_refused(again, ErrorKind::Conflict, "a domain that is another tenant's cannot be claimed");
    world.assert_is("acme.com", Some(acme), "the first to verify a domain has it").await;
}

async fn ends_a_claim(world: &World<impl DomainStore>) {
    let World { store, clock, acme, .. } = world;
    let old = world.claim(acme, "acme.com").await;
    clock.advance_seconds(7 * DAY);
    let late = store.verify_domain(acme, &domain("acme.com"), &[old.record_text()]).await;
    assert_refused(late, ErrorKind::NotFound, "a claim ends after seven days");
    let listed = done(store.domains(acme).await, "a list succeeds");
    assert!(listed.is_empty(), "promise broken: a claim that ended is not listed");
    let new = world.claim(acme, "acme.com").await;
    assert_ne!(new.token(), old.token(), "promise broken: a new claim has a new token");
    let old = store.verify_domain(acme, &domain("acme.com"), &[old.record_text()]).await;
    assert!(!done(old, "the new claim is pending").is_verified(), "promise broken: an old token is void");
}

async fn lets_a_removed_domain_rest(world: &World<impl DomainStore>) {
    let World { store, clock, acme, globex } = world;
    world.own(acme, "acme.com").await;
    done(store.remove_domain(acme, &domain("acme.com")).await, "one's own domain can be removed");
    world.assert_is("acme.com", None, "a removed domain is nobody's").await;
    let gone = store.remove_domain(acme, &domain("acme.com")).await;
    assert_refused(gone, ErrorKind::NotFound, "what was removed cannot be removed again");

    clock.advance_seconds(30 * DAY - 1);
    let early = store.claim_domain(globex, &domain("acme.com")).await;
    assert_refused(early, ErrorKind::Conflict, "a removed domain rests");
    clock.advance_seconds(1);
    world.own(globex, "acme.com").await;
    let back = store.claim_domain(acme, &domain("acme.com")).await;
    assert_refused(back, ErrorKind::Conflict, "after its rest a domain is whose it is now");
}

async fn wants_a_new_token_after_a_removal(world: &World<impl DomainStore>) {
    let World { store, clock, acme, globex } = world;
    let first = world.claim(acme, "acme.com").await;
    let seen = [first.record_text()];
    done(store.verify_domain(acme, &domain("acme.com"), &seen).await, "a token verifies");
    done(store.remove_domain(acme, &domain("acme.com")).await, "one's own domain can be removed");

    let unclaimed = store.verify_domain(acme, &domain("acme.com"), &seen).await;
    assert_refused(unclaimed, ErrorKind::NotFound, "what was removed has to be claimed again");
    let second = world.claim(acme, "acme.com").await;
    assert_ne!(second.token(), first.token(), "promise broken: what was removed needs a new token");
    let old = store.verify_domain(acme, &domain("acme.com"), &seen).await;
    assert!(!done(old, "the new claim is pending").is_verified(), "promise broken: an old token is void");
    let other = store.claim_domain(globex, &domain("acme.com")).await;
    assert_refused(other, ErrorKind::Conflict, "a domain still rests while its old tenant claims it again");

    let seen = [second.record_text()];
    done(store.verify_domain(acme, &domain("acme.com"), &seen).await, "the same tenant need not wait");
    world.assert_is("acme.com", Some(acme), "the same tenant can have its domain back").await;
    clock.advance_seconds(60 * DAY);
    let other = store.claim_domain(globex, &domain("acme.com")).await;
    assert_refused(other, ErrorKind::Conflict, "a domain that was taken back rests no more");
}

async fn gives_up_only_ones_own(world: &World<impl DomainStore>) {
    let World { store, acme, globex, .. } = world;
    world.own(acme, "acme.com").await;
    let pending = world.claim(acme, "shop.acme.com").await;
    for name in ["acme.com", "shop.acme.com", "nobody.com"] {
        let foreign = store.remove_domain(globex, &domain(name)).await;
        assert_refused(foreign, ErrorKind::NotFound, "a domain of another tenant looks like none");
    }
    world.assert_is("acme.com", Some(acme), "a refused removal changes nothing").await;
    assert_eq!(
        world.claim(acme, "shop.acme.com").await,
        pending,
        "promise broken: a refused removal changes nothing"
    );
    done(store.remove_domain(acme, &domain("shop.acme.com")).await, "a claim can be given up");
    world.claim(globex, "shop.acme.com").await;
}

async fn keeps_one_row_for_every_spelling(world: &World<impl DomainStore>) {
    let World { store, acme, globex, .. } = world;
    world.own(acme, "Shop.ACME.com").await;
    for spelling in ["shop.acme.com", "SHOP.acme.COM.", "shop.acme.com."] {
        world.assert_is(spelling, Some(acme), "a domain has one form").await;
        let again = store.claim_domain(globex, &domain(spelling)).await;
        assert_refused(again, ErrorKind::Conflict, "a domain has one form");
    }
}

async fn lists_a_tenants_domains(world: &World<impl DomainStore>) {
    let World { store, acme, globex, .. } = world;
    world.own(acme, "b.acme.com").await;
    world.claim(acme, "c.acme.com").await;
    world.own(acme, "a.acme.com").await;
    world.own(acme, "gone.acme.com").await;
    done(store.remove_domain(acme, &domain("gone.acme.com")).await, "one's own domain can be removed");
    world.claim(globex, "d.acme.com").await;
    let listed = done(store.domains(acme).await, "a list succeeds");
    let told: Vec<_> = listed.iter().map(|one| (one.domain.as_str(), one.is_verified())).collect();
    assert_eq!(
        told,
        [("a.acme.com", true), ("b.acme.com", true), ("c.acme.com", false)],
        "promise broken: a list shows a tenant's own domains and claims, sorted"
    );
    assert!(listed.iter().all(|one| &one.tenant == acme), "promise broken: a list shows one tenant's");
    let theirs = done(store.domains(globex).await, "a list succeeds");
    assert_eq!(theirs.len(), 1, "promise broken: a list shows one tenant's");
}

async fn lets_one_of_many_tenants_win(world: &World<impl DomainStore>) {
    let World { store, acme, globex, .. } = world;
    let name = domain("acme.com");
    let mine = [world.claim(acme, "acme.com").await.record_text()];
    let theirs = [world.claim(globex, "acme.com").await.record_text()];
    let attempts = (0..20).map(|n| match n % 2 {
        0 => (acme, store.verify_domain(acme, &name, &mine)),
        _ => (globex, store.verify_domain(globex, &name, &theirs)),
    });
    let results = join_all(attempts.map(async |(tenant, attempt)| (tenant, attempt.await))).await;
    let mut winners = Vec::new();
    for (tenant, result) in results {
        match result {
            Ok(verified) if verified.is_verified() => winners.push(tenant),
            Ok(_) => panic!("promise broken: a right token is not met with a pending claim"),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound | ErrorKind::Retryable),
                "promise broken: who loses a race for a domain hears `conflict`: {error}"
            ),
        }
    }
    winners.sort();
    winners.dedup();
    assert_eq!(winners.len(), 1, "promise broken: of many who verify one domain exactly one tenant wins");
    world.assert_is("acme.com", winners.first().copied(), "the winner has the domain").await;
}

fn challenge(claimed: TenantDomain) -> Challenge {
    match claimed.state {
        DomainState::Pending { challenge, .. } => challenge,
        state => panic!("promise broken: a claim is pending until it is verified, not {state:?}"),
    }
}

fn domain(text: &str) -> Domain {
    done(Domain::parse(text), "the suite's domains are domains")
}
