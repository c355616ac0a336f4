//! The contract of [`DomainStore`].

use std::sync::Arc;

use futures_util::future::join_all;

use super::expect::{assert_rejected, expect_ok};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::error::ErrorKind;
use crate::tenant::{Challenge, Domain, DomainState, DomainStore, TenantDomain, TenantId};

const DAY: i64 = 24 * 60 * 60;

/// Tests a [`DomainStore`] against the contract of the trait. `fresh` creates a new, empty store for each rule.
///
/// The store must use the clock that `fresh` gets, and a domain cool-down of 30 days.
///
/// ```
/// use tenancy::store::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// tenancy::testing::domain_store(async |clock| MemoryStore::new().with_clock(clock)).await;
/// # }
/// ```
///
/// # Panics
/// If the store violates a rule, with that rule.
pub async fn domain_store<S, F>(fresh: F)
where
    S: DomainStore,
    F: AsyncFn(Arc<dyn Clock>) -> S,
{
    let fixture = async || {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(1_700_000_000)));
        let store = fresh(clock.clone()).await;
        Fixture { store, clock, acme: TenantId::random(), globex: TenantId::random() }
    };
    verifies_a_claim_by_its_record(&fixture().await).await;
    requires_the_exact_token(&fixture().await).await;
    gives_a_domain_to_the_first_verified(&fixture().await).await;
    expires_a_claim(&fixture().await).await;
    keeps_a_removed_domain_in_cooldown(&fixture().await).await;
    requires_a_new_token_after_a_removal(&fixture().await).await;
    removes_only_domains_of_the_tenant(&fixture().await).await;
    normalises_each_spelling(&fixture().await).await;
    lists_a_tenants_domains(&fixture().await).await;
    gives_a_domain_to_one_of_many_tenants(&fixture().await).await;
}

struct Fixture<S> {
    store: S,
    clock: Arc<ManualClock>,
    acme: TenantId,
    globex: TenantId,
}

impl<S: DomainStore> Fixture<S> {
    async fn claim(&self, tenant: &TenantId, name: &str) -> Challenge {
        let claimed = expect_ok(
            self.store.claim_domain(tenant, &domain(name)).await,
            "a domain without an owner can be claimed",
        );
        challenge(claimed)
    }

    async fn claim_and_verify(&self, tenant: &TenantId, name: &str) {
        let seen = [self.claim(tenant, name).await.record_text()];
        let verified = self.store.verify_domain(tenant, &domain(name), &seen).await;
        assert!(
            expect_ok(verified, "a claim is verified by its token").is_verified(),
            "promise broken: a claim is verified by its token"
        );
        self.assert_owner(name, Some(tenant), "a verified domain belongs to its tenant").await;
    }

    async fn assert_owner(&self, name: &str, tenant: Option<&TenantId>, promise: &str) {
        // Read twice: the first read may fill a cache for the second.
        for _ in 0..2 {
            let found = expect_ok(self.store.by_domain(&domain(name)).await, "a read by domain succeeds");
            assert_eq!(found.as_ref(), tenant, "promise broken: {promise}");
            if let Some(cached) = self.store.peek_domain(&domain(name)) {
                assert_eq!(Some(&cached), tenant, "promise broken: {promise} (cached)");
            }
        }
    }
}

async fn verifies_a_claim_by_its_record(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, acme, globex, .. } = fixture;
    fixture.assert_owner("acme.com", None, "a domain that was never claimed has no owner").await;
    let first = fixture.claim(acme, "acme.com").await;
    fixture.assert_owner("acme.com", None, "a claimed domain has no owner").await;
    assert_eq!(
        fixture.claim(acme, "acme.com").await,
        first,
        "promise broken: a repeated claim returns the pending claim unchanged"
    );
    let seen = ["v=spf1 -all".to_owned(), first.record_text()];
    let verified = expect_ok(store.verify_domain(acme, &domain("acme.com"), &seen).await, "a token verifies");
    assert!(verified.is_verified(), "promise broken: one matching record of several is enough");
    fixture.assert_owner("acme.com", Some(acme), "a verified domain belongs to its tenant").await;
    fixture.assert_owner("www.acme.com", None, "a subdomain of a verified domain is another domain").await;
    fixture.assert_owner("acme.co", None, "only the whole domain is a match").await;

    // A verified domain stays verified, whatever DNS contains later.
    let again =
        expect_ok(store.verify_domain(acme, &domain("acme.com"), &[]).await, "verifying again is no error");
    assert_eq!(again, verified, "promise broken: a verified domain stays verified");
    let again = expect_ok(
        store.claim_domain(acme, &domain("acme.com")).await,
        "claiming an owned domain is no error",
    );
    assert_eq!(again, verified, "promise broken: a claim of an owned domain changes nothing");
    fixture.claim_and_verify(globex, "globex.com").await;
    fixture
        .assert_owner("acme.com", Some(acme), "a domain of one tenant does not change those of others")
        .await;
}

async fn requires_the_exact_token(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, acme, globex, .. } = fixture;
    let mine = fixture.claim(acme, "acme.com").await;
    let theirs = fixture.claim(globex, "acme.com").await;
    let elsewhere = fixture.claim(acme, "acme.org").await;
    assert!(
        mine.token() != theirs.token() && mine.token() != elsewhere.token() && mine.token().len() >= 32,
        "promise broken: a token is random and valid for one tenant and one domain"
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
        let unverified = store.verify_domain(acme, &domain("acme.com"), &[wrong]).await;
        let unverified = expect_ok(unverified, "a wrong token leaves the claim unchanged");
        assert_eq!(challenge(unverified), mine, "promise broken: a wrong token leaves the claim unchanged");
    }
    fixture.assert_owner("acme.com", None, "a wrong token verifies nothing").await;
    let unclaimed = store.verify_domain(acme, &domain("other.com"), &[text]).await;
    assert_rejected(unclaimed, ErrorKind::NotFound, "an unclaimed domain cannot be verified");
}

async fn gives_a_domain_to_the_first_verified(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, acme, globex, .. } = fixture;
    let squatter = fixture.claim(globex, "acme.com").await;
    fixture.claim_and_verify(acme, "acme.com").await;
    let late = store.verify_domain(globex, &domain("acme.com"), &[squatter.record_text()]).await;
    match late {
        Ok(_) => panic!("promise broken: the first tenant to verify a domain owns it"),
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound),
            "promise broken: a verification voids the claims of other tenants: {error}"
        ),
    }
    let again = store.claim_domain(globex, &domain("acme.com")).await;
    assert_rejected(again, ErrorKind::Conflict, "a domain of another tenant cannot be claimed");
    fixture.assert_owner("acme.com", Some(acme), "the first tenant to verify a domain owns it").await;
}

async fn expires_a_claim(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, clock, acme, .. } = fixture;
    let old = fixture.claim(acme, "acme.com").await;
    clock.advance_seconds(7 * DAY);
    let late = store.verify_domain(acme, &domain("acme.com"), &[old.record_text()]).await;
    assert_rejected(late, ErrorKind::NotFound, "a claim expires after seven days");
    let listed = expect_ok(store.domains(acme).await, "a list succeeds");
    assert!(listed.is_empty(), "promise broken: an expired claim is not listed");
    let new = fixture.claim(acme, "acme.com").await;
    assert_ne!(new.token(), old.token(), "promise broken: a new claim has a new token");
    let old = store.verify_domain(acme, &domain("acme.com"), &[old.record_text()]).await;
    assert!(
        !expect_ok(old, "a claim with an old token is still pending").is_verified(),
        "promise broken: an old token does not verify"
    );
}

async fn keeps_a_removed_domain_in_cooldown(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, clock, acme, globex } = fixture;
    fixture.claim_and_verify(acme, "acme.com").await;
    expect_ok(store.remove_domain(acme, &domain("acme.com")).await, "an owned domain can be removed");
    fixture.assert_owner("acme.com", None, "a removed domain has no owner").await;
    let gone = store.remove_domain(acme, &domain("acme.com")).await;
    assert_rejected(gone, ErrorKind::NotFound, "a removed domain cannot be removed again");

    clock.advance_seconds(30 * DAY - 1);
    let early = store.claim_domain(globex, &domain("acme.com")).await;
    assert_rejected(early, ErrorKind::Conflict, "a removed domain is in its cool-down");
    clock.advance_seconds(1);
    fixture.claim_and_verify(globex, "acme.com").await;
    let back = store.claim_domain(acme, &domain("acme.com")).await;
    assert_rejected(back, ErrorKind::Conflict, "after the cool-down a domain belongs to its new owner");
}

async fn requires_a_new_token_after_a_removal(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, clock, acme, globex } = fixture;
    let first = fixture.claim(acme, "acme.com").await;
    let seen = [first.record_text()];
    expect_ok(store.verify_domain(acme, &domain("acme.com"), &seen).await, "a token verifies");
    expect_ok(store.remove_domain(acme, &domain("acme.com")).await, "an owned domain can be removed");

    let unclaimed = store.verify_domain(acme, &domain("acme.com"), &seen).await;
    assert_rejected(unclaimed, ErrorKind::NotFound, "a removed domain must be claimed again");
    let second = fixture.claim(acme, "acme.com").await;
    assert_ne!(second.token(), first.token(), "promise broken: a removed domain needs a new token");
    let old = store.verify_domain(acme, &domain("acme.com"), &seen).await;
    assert!(
        !expect_ok(old, "a claim with an old token is still pending").is_verified(),
        "promise broken: an old token does not verify"
    );
    let other = store.claim_domain(globex, &domain("acme.com")).await;
    assert_rejected(other, ErrorKind::Conflict, "a new claim of the old owner does not end the cool-down");

    let seen = [second.record_text()];
    expect_ok(
        store.verify_domain(acme, &domain("acme.com"), &seen).await,
        "the old owner can verify in the cool-down",
    );
    fixture.assert_owner("acme.com", Some(acme), "the old owner can own the domain again").await;
    clock.advance_seconds(60 * DAY);
    let other = store.claim_domain(globex, &domain("acme.com")).await;
    assert_rejected(
        other,
        ErrorKind::Conflict,
        "a domain that was verified again stays owned after the old cool-down",
    );
}

async fn removes_only_domains_of_the_tenant(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, acme, globex, .. } = fixture;
    fixture.claim_and_verify(acme, "acme.com").await;
    let pending = fixture.claim(acme, "shop.acme.com").await;
    for name in ["acme.com", "shop.acme.com", "absent.com"] {
        let foreign = store.remove_domain(globex, &domain(name)).await;
        assert_rejected(
            foreign,
            ErrorKind::NotFound,
            "a domain of another tenant looks like an absent domain",
        );
    }
    fixture.assert_owner("acme.com", Some(acme), "a rejected removal changes nothing").await;
    assert_eq!(
        fixture.claim(acme, "shop.acme.com").await,
        pending,
        "promise broken: a rejected removal changes nothing"
    );
    expect_ok(store.remove_domain(acme, &domain("shop.acme.com")).await, "a claim can be removed");
    fixture.claim(globex, "shop.acme.com").await;
}

async fn normalises_each_spelling(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, acme, globex, .. } = fixture;
    fixture.claim_and_verify(acme, "Shop.ACME.com").await;
    for spelling in ["shop.acme.com", "SHOP.acme.COM.", "shop.acme.com."] {
        fixture.assert_owner(spelling, Some(acme), "all spellings are one domain").await;
        let again = store.claim_domain(globex, &domain(spelling)).await;
        assert_rejected(again, ErrorKind::Conflict, "all spellings are one domain");
    }
}

async fn lists_a_tenants_domains(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, acme, globex, .. } = fixture;
    fixture.claim_and_verify(acme, "b.acme.com").await;
    fixture.claim(acme, "c.acme.com").await;
    fixture.claim_and_verify(acme, "a.acme.com").await;
    fixture.claim_and_verify(acme, "gone.acme.com").await;
    expect_ok(store.remove_domain(acme, &domain("gone.acme.com")).await, "an owned domain can be removed");
    fixture.claim(globex, "d.acme.com").await;
    let listed = expect_ok(store.domains(acme).await, "a list succeeds");
    let names: Vec<_> = listed.iter().map(|one| (one.domain.as_str(), one.is_verified())).collect();
    assert_eq!(
        names,
        [("a.acme.com", true), ("b.acme.com", true), ("c.acme.com", false)],
        "promise broken: a list contains the domains and claims of a tenant, sorted"
    );
    assert!(
        listed.iter().all(|one| &one.tenant == acme),
        "promise broken: a list contains one tenant's domains only"
    );
    let theirs = expect_ok(store.domains(globex).await, "a list succeeds");
    assert_eq!(theirs.len(), 1, "promise broken: a list contains one tenant's domains only");
}

async fn gives_a_domain_to_one_of_many_tenants(fixture: &Fixture<impl DomainStore>) {
    let Fixture { store, acme, globex, .. } = fixture;
    let name = domain("acme.com");
    let mine = [fixture.claim(acme, "acme.com").await.record_text()];
    let theirs = [fixture.claim(globex, "acme.com").await.record_text()];
    let attempts = (0..20).map(|n| match n % 2 {
        0 => (acme, store.verify_domain(acme, &name, &mine)),
        _ => (globex, store.verify_domain(globex, &name, &theirs)),
    });
    let results = join_all(attempts.map(async |(tenant, attempt)| (tenant, attempt.await))).await;
    let mut winners = Vec::new();
    for (tenant, result) in results {
        match result {
            Ok(verified) if verified.is_verified() => winners.push(tenant),
            Ok(_) => panic!("promise broken: a claim with the right token becomes verified"),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound | ErrorKind::Retryable),
                "promise broken: a concurrent verification that loses returns `conflict`: {error}"
            ),
        }
    }
    winners.sort();
    winners.dedup();
    assert_eq!(
        winners.len(),
        1,
        "promise broken: of many concurrent verifications exactly one tenant succeeds"
    );
    fixture
        .assert_owner("acme.com", winners.first().copied(), "the tenant that verified first owns the domain")
        .await;
}

fn challenge(claimed: TenantDomain) -> Challenge {
    match claimed.state {
        DomainState::Pending { challenge, .. } => challenge,
        state => panic!("promise broken: a claim is pending until it is verified, not {state:?}"),
    }
}

fn domain(text: &str) -> Domain {
    expect_ok(Domain::parse(text), "the domains of the suite are valid")
}
