//! However many sources there are and whatever they say: one tenant, or none.

use std::sync::Arc;

use proptest::prelude::*;
use tenancy::context::{Actor, Directory, ResolvedBy};
use tenancy::plan::Catalog;
use tenancy::resolve::{Candidate, RequestView, Resolver, Signal, Source, StaticRequest};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStatus, TenantStore};
use tenancy::{Error, ErrorKind, Result, TenantContext};

/// Who a source names.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Acme,
    Globex,
    Suspended,
    Nobody,
}

/// What a source says, whatever the request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Say {
    Absent,
    Selected(Who, ById),
    Proven(Who),
    Invalid,
}

type ById = bool;

#[derive(Debug)]
struct Fixed {
    say: Say,
    names: Names,
}

type Names = [(TenantId, Slug); 4];

impl Source for Fixed {
    fn read(&self, _: &dyn RequestView) -> Signal {
        let named = |who: Who, by_id| {
            let (id, slug) = self.names[who as usize].clone();
            if by_id { Candidate::Id(id) } else { Candidate::Slug(slug) }
        };
        match self.say {
            Say::Absent => Signal::Absent,
            Say::Selected(who, by_id) => Signal::Selected(named(who, by_id)),
            Say::Proven(who) => Signal::Proven { candidate: named(who, true), actor: Actor::user("ada") },
            Say::Invalid => Signal::Invalid(Error::new(ErrorKind::InvalidInput, "malformed")),
        }
    }
}

/// The memory store without what is at hand, so that the slow way is taken.
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

struct World {
    warm: Directory,
    cold: Directory,
    names: Names,
}

async fn world() -> World {
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
    let warm = Directory::new(store.clone(), catalog.clone());
    World { warm, cold: Directory::new(Arc::new(Cold(store)), catalog), names }
}

impl World {
    /// The answer, which must be the same whether the tenants are at hand or not.
    async fn resolve(&self, says: &[Say], public: bool) -> Result<TenantContext> {
        let over = |directory: &Directory| {
            says.iter().fold(Resolver::new(directory.clone()), |resolver, say| {
                resolver.source(Fixed { say: *say, names: self.names.clone() })
            })
        };
        let request = StaticRequest::get("/");
        let (warm, cold) = (over(&self.warm), over(&self.cold));
        let (warm, cold) = if public {
            (warm.resolve_public(&request).await, cold.resolve_public(&request).await)
        } else {
            (warm.resolve(&request).await, cold.resolve(&request).await)
        };
        assert_eq!(outcome(&warm), outcome(&cold), "{says:?}");
        warm
    }
}

fn outcome(result: &Result<TenantContext>) -> std::result::Result<(TenantId, Actor, ResolvedBy), String> {
    match result {
        Ok(ctx) => Ok((ctx.tenant_id().clone(), ctx.actor().clone(), ctx.resolved_by())),
        Err(error) => Err(format!("{}: {error}", error.kind())),
    }
}

#[tokio::test]
async fn the_outcomes_are_these() {
    use ErrorKind::{
        CredentialMissing, InvalidInput, TenantConflict, TenantMissing, TenantSuspended, TenantUnknown,
    };
    use Say::{Absent, Invalid, Proven, Selected};
    use Who::{Acme, Globex, Nobody, Suspended};
    let world = world().await;
    // what the sources say, on a protected route, on a public route; `None` is acme.
    let rows: &[(&[Say], Option<ErrorKind>, Option<ErrorKind>)] = &[
        (&[], Some(TenantMissing), Some(TenantMissing)),
        (&[Absent, Absent], Some(TenantMissing), Some(TenantMissing)),
        (&[Selected(Acme, true)], Some(CredentialMissing), None),
        (&[Selected(Acme, true), Selected(Acme, false)], Some(CredentialMissing), None),
        (&[Selected(Nobody, true)], Some(CredentialMissing), Some(TenantUnknown)),
        (&[Selected(Suspended, false)], Some(CredentialMissing), Some(TenantUnknown)),
        (&[Selected(Acme, true), Selected(Globex, true)], Some(CredentialMissing), Some(TenantConflict)),
        (&[Selected(Acme, true), Selected(Nobody, false)], Some(CredentialMissing), Some(TenantConflict)),
        (&[Proven(Acme)], None, None),
        (&[Absent, Proven(Acme), Selected(Acme, false)], None, None),
        (&[Selected(Acme, false), Proven(Acme)], None, None),
        (&[Proven(Acme), Selected(Globex, false)], Some(TenantConflict), Some(TenantConflict)),
        (&[Selected(Globex, true), Proven(Acme)], Some(TenantConflict), Some(TenantConflict)),
        (&[Proven(Acme), Selected(Nobody, false)], Some(TenantConflict), Some(TenantConflict)),
        (&[Proven(Acme), Selected(Suspended, false)], Some(TenantConflict), Some(TenantConflict)),
        (&[Proven(Acme), Proven(Globex)], Some(TenantConflict), Some(TenantConflict)),
        (&[Proven(Nobody)], Some(TenantUnknown), Some(TenantUnknown)),
        (&[Proven(Nobody), Selected(Acme, true)], Some(TenantUnknown), Some(TenantUnknown)),
        (&[Proven(Suspended)], Some(TenantSuspended), Some(TenantSuspended)),
        (&[Proven(Acme), Invalid], Some(InvalidInput), Some(InvalidInput)),
        (&[Invalid, Proven(Acme), Selected(Globex, true)], Some(InvalidInput), Some(InvalidInput)),
    ];
    for (says, protected, public) in rows {
        for (expected, is_public) in [(protected, false), (public, true)] {
            let result = world.resolve(says, is_public).await;
            assert_eq!(result.as_ref().err().map(Error::kind), *expected, "{says:?}, public: {is_public}");
            if let Ok(ctx) = result {
                assert_eq!(*ctx.tenant_id(), world.names[0].0, "{says:?}");
                let proven = says.contains(&Proven(Acme));
                assert_eq!(*ctx.actor() == Actor::user("ada"), proven, "{says:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_at_hand_is_there_without_waiting() {
    let world = world().await;
    let over = |directory: &Directory| {
        Resolver::new(directory.clone())
            .source(Fixed { say: Say::Proven(Who::Acme), names: world.names.clone() })
            .source(Fixed { say: Say::Selected(Who::Acme, false), names: world.names.clone() })
    };
    let request = StaticRequest::get("/");
    assert!(over(&world.warm).resolve(&request).at_hand().is_ok_and(|answer| answer.is_ok()));
    let waiting = over(&world.cold).resolve(&request).at_hand().unwrap_err();
    assert_eq!(waiting.await.unwrap().tenant().slug().as_str(), "acme");
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![3 => Just(Who::Acme), 2 => Just(Who::Globex), 1 => Just(Who::Suspended), 1 => Just(Who::Nobody)]
}

fn unproven() -> impl Strategy<Value = Say> {
    prop_oneof![
        1 => Just(Say::Absent),
        1 => Just(Say::Invalid),
        6 => (who(), any::<bool>()).prop_map(|(who, by_id)| Say::Selected(who, by_id)),
    ]
}

fn anything() -> impl Strategy<Value = Say> {
    prop_oneof![2 => unproven(), 1 => who().prop_map(Say::Proven)]
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
            let world = world().await;
            let mut more = says.clone();
            more.insert(place.index(says.len() + 1), extra);
            let before = world.resolve(&says, public).await;
            let after = world.resolve(&more, public).await;
            match (&before, &after) {
                (Ok(before), Ok(after)) => {
                    assert_eq!(before.tenant_id(), after.tenant_id());
                    assert_eq!(before.actor(), after.actor());
                }
                (_, Err(_)) => {}
                // Only on a public route, and only where nobody was named at all, may a selection select.
                (Err(error), Ok(_)) => assert!(public && error.kind() == ErrorKind::TenantMissing, "{error}"),
            }
            if let Ok(ctx) = &after {
                for say in &more {
                    let named = match say {
                        Say::Selected(who, _) | Say::Proven(who) => &world.names[*who as usize].0,
                        _ => continue,
                    };
                    assert_eq!(named, ctx.tenant_id(), "everything that was named is the tenant that was reached");
                }
            }
        });
    }
}
