//! For any number and combination of sources, a request resolves to one tenant or none.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tenancy::audit::{AuditEvent, AuditSink, MemorySink, Outcome};
use tenancy::context::{Actor, ResolvedBy, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::resolve::{
    Candidate, Identity, Membership, OwnedRequest, RequestView, Resolver, Source, SourceOutcome,
};
use tenancy::store::{CachedMembership, MemoryStore};
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStatus, TenantStore};
use tenancy::{Error, ErrorKind, Result, TenantContext};
use tokio::sync::Semaphore;

/// The tenant that a source names.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Acme,
    Globex,
    Suspended,
    Nobody,
}

/// The outcome of a source, independent of the request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Say {
    Absent,
    Unverified(Who, ById),
    Verified(Who),
    /// Ada is the caller, for any tenant.
    VerifiedActor,
    /// A credential that may not speak for this tenant.
    Forbidden(Who),
    Invalid,
}

type ById = bool;

#[derive(Debug)]
struct Fixed {
    say: Say,
    names: Names,
    /// Whether the outcome is pending first.
    later: bool,
}

/// Ada is a member of acme and of the suspended initech, and not of globex.
#[derive(Debug)]
struct Members(Names);

#[async_trait::async_trait]
impl Membership for Members {
    async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> Result<bool> {
        assert_eq!(*actor, Actor::user("ada"));
        Ok([Who::Acme, Who::Suspended].into_iter().any(|who| self.0[who as usize].0 == *tenant))
    }
}

type Names = [(TenantId, Slug); 4];

impl Source for Fixed {
    fn read(&self, _: &dyn RequestView) -> SourceOutcome {
        let named = |who: Who, by_id| {
            let (id, slug) = self.names[who as usize].clone();
            if by_id { Candidate::Id(id) } else { Candidate::Slug(slug) }
        };
        let signal = match self.say {
            Say::Absent => SourceOutcome::Absent,
            Say::Unverified(who, by_id) => SourceOutcome::Unverified(named(who, by_id)),
            Say::Verified(who) => {
                SourceOutcome::Verified { candidate: named(who, true), actor: Actor::user("ada") }
            }
            Say::VerifiedActor => SourceOutcome::VerifiedActor(Actor::user("ada")),
            Say::Forbidden(who) => {
                SourceOutcome::Forbidden { candidate: named(who, true), actor: Actor::user("ada") }
            }
            Say::Invalid => SourceOutcome::Invalid(Error::new(ErrorKind::InvalidInput, "malformed")),
        };
        if self.later { SourceOutcome::Pending(Box::pin(std::future::ready(signal))) } else { signal }
    }
}

/// The memory store without its synchronous lookups, so that resolution takes the asynchronous path.
#[derive(Debug)]
struct Cold(Arc<MemoryStore>);

#[async_trait::async_trait]
impl TenantStore for Cold {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        self.0.by_id(id).await
    }

    async fn by_slug(&self, slug: &Slug) -> Result<Option<Arc<Tenant>>> {
        self.0.by_slug(slug).await
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        self.0.list(after, limit).await
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        self.0.insert(tenant).await
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        self.0.update(tenant).await
    }
}

struct Fixture {
    warm: TenantDirectory,
    cold: TenantDirectory,
    names: Names,
}

async fn seeded() -> Fixture {
    let store = Arc::new(MemoryStore::new());
    let tenant = async |slug: &str, status| {
        let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").status(status);
        let tenant = store.insert(new).await.unwrap();
        (tenant.id().clone(), tenant.slug().clone())
    };
    let names = [
        tenant("acme", TenantStatus::Active).await,
        tenant("globex", TenantStatus::Active).await,
        tenant("initech", TenantStatus::Suspended).await,
        (TenantId::random(), Slug::parse("nobody").unwrap()),
    ];
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    let catalog = Arc::new(Catalog::from_toml(catalog).unwrap());
    let warm = TenantDirectory::new(store.clone(), catalog.clone());
    Fixture { warm, cold: TenantDirectory::new(Arc::new(Cold(store)), catalog), names }
}

impl Fixture {
    /// The result, which must not depend on whether tenants and outcomes are available synchronously, and the events
    /// in the audit sink of each run.
    async fn resolve_with_events(
        &self,
        says: &[Say],
        public: bool,
    ) -> (Result<TenantContext>, Vec<AuditEvent>) {
        let mut answers = Vec::new();
        for (directory, later) in
            [(&self.warm, false), (&self.cold, false), (&self.warm, true), (&self.cold, true)]
        {
            let sink = Arc::new(MemorySink::new());
            let over = Resolver::new(directory.clone())
                .members(Members(self.names.clone()))
                .audit_sink(sink.clone());
            let resolver = says.iter().fold(over, |resolver, say| {
                resolver.source(Fixed { say: *say, names: self.names.clone(), later })
            });
            let request = OwnedRequest::get("/");
            let answer = if public {
                resolver.resolve_unauthenticated(&request).await
            } else {
                resolver.resolve(&request).await
            };
            answers.push((answer, sink.events()));
        }
        let told =
            |events: &[AuditEvent]| events.iter().map(|event| event.tenant().clone()).collect::<Vec<_>>();
        for (answer, events) in &answers[1..] {
            assert_eq!(outcome(answer), outcome(&answers[0].0), "{says:?}");
            assert_eq!(told(events), told(&answers[0].1), "{says:?}");
        }
        answers.swap_remove(0)
    }

    async fn resolve(&self, says: &[Say], public: bool) -> Result<TenantContext> {
        self.resolve_with_events(says, public).await.0
    }
}

fn outcome(result: &Result<TenantContext>) -> std::result::Result<(TenantId, Actor, ResolvedBy), String> {
    match result {
        Ok(ctx) => Ok((ctx.tenant_id().clone(), ctx.actor().clone(), ctx.resolved_by())),
        Err(error) => Err(format!("{}: {error}", error.kind())),
    }
}

#[tokio::test]
async fn each_combination_of_sources_has_its_outcome() {
    use ErrorKind::{
        CredentialMissing, InvalidInput, TenantConflict, TenantMissing, TenantSuspended, TenantUnknown,
    };
    use Say::{Absent, Forbidden, Invalid, Unverified, Verified, VerifiedActor};
    use Who::{Acme, Globex, Nobody, Suspended};
    let fixture = seeded().await;
    // outcomes of the sources, result on a protected route, result on a public route; `None` is acme.
    let rows: &[(&[Say], Option<ErrorKind>, Option<ErrorKind>)] = &[
        (&[], Some(TenantMissing), Some(TenantMissing)),
        (&[Absent, Absent], Some(TenantMissing), Some(TenantMissing)),
        (&[Unverified(Acme, true)], Some(CredentialMissing), None),
        (&[Unverified(Acme, true), Unverified(Acme, false)], Some(CredentialMissing), None),
        (&[Unverified(Nobody, true)], Some(CredentialMissing), Some(TenantUnknown)),
        (&[Unverified(Suspended, false)], Some(CredentialMissing), Some(TenantUnknown)),
        (&[Unverified(Acme, true), Unverified(Globex, true)], Some(CredentialMissing), Some(TenantConflict)),
        (&[Unverified(Acme, true), Unverified(Nobody, false)], Some(CredentialMissing), Some(TenantConflict)),
        (&[Unverified(Nobody, true), Unverified(Nobody, true)], Some(CredentialMissing), Some(TenantUnknown)),
        (
            &[Unverified(Suspended, true), Unverified(Suspended, true)],
            Some(CredentialMissing),
            Some(TenantUnknown),
        ),
        (
            &[Unverified(Nobody, true), Unverified(Nobody, false)],
            Some(CredentialMissing),
            Some(TenantConflict),
        ),
        (
            &[Unverified(Nobody, true), Unverified(Suspended, false)],
            Some(CredentialMissing),
            Some(TenantConflict),
        ),
        (&[Verified(Acme)], None, None),
        (&[Absent, Verified(Acme), Unverified(Acme, false)], None, None),
        (&[Unverified(Acme, false), Verified(Acme)], None, None),
        (&[Verified(Acme), Unverified(Globex, false)], Some(TenantConflict), Some(TenantConflict)),
        (&[Unverified(Globex, true), Verified(Acme)], Some(TenantConflict), Some(TenantConflict)),
        (&[Verified(Acme), Unverified(Nobody, false)], Some(TenantConflict), Some(TenantConflict)),
        (&[Verified(Acme), Unverified(Suspended, false)], Some(TenantConflict), Some(TenantConflict)),
        (&[Verified(Acme), Verified(Globex)], Some(TenantConflict), Some(TenantConflict)),
        (&[Verified(Nobody)], Some(TenantUnknown), Some(TenantUnknown)),
        (&[Verified(Nobody), Unverified(Acme, true)], Some(TenantUnknown), Some(TenantUnknown)),
        (&[Verified(Suspended)], Some(TenantSuspended), Some(TenantSuspended)),
        (&[Verified(Globex)], Some(TenantUnknown), Some(TenantUnknown)),
        (&[VerifiedActor], Some(TenantMissing), Some(TenantMissing)),
        (&[VerifiedActor, Unverified(Acme, false)], None, None),
        (&[Unverified(Acme, true), VerifiedActor, Verified(Acme)], None, None),
        (&[VerifiedActor, Unverified(Suspended, true)], Some(TenantSuspended), Some(TenantSuspended)),
        (&[VerifiedActor, Unverified(Nobody, true)], Some(TenantUnknown), Some(TenantUnknown)),
        (
            &[VerifiedActor, Unverified(Nobody, true), Unverified(Nobody, false)],
            Some(TenantConflict),
            Some(TenantConflict),
        ),
        (
            &[VerifiedActor, Unverified(Nobody, true), Unverified(Globex, false)],
            Some(TenantConflict),
            Some(TenantConflict),
        ),
        (
            &[VerifiedActor, Unverified(Acme, true), Unverified(Globex, true)],
            Some(TenantConflict),
            Some(TenantConflict),
        ),
        (&[Forbidden(Acme)], Some(TenantConflict), Some(TenantConflict)),
        (&[Forbidden(Nobody)], Some(TenantConflict), Some(TenantConflict)),
        (&[Verified(Acme), Forbidden(Acme)], Some(TenantConflict), Some(TenantConflict)),
        (&[Verified(Acme), Forbidden(Nobody)], Some(TenantConflict), Some(TenantConflict)),
        (&[VerifiedActor, Invalid, Unverified(Acme, true)], Some(InvalidInput), Some(InvalidInput)),
        (&[Verified(Acme), Invalid], Some(InvalidInput), Some(InvalidInput)),
        (&[Invalid, Verified(Acme), Unverified(Globex, true)], Some(InvalidInput), Some(InvalidInput)),
    ];
    for (says, protected, public) in rows {
        for (expected, is_public) in [(protected, false), (public, true)] {
            let result = fixture.resolve(says, is_public).await;
            assert_eq!(result.as_ref().err().map(Error::kind), *expected, "{says:?}, public: {is_public}");
            if let Ok(ctx) = result {
                assert_eq!(*ctx.tenant_id(), fixture.names[0].0, "{says:?}");
                let proven = says.contains(&Verified(Acme)) || says.contains(&VerifiedActor);
                assert_eq!(*ctx.actor() == Actor::user("ada"), proven, "{says:?}");
            }
        }
    }
}

/// A member of acme who visits globex is rejected on its protected routes, and anonymous on its public routes.
#[tokio::test]
async fn a_person_reaches_only_the_tenants_that_are_theirs() {
    use Say::{Unverified, VerifiedActor};
    let fixture = seeded().await;
    let says = [VerifiedActor, Unverified(Who::Globex, false)];
    let error = fixture.resolve(&says, false).await.unwrap_err();
    let nobody = fixture.resolve(&[VerifiedActor, Unverified(Who::Nobody, false)], false).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (nobody.kind(), nobody.to_string()),
        "a foreign tenant is unknown"
    );
    let visitor = fixture.resolve(&says, true).await.unwrap();
    assert_eq!((visitor.tenant_id(), visitor.actor()), (&fixture.names[1].0, &Actor::Anonymous));

    // Without a membership check, a verified actor alone reaches no tenant.
    let resolver = Resolver::new(fixture.warm.clone())
        .source(Fixed { say: VerifiedActor, names: fixture.names.clone(), later: false })
        .source(Fixed { say: Unverified(Who::Acme, true), names: fixture.names.clone(), later: false });
    for answer in [
        resolver.resolve(&OwnedRequest::get("/")).await,
        resolver.resolve_unauthenticated(&OwnedRequest::get("/")).await,
    ] {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Misconfigured);
    }
}

/// A guest session: authenticated, but without an identity.
#[derive(Debug)]
struct Guest(Option<TenantId>);

impl Source for Guest {
    fn read(&self, _: &dyn RequestView) -> SourceOutcome {
        let guest = Identity::new(Actor::Anonymous);
        self.0.iter().fold(guest, |guest, tenant| guest.tenant(tenant.clone())).into()
    }
}

/// An anonymous identity proves neither an actor nor a tenant.
#[tokio::test]
async fn an_anonymous_identity_proves_nothing() {
    let fixture = seeded().await;
    for who in [Who::Acme, Who::Globex] {
        let id = &fixture.names[who as usize].0;
        for guest in [Guest(None), Guest(Some(id.clone()))] {
            let told = format!("{guest:?}");
            let resolver = Resolver::new(fixture.warm.clone())
                .members(Members(fixture.names.clone()))
                .source(guest)
                .source(Fixed {
                    say: Say::Unverified(who, true),
                    names: fixture.names.clone(),
                    later: false,
                });
            let error = resolver.resolve(&OwnedRequest::get("/")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CredentialMissing, "{told}");
            let visitor = resolver.resolve_unauthenticated(&OwnedRequest::get("/")).await.unwrap();
            assert_eq!((visitor.tenant_id(), visitor.actor()), (id, &Actor::Anonymous), "{told}");
        }
    }
}

#[tokio::test]
async fn a_credential_at_the_wrong_tenant_is_in_its_audit_log() {
    use Say::{Forbidden, Invalid, Unverified, Verified, VerifiedActor};
    use Who::{Acme, Globex, Nobody};
    let fixture = seeded().await;
    let none: &[Who] = &[];
    // outcomes of the sources, tenants whose audit log has an event, and its reason.
    let rows: &[(&[Say], &[Who], &str)] = &[
        (&[Verified(Acme)], none, ""),
        (&[Verified(Acme), Unverified(Globex, false)], &[Acme], "conflict"),
        (&[Unverified(Globex, false), Verified(Acme)], &[Acme], "conflict"),
        (&[Verified(Acme), Unverified(Nobody, false)], &[Acme], "conflict"),
        (&[Verified(Acme), Verified(Globex)], &[Acme, Globex], "conflict"),
        (&[Forbidden(Globex)], &[Globex], "issuer"),
        (&[Forbidden(Nobody)], none, ""),
        (&[Verified(Globex)], &[Globex], "not a member"),
        (&[VerifiedActor, Unverified(Globex, true)], &[Globex], "not a member"),
        // Without a verified credential no event is written.
        (&[Unverified(Acme, true), Unverified(Globex, true)], none, ""),
        (&[Verified(Acme), Unverified(Globex, false), Invalid], none, ""),
        (&[VerifiedActor, Unverified(Acme, true)], none, ""),
    ];
    for (says, wanted, reason) in rows {
        let (answer, told) = fixture.resolve_with_events(says, false).await;
        let whose: Vec<_> = told.iter().map(AuditEvent::tenant).collect();
        assert_eq!(
            whose,
            wanted.iter().map(|who| &fixture.names[*who as usize].0).collect::<Vec<_>>(),
            "{says:?}"
        );
        for event in &told {
            assert!(answer.is_err());
            assert_eq!((event.action(), event.ended()), ("request.reject", Outcome::Denied), "{says:?}");
            assert_eq!(
                (event.details()["reason"].as_str(), event.actor()),
                (*reason, &Actor::user("ada")),
                "{says:?}"
            );
        }
    }
}

/// If the audit sink fails, the request is still rejected.
#[tokio::test]
async fn a_rejection_without_an_audit_event_is_still_a_rejection() {
    #[derive(Debug)]
    struct Full;

    #[async_trait::async_trait]
    impl AuditSink for Full {
        async fn write(&self, _: &[AuditEvent]) -> Result<()> {
            Err(Error::new(ErrorKind::StoreUnavailable, "the disk is full"))
        }
    }

    let fixture = seeded().await;
    let resolver = Resolver::new(fixture.warm.clone())
        .audit_sink(Arc::new(Full))
        .source(Fixed { say: Say::Verified(Who::Acme), names: fixture.names.clone(), later: false })
        .source(Fixed {
            say: Say::Unverified(Who::Globex, true),
            names: fixture.names.clone(),
            later: false,
        });
    let error = resolver.resolve(&OwnedRequest::get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TenantConflict);
}

/// I70: with an invalidated cache a removed member is rejected at once, and accepted once added again.
#[tokio::test]
async fn a_change_of_members_invalidates_the_cache() {
    #[derive(Debug, Clone, Default)]
    struct Table(Arc<Mutex<(HashSet<TenantId>, u32)>>);

    #[async_trait::async_trait]
    impl Membership for Table {
        async fn is_member(&self, tenant: &TenantId, _: &Actor) -> Result<bool> {
            let mut table = self.0.lock().unwrap();
            table.1 += 1;
            Ok(table.0.contains(tenant))
        }
    }

    let fixture = seeded().await;
    let table = Table::default();
    let (acme, globex) = (&fixture.names[0].0, &fixture.names[1].0);
    table.0.lock().unwrap().0.extend([acme.clone(), globex.clone()]);
    let members = CachedMembership::new(table.clone(), Duration::from_mins(5));
    let over = |who| {
        Resolver::new(fixture.warm.clone()).members(members.clone()).source(Fixed {
            say: Say::Verified(who),
            names: fixture.names.clone(),
            later: false,
        })
    };
    let request = OwnedRequest::get("/");
    let outcome_of = async |who| over(who).resolve(&request).await.map(|_| ()).map_err(|error| error.kind());
    for _ in 0..3 {
        assert_eq!((outcome_of(Who::Acme).await, outcome_of(Who::Globex).await), (Ok(()), Ok(())));
    }
    assert_eq!(table.0.lock().unwrap().1, 2, "asked once for each");
    assert!(over(Who::Acme).resolve(&request).at_hand().is_ok(), "and then not waited for");

    table.0.lock().unwrap().0.remove(acme);
    members.changed(acme);
    for _ in 0..3 {
        assert_eq!(
            (outcome_of(Who::Acme).await, outcome_of(Who::Globex).await),
            (Err(ErrorKind::TenantUnknown), Ok(()))
        );
    }
    assert!(table.0.lock().unwrap().1 <= 4, "that somebody is no member is kept as well");
    table.0.lock().unwrap().0.insert(acme.clone());
    members.changed(acme);
    assert_eq!((outcome_of(Who::Acme).await, outcome_of(Who::Globex).await), (Ok(()), Ok(())));
}

/// A result that was in transit during a change of members is not cached, and a failure never is.
#[tokio::test]
async fn a_late_result_about_members_is_not_cached() {
    #[derive(Debug, Clone)]
    struct Slow {
        asked: Arc<Semaphore>,
        go: Arc<Semaphore>,
        answers: Arc<Mutex<Vec<Result<bool>>>>,
    }

    #[async_trait::async_trait]
    impl Membership for Slow {
        async fn is_member(&self, _: &TenantId, _: &Actor) -> Result<bool> {
            let answer = self.answers.lock().unwrap().remove(0);
            self.asked.add_permits(1);
            self.go.acquire().await.unwrap().forget();
            answer
        }
    }

    let down = || Err(Error::new(ErrorKind::StoreUnavailable, "down"));
    let slow = Slow {
        asked: Arc::new(Semaphore::new(0)),
        go: Arc::new(Semaphore::new(0)),
        answers: Arc::new(Mutex::new(vec![Ok(true), Ok(false), down(), Ok(true)])),
    };
    let members = CachedMembership::new(slow.clone(), Duration::from_mins(5));
    let (tenant, ada) = (TenantId::random(), Actor::user("ada"));
    let early = {
        let (members, tenant, ada) = (members.clone(), tenant.clone(), ada.clone());
        tokio::spawn(async move { members.is_member(&tenant, &ada).await })
    };
    slow.asked.acquire().await.unwrap().forget();
    members.changed(&tenant);
    slow.go.add_permits(4);
    assert!(early.await.unwrap().unwrap(), "as it was when it was asked");
    assert_eq!(members.peek(&tenant, &ada), None);
    assert!(!members.is_member(&tenant, &ada).await.unwrap());
    assert_eq!(members.peek(&tenant, &ada), Some(false));
    members.changed(&tenant);
    let error = members.is_member(&tenant, &ada).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert!(members.is_member(&tenant, &ada).await.unwrap(), "a failure is not kept");
}

#[tokio::test]
async fn a_warm_directory_resolves_without_waiting() {
    let fixture = seeded().await;
    let over = |directory: &TenantDirectory| {
        Resolver::new(directory.clone())
            .source(Fixed { say: Say::Verified(Who::Acme), names: fixture.names.clone(), later: false })
            .source(Fixed {
                say: Say::Unverified(Who::Acme, false),
                names: fixture.names.clone(),
                later: false,
            })
    };
    let request = OwnedRequest::get("/");
    assert!(over(&fixture.warm).resolve(&request).at_hand().is_ok_and(|answer| answer.is_ok()));
    let waiting = over(&fixture.cold).resolve(&request).at_hand().unwrap_err();
    assert_eq!(waiting.await.unwrap().tenant().slug().as_str(), "acme");
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![3 => Just(Who::Acme), 2 => Just(Who::Globex), 1 => Just(Who::Suspended), 1 => Just(Who::Nobody)]
}

fn unproven() -> impl Strategy<Value = Say> {
    prop_oneof![
        1 => Just(Say::Absent),
        1 => Just(Say::Invalid),
        6 => (who(), any::<bool>()).prop_map(|(who, by_id)| Say::Unverified(who, by_id)),
    ]
}

fn anything() -> impl Strategy<Value = Say> {
    prop_oneof![
        6 => unproven(),
        3 => who().prop_map(Say::Verified),
        1 => Just(Say::VerifiedActor),
        1 => who().prop_map(Say::Forbidden),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn one_more_selection_never_changes_which_tenant_is_reached(
        says in proptest::collection::vec(anything(), 0..5),
        extra in unproven(),
        place: prop::sample::Index,
        public: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let fixture = seeded().await;
            let mut more = says.clone();
            more.insert(place.index(says.len() + 1), extra);
            let before = fixture.resolve(&says, public).await;
            let after = fixture.resolve(&more, public).await;
            match (&before, &after) {
                (Ok(before), Ok(after)) => {
                    assert_eq!(before.tenant_id(), after.tenant_id());
                    assert_eq!(before.actor(), after.actor());
                }
                (_, Err(_)) => {}
                // An unverified hint selects a tenant only on a public route, or for a known caller, and only if no
                // other source named a tenant.
                (Err(error), Ok(ctx)) => {
                    let known = says.contains(&Say::VerifiedActor) && *ctx.actor() == Actor::user("ada");
                    assert!((public || known) && error.kind() == ErrorKind::TenantMissing, "{error}");
                }
            }
            if let Ok(ctx) = &after {
                for say in &more {
                    let named = match say {
                        Say::Unverified(who, _) | Say::Verified(who) | Say::Forbidden(who) => &fixture.names[*who as usize].0,
                        _ => continue,
                    };
                    assert_eq!(named, ctx.tenant_id(), "everything that was named is the tenant that was reached");
                }
            }
        });
    }
}
