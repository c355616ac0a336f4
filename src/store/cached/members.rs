use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use moka::future::Cache;

use crate::context::Actor;
use crate::error::{Error, Result};
use crate::resolve::Membership;
use crate::tenant::TenantId;

/// Members in front of which the answers are kept for a time.
///
/// - However many ask about one person at once, your members are asked once.
/// - That somebody is no member is remembered for five seconds at the most; that it could not be known, never.
///
/// # Security
/// Somebody who was removed by another process is still let in for the time given to [`new`](Self::new). Whoever
/// removes one calls [`changed`](Self::changed), here and on the other nodes, to have it seen at once.
///
/// ```
/// use std::time::Duration;
/// use tenancy::resolve::{Membership, Resolver};
/// use tenancy::store::CachedMembership;
///
/// # fn wire(resolver: Resolver, members: impl Membership + 'static) -> (Resolver, CachedMembership) {
/// let members = CachedMembership::new(members, Duration::from_secs(30));
/// let resolver = resolver.members(members.clone()); // keep one, to say what has changed
/// # (resolver, members) }
/// ```
#[derive(Clone)]
pub struct CachedMembership(Arc<Inner>);

struct Inner {
    members: Box<dyn Membership>,
    known: Cache<Question, ()>,
    strangers: Cache<Question, ()>,
    /// Counts the changes of a tenant's members; tenants share the places of a fixed table.
    epochs: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// An answer counts as long as the epoch in which it was asked for: one that is on its way while the members change is
/// not found afterwards.
type Question = (TenantId, Actor, u64);

const CAPACITY: u64 = 100_000;
const STRANGERS: u64 = 10_000;
const STRANGERS_FOR: Duration = Duration::from_secs(5);
const EPOCHS: usize = 1024;

impl CachedMembership {
    /// A cache in front of `members`, which may be as stale as this. 100,000 people are kept.
    ///
    /// # Panics
    /// If the time is longer than 1000 years.
    pub fn new(members: impl Membership + 'static, staleness: Duration) -> Self {
        Self(Arc::new(Inner {
            members: Box::new(members),
            known: Cache::builder().max_capacity(CAPACITY).time_to_live(staleness).build(),
            strangers: Cache::builder()
                .max_capacity(STRANGERS)
                .time_to_live(staleness.min(STRANGERS_FOR))
                .build(),
            epochs: std::iter::repeat_with(AtomicU64::default).take(EPOCHS).collect(),
            hasher: RandomState::new(),
        }))
    }

    /// Somebody joined this tenant or left it: what was known of its members counts no more.
    pub fn changed(&self, tenant: &TenantId) {
        self.0.epoch(tenant).fetch_add(1, Ordering::SeqCst);
    }
}

impl Inner {
    #[expect(clippy::cast_possible_truncation, reason = "a place in the table, whichever")]
    fn epoch(&self, tenant: &TenantId) -> &AtomicU64 {
        &self.epochs[self.hasher.hash_one(tenant) as usize % EPOCHS]
    }

    fn question(&self, tenant: &TenantId, actor: &Actor) -> Question {
        (tenant.clone(), actor.clone(), self.epoch(tenant).load(Ordering::SeqCst))
    }
}

/// Why nothing was kept of an answer.
enum NotKept {
    Stranger,
    Failed(Error),
}

#[async_trait]
impl Membership for CachedMembership {
    async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> Result<bool> {
        let Inner { members, known, strangers, .. } = &*self.0;
        let question = self.0.question(tenant, actor);
        if strangers.contains_key(&question) {
            return Ok(false);
        }
        let asked = async {
            match members.is_member(tenant, actor).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(NotKept::Stranger),
                Err(error) => Err(NotKept::Failed(error)),
            }
        };
        match known.try_get_with_by_ref(&question, asked).await {
            Ok(()) => Ok(true),
            Err(not_kept) => match &*not_kept {
                NotKept::Stranger => {
                    strangers.insert(question, ()).await;
                    Ok(false)
                }
                NotKept::Failed(error) => Err(Error::new(
                    error.kind(),
                    "it cannot be known just now who the members of the tenant are",
                )
                .with_source(error.to_string())),
            },
        }
    }

    fn peek(&self, tenant: &TenantId, actor: &Actor) -> Option<bool> {
        let question = self.0.question(tenant, actor);
        if self.0.known.get(&question).now_or_never().flatten().is_some() {
            return Some(true);
        }
        self.0.strangers.contains_key(&question).then_some(false)
    }
}

impl fmt::Debug for CachedMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedMembers").field("members", &self.0.members).finish_non_exhaustive()
    }
}
