//! [`Bulkhead`]: how many connections one tenant uses at a time, so that it leaves the others theirs.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics;
use super::waiting::Waiting;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// How many connections one tenant uses at a time.
///
/// It is asked before the pool: a tenant that uses its whole share waits for its own connections, and no other tenant
/// waits behind it. It keeps a tenant only while that tenant uses a connection or waits for one.
pub(crate) struct Bulkhead {
    /// The share of a tenant whose plan has none.
    max: Option<u32>,
    /// How long a statement waits for the share of its tenant.
    wait: Duration,
    shares: Arc<Shares>,
}

type Shares = Mutex<HashMap<TenantId, Share>>;

/// The share of one tenant.
struct Share {
    permits: Arc<Semaphore>,
    /// How many permits there are, in use or free. Above `limit` after the limit was lowered.
    size: usize,
    limit: usize,
    /// How many statements use a permit or wait for one.
    users: usize,
}

impl Bulkhead {
    pub(crate) fn new(max: Option<u32>, wait: Duration) -> Self {
        Self { max, wait, shares: Arc::default() }
    }

    /// Waits for a part of the tenant's share; `None` if neither the plan nor the default has a limit.
    ///
    /// # Errors
    /// [`ErrorKind::TenantConnectionLimit`] if none becomes free in time.
    pub(crate) async fn enter(
        &self,
        tenant: &TenantId,
        of_plan: Option<u32>,
        waiting: Waiting,
    ) -> Result<Option<BulkheadPermit>> {
        let Some(limit) = of_plan.or(self.max) else { return Ok(None) };
        let user = User::enter(&self.shares, tenant, limit as usize);
        let permit = sqlx_core::rt::timeout(self.wait, user.permits.clone().acquire_owned());
        let Ok(permit) = metrics::waiting(waiting, || false, pin!(permit)).await else {
            metrics::ran_out(waiting, ErrorKind::TenantConnectionLimit);
            return Err(Error::new(
                ErrorKind::TenantConnectionLimit,
                format!(
                    "the tenant uses all {limit} database connections that it may use at a time, and none became free \
                     within {:?}; try again later, or send fewer requests at once",
                    self.wait
                ),
            ));
        };
        let permit = permit.expect("these semaphores are never closed");
        Ok(Some(BulkheadPermit { permit: Some(permit), user }))
    }
}

/// One statement of a tenant that uses a connection or waits for one.
struct User {
    shares: Arc<Shares>,
    tenant: TenantId,
    permits: Arc<Semaphore>,
}

impl User {
    /// Adds the tenant if it is not there. A share has the limit that was asked for last: a plan can change.
    fn enter(shares: &Arc<Shares>, tenant: &TenantId, limit: usize) -> Self {
        let mut all = lock(shares);
        let share = all.entry(tenant.clone()).or_insert_with(|| Share {
            permits: Arc::new(Semaphore::new(limit)),
            size: limit,
            limit,
            users: 0,
        });
        share.users += 1;
        share.resize(limit);
        Self { shares: shares.clone(), tenant: tenant.clone(), permits: share.permits.clone() }
    }
}

impl Share {
    fn resize(&mut self, limit: usize) {
        if limit > self.size {
            self.permits.add_permits(limit - self.size);
            self.size = limit;
        } else {
            // The permits in use are removed when they come back.
            self.size -= self.permits.forget_permits(self.size - limit);
        }
        self.limit = limit;
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut all = lock(&self.shares);
        if let Some(share) = all.get_mut(&self.tenant) {
            share.users -= 1;
            if share.users == 0 {
                all.remove(&self.tenant);
            }
        }
    }
}

/// The part of a tenant's share that one connection holds while it is in use.
pub(crate) struct BulkheadPermit {
    permit: Option<OwnedSemaphorePermit>,
    user: User,
}

impl Drop for BulkheadPermit {
    fn drop(&mut self) {
        let mut all = lock(&self.user.shares);
        let Some(permit) = self.permit.take() else { return };
        match all.get_mut(&self.user.tenant) {
            Some(share) if share.size > share.limit => {
                permit.forget();
                share.size -= 1;
            }
            _ => drop(permit),
        }
    }
}

fn lock(shares: &Shares) -> MutexGuard<'_, HashMap<TenantId, Share>> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::route::Route;

    const SOON: Duration = Duration::from_millis(5);

    fn share() -> Waiting {
        Waiting::for_shared_pool(&Route::default()).for_share()
    }

    async fn refused(bulkhead: &Bulkhead, tenant: &TenantId, of_plan: Option<u32>) -> bool {
        match bulkhead.enter(tenant, of_plan, share()).await {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TenantConnectionLimit);
                true
            }
        }
    }

    #[tokio::test]
    async fn a_tenant_gets_its_share_and_the_other_one_its_own() {
        let bulkhead = Bulkhead::new(Some(2), SOON);
        let (acme, globex) = (TenantId::random(), TenantId::random());
        let held = (
            bulkhead.enter(&acme, None, share()).await.unwrap(),
            bulkhead.enter(&acme, None, share()).await.unwrap(),
        );
        assert!(refused(&bulkhead, &acme, None).await);
        assert!(!refused(&bulkhead, &globex, None).await);
        drop(held.0);
        assert!(!refused(&bulkhead, &acme, None).await);
        drop(held.1);
    }

    #[tokio::test]
    async fn without_a_limit_nothing_is_counted_and_the_plan_comes_before_the_default() {
        let acme = TenantId::random();
        let unlimited = Bulkhead::new(None, SOON);
        assert!(unlimited.enter(&acme, None, share()).await.unwrap().is_none());
        let held = unlimited.enter(&acme, Some(1), share()).await.unwrap();
        assert!(held.is_some() && refused(&unlimited, &acme, Some(1)).await);
        let default = Bulkhead::new(Some(1), SOON);
        let held = (
            default.enter(&acme, Some(2), share()).await.unwrap(),
            default.enter(&acme, Some(2), share()).await,
        );
        assert!(held.0.is_some() && held.1.is_ok());
    }

    #[tokio::test]
    async fn a_plan_that_changes_while_connections_are_in_use_counts_at_once() {
        let bulkhead = Bulkhead::new(None, SOON);
        let acme = TenantId::random();
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(bulkhead.enter(&acme, Some(3), share()).await.unwrap());
        }
        assert!(refused(&bulkhead, &acme, Some(2)).await, "three are in use, and two are allowed");
        held.pop();
        assert!(refused(&bulkhead, &acme, Some(2)).await, "two are in use, and two are allowed");
        held.pop();
        assert!(!refused(&bulkhead, &acme, Some(2)).await);
        held.push(bulkhead.enter(&acme, Some(4), share()).await.unwrap());
        held.push(bulkhead.enter(&acme, Some(4), share()).await.unwrap());
        held.push(bulkhead.enter(&acme, Some(4), share()).await.unwrap());
        assert!(refused(&bulkhead, &acme, Some(4)).await);
    }

    #[tokio::test]
    async fn a_tenant_is_kept_only_while_it_is_in_use() {
        let bulkhead = Bulkhead::new(Some(1), Duration::from_mins(1));
        for _ in 0..100 {
            let tenant = TenantId::random();
            let held = bulkhead.enter(&tenant, None, share()).await.unwrap();
            let mut waits = Box::pin(bulkhead.enter(&tenant, None, share()));
            assert!(futures_util::poll!(&mut waits).is_pending());
            drop(waits);
            assert_eq!(lock(&bulkhead.shares).len(), 1);
            drop(held);
            assert_eq!(lock(&bulkhead.shares).len(), 0);
        }
    }
}
