//! [`CachedMembership`]: a cache in front of the application's [`Membership`].

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
use crate::store::invalidation::Invalidation;
use crate::tenant::TenantId;

/// Caches the results of a [`Membership`].
///
/// - Concurrent checks of the same actor and tenant make one call.
/// - A negative result is cached for five seconds at most. An error is never cached.
///
/// # Security
/// A member whom another process removes keeps access for up to the `staleness` given to [`new`](Self::new). To apply
/// a removal at once, publish [`Invalidation::Members`] to the `InvalidationListener` of every node.
///
/// ```
/// use std::time::Duration;
/// use tenancy::resolve::{Membership, Resolver};
/// use tenancy::store::CachedMembership;
///
/// # fn wire(resolver: Resolver, members: impl Membership + 'static) -> (Resolver, CachedMembership) {
/// let members = CachedMembership::new(members, Duration::from_secs(30));
/// let resolver = resolver.members(members.clone()); // keep a clone for `members.changed(..)`
/// # (resolver, members) }
/// ```
#[derive(Clone)]
pub struct CachedMembership(Arc<Inner>);

struct Inner {
    source: Box<dyn Membership>,
    members: Cache<MemberKey, ()>,
    non_members: Cache<MemberKey, ()>,
    /// Counts the changes of each tenant's members. Tenants share the entries of a table of fixed size.
    epochs: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// The epoch is that of the lookup's start: a result that arrives after a change is stored under a key that is never
/// read again.
type MemberKey = (TenantId, Actor, u64);

const CAPACITY: u64 = 100_000;
const NEGATIVE_CAPACITY: u64 = 10_000;
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
const EPOCHS: usize = 1024;

impl CachedMembership {
    /// A cache in front of `members`, whose entries are used for up to `staleness`. It holds 100,000 members.
    ///
    /// # Panics
    /// If `staleness` is longer than 1000 years.
    pub fn new(members: impl Membership + 'static, staleness: Duration) -> Self {
        Self(Arc::new(Inner {
            source: Box::new(members),
            members: Cache::builder().max_capacity(CAPACITY).time_to_live(staleness).build(),
            non_members: Cache::builder()
                .max_capacity(NEGATIVE_CAPACITY)
                .time_to_live(staleness.min(NEGATIVE_TTL))
                .build(),
            epochs: std::iter::repeat_with(AtomicU64::default).take(EPOCHS).collect(),
            hasher: RandomState::new(),
        }))
    }

    /// Invalidates what is cached about this tenant's members. Call it when a member joins or leaves.
    pub fn changed(&self, tenant: &TenantId) {
        self.0.epoch(tenant).fetch_add(1, Ordering::SeqCst);
    }

    /// Invalidates what is cached about the members that another process changed. An `InvalidationListener` calls it.
    pub fn invalidate(&self, change: &Invalidation) {
        match change {
            Invalidation::Members(tenant) => self.changed(tenant),
            Invalidation::All => {
                for epoch in &self.0.epochs {
                    epoch.fetch_add(1, Ordering::SeqCst);
                }
            }
            _ => {}
        }
    }
}

impl Inner {
    #[expect(clippy::cast_possible_truncation, reason = "any entry of the table will do")]
    fn epoch(&self, tenant: &TenantId) -> &AtomicU64 {
        &self.epochs[self.hasher.hash_one(tenant) as usize % EPOCHS]
    }

    fn key(&self, tenant: &TenantId, actor: &Actor) -> MemberKey {
        (tenant.clone(), actor.clone(), self.epoch(tenant).load(Ordering::SeqCst))
    }
}

/// Why a lookup adds nothing to the cache of members.
enum NotCached {
    NotAMember,
    Failed(Error),
}

#[async_trait]
impl Membership for CachedMembership {
    async fn is_member(&self, tenant: &TenantId, actor: &Actor) -> Result<bool> {
        let Inner { source, members, non_members, .. } = &*self.0;
        let key = self.0.key(tenant, actor);
        if non_members.contains_key(&key) {
            return Ok(false);
        }
        let lookup = async {
            match source.is_member(tenant, actor).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(NotCached::NotAMember),
                Err(error) => Err(NotCached::Failed(error)),
            }
        };
        match members.try_get_with_by_ref(&key, lookup).await {
            Ok(()) => Ok(true),
            Err(not_cached) => match &*not_cached {
                NotCached::NotAMember => {
                    non_members.insert(key, ()).await;
                    Ok(false)
                }
                NotCached::Failed(error) => {
                    Err(Error::new(error.kind(), "the members of the tenant cannot be read just now")
                        .with_source(error.to_string()))
                }
            },
        }
    }

    fn peek(&self, tenant: &TenantId, actor: &Actor) -> Option<bool> {
        let key = self.0.key(tenant, actor);
        if self.0.members.get(&key).now_or_never().flatten().is_some() {
            return Some(true);
        }
        self.0.non_members.contains_key(&key).then_some(false)
    }
}

impl fmt::Debug for CachedMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedMembership").field("members", &self.0.source).finish_non_exhaustive()
    }
}
