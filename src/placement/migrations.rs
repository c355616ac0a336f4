//! [`Migrations`]: the application's migrations in every place, and what differs from them.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::stream::Stream;
use sqlx::migrate::AppliedMigration;
use tokio::sync::mpsc;

use super::applied::list;
use super::observed;
use super::places::{Provision, Worker};
use super::provisioner::Provisioner;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Placement, Tenant, TenantId, TenantStatus, TenantStore};

/// The key of the shared tables in the records.
const SHARED: &str = "*";
/// How many tenants are read from the store at once.
const PAGE: u16 = 200;

/// Runs the application's migrations in the shared tables and in the place of every tenant.
///
/// [`Provisioner::migrations`] creates it.
///
/// ```
/// use futures_util::StreamExt;
/// use tenancy::placement::{Provision, Provisioner};
///
/// async fn deploy<DB: Provision>(provisioner: &Provisioner<DB>) -> tenancy::Result<()> {
///     let mut places = provisioner.migrations().parallel(4).run();
///     while let Some(place) = places.next().await {
///         let place = place?;
///         if let Err(error) = &place.result {
///             eprintln!("{place}: {error}");
///         }
///     }
///     Ok(())
/// }
/// ```
#[must_use = "nothing runs before the stream of `run` is read"]
pub struct Migrations<DB: Provision> {
    provisioner: Provisioner<DB>,
    parallel: usize,
    canary: Option<TenantId>,
}

/// What happened in one place.
#[derive(Debug)]
#[non_exhaustive]
pub struct MigratedPlace {
    /// The tenant of the place; `None` for the shared tables.
    pub tenant: Option<Arc<Tenant>>,
    /// The versions that were applied now, or why the place was not migrated.
    pub result: Result<Vec<i64>>,
}

impl fmt::Display for MigratedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => tenant.slug().fmt(f),
            None => f.write_str("shared tables"),
        }
    }
}

/// The places of a run of migrations: a stream that yields each when it is done. [`Migrations::run`] starts it.
#[derive(Debug)]
#[must_use = "a place that fails is an item of this stream"]
pub struct MigrationRun {
    places: mpsc::Receiver<Result<MigratedPlace>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// No other place is begun.
    stopped: AtomicBool,
    /// The run came to its end.
    ended: AtomicBool,
}

impl MigrationRun {
    /// Begins no other place, for example because the program is asked to end.
    ///
    /// The stream yields the places in work when they are done, and then ends. The next run goes on from there.
    pub fn stop(&self) {
        self.state.stopped.store(true, Ordering::Release);
    }
}

impl Stream for MigrationRun {
    type Item = Result<MigratedPlace>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let place = ready!(self.places.poll_recv(context));
        // A task panicked, or the runtime stops: the run is not complete.
        if place.is_none() && !self.state.ended.swap(true, Ordering::AcqRel) {
            let text = "the run ended before every place was migrated; run it again";
            return Poll::Ready(Some(Err(Error::new(ErrorKind::Database, text))));
        }
        Poll::Ready(place)
    }
}

/// Where the tasks of a run send their places.
#[derive(Clone)]
struct Sender {
    places: mpsc::Sender<Result<MigratedPlace>>,
    state: Arc<State>,
}

impl Sender {
    async fn send(&self, place: Result<MigratedPlace>) {
        // If the stream was dropped, nobody reads the place, and `is_open` returns false.
        let _ = self.places.send(place).await;
    }

    /// Whether another place may be begun: the stream was neither stopped nor dropped.
    fn is_open(&self) -> bool {
        !self.state.stopped.load(Ordering::Acquire) && !self.places.is_closed()
    }
}

/// How a place differs from the migrations of the program.
#[derive(Debug)]
#[non_exhaustive]
pub struct Drift {
    /// The tenant of the place; `None` for the shared tables.
    pub tenant: Option<Arc<Tenant>>,
    /// The versions that were not applied.
    pub missing: Vec<i64>,
    /// The versions that were applied, and that the program does not have.
    pub unknown: Vec<i64>,
    /// The versions that were applied with another text.
    pub altered: Vec<i64>,
    /// Why the place could not be read.
    pub unreadable: Option<Error>,
}

impl Drift {
    /// Whether the place has exactly the migrations of the program.
    pub fn is_none(&self) -> bool {
        self.missing.is_empty()
            && self.unknown.is_empty()
            && self.altered.is_empty()
            && self.unreadable.is_none()
    }
}

impl<DB: Provision> Clone for Migrations<DB> {
    fn clone(&self) -> Self {
        let (provisioner, canary) = (self.provisioner.clone(), self.canary.clone());
        Self { provisioner, parallel: self.parallel, canary }
    }
}

impl<DB: Provision> fmt::Debug for Migrations<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrations")
            .field("parallel", &self.parallel)
            .field("canary", &self.canary)
            .finish_non_exhaustive()
    }
}

impl<DB: Provision> Provisioner<DB> {
    /// The migrations of every place.
    pub fn migrations(&self) -> Migrations<DB> {
        Migrations { provisioner: self.clone(), parallel: 2, canary: None }
    }
}

impl<DB: Provision> Migrations<DB> {
    /// Sets how many places are migrated at the same time. The default is 2.
    pub fn parallel(self, places: usize) -> Self {
        Self { parallel: places.max(1), ..self }
    }

    /// Migrates this tenant first. If that fails, nothing else is migrated.
    pub fn canary(self, tenant: TenantId) -> Self {
        Self { canary: Some(tenant), ..self }
    }

    /// Migrates every place, and yields each when it is done: the canary, the shared tables, then all tenants.
    ///
    /// A place that fails stops nothing else, except for the canary. A tenant that is inserted meanwhile is migrated
    /// too. A run that was interrupted is repeated from the start: places that are up to date only take a look. A
    /// place that another process is changing fails with [`ErrorKind::Retryable`].
    ///
    /// The work runs in tasks of its own, so a stream that is read slowly holds no lock of a database. If the stream is
    /// dropped or [stopped](MigrationRun::stop), the places in work are finished, and no other is begun.
    ///
    /// # Errors
    /// An item is an error if the list of tenants cannot be read, or if there is no such canary. It is the last item.
    pub fn run(self) -> MigrationRun {
        let (places, receiver) = mpsc::channel(1);
        let state = Arc::new(State::default());
        let sender = Sender { places, state: state.clone() };
        sqlx_core::rt::spawn(async move {
            if let Err(error) = self.run_all(&sender).await {
                sender.send(Err(error)).await;
            }
            sender.state.ended.store(true, Ordering::Release);
        });
        MigrationRun { places: receiver, state }
    }

    async fn run_all(self, sender: &Sender) -> Result<()> {
        let mut visited = HashSet::new();
        if let Some(id) = &self.canary {
            let canary = self.provisioner.store.by_id(id).await?.filter(|tenant| is_migrated(tenant));
            let Some(canary) = canary else {
                return Err(Error::new(ErrorKind::TenantUnknown, "the canary has no place of its own"));
            };
            let canary = self.migrate(Some(canary), &mut Worker::new()).await;
            let failed = canary.result.is_err();
            visited.insert(id.clone());
            sender.send(Ok(canary)).await;
            if failed {
                return Ok(());
            }
        }
        if sender.is_open() && DB::migrates_shared(&self.provisioner.places) {
            let shared = self.migrate(None, &mut Worker::new()).await;
            sender.send(Ok(shared)).await;
        }
        while sender.is_open() {
            // Read the list again until it has no new tenant.
            let tenants = self.tenants(&visited).await?;
            if tenants.is_empty() {
                break;
            }
            visited.extend(tenants.iter().map(|tenant| tenant.id().clone()));
            let share = tenants.len().div_ceil(self.parallel);
            let workers = tenants.chunks(share).map(|share| {
                let (this, share, sender) = (self.clone(), share.to_vec(), sender.clone());
                sqlx_core::rt::spawn(async move { this.migrate_share(share, &sender).await })
            });
            for worker in workers.collect::<Vec<_>>() {
                worker.await;
            }
        }
        Ok(())
    }

    /// Migrates the places of some tenants, one after another.
    async fn migrate_share(self, tenants: Vec<Arc<Tenant>>, sender: &Sender) {
        let mut worker = Worker::new();
        for tenant in tenants {
            if !sender.is_open() {
                return;
            }
            sender.send(Ok(self.migrate(Some(tenant), &mut worker).await)).await;
        }
    }

    /// Compares each place with the migrations of the program, and returns those that differ. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the list of tenants cannot be read.
    pub async fn drift(&self) -> Result<Vec<Drift>> {
        let mut drifts = Vec::new();
        let mut worker = Worker::new();
        if DB::migrates_shared(&self.provisioner.places) {
            drifts.push(self.compare(None, &mut worker).await);
        }
        for tenant in self.tenants(&HashSet::new()).await? {
            drifts.push(self.compare(Some(tenant), &mut worker).await);
        }
        drifts.retain(|drift| !drift.is_none());
        Ok(drifts)
    }

    /// The tenants with a place of their own that are not in `visited`.
    async fn tenants(&self, visited: &HashSet<TenantId>) -> Result<Vec<Arc<Tenant>>> {
        let (mut tenants, mut after) = (Vec::new(), None);
        loop {
            let page = self.provisioner.store.list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(tenants) };
            after = Some(last.id().clone());
            for tenant in page {
                if is_migrated(&tenant) && !visited.contains(tenant.id()) {
                    tenants.push(tenant);
                }
            }
        }
    }

    async fn migrate(&self, tenant: Option<Arc<Tenant>>, worker: &mut Worker<DB>) -> MigratedPlace {
        let (key, placement) = place_of(tenant.as_deref());
        let work = self.migrate_place(&key, &placement, worker);
        let result = observed::migration(tenant.as_deref(), work).await;
        MigratedPlace { tenant, result }
    }

    async fn migrate_place(
        &self,
        key: &str,
        placement: &Placement,
        worker: &mut Worker<DB>,
    ) -> Result<Vec<i64>> {
        let provisioner = &self.provisioner;
        DB::enter(&provisioner.places, worker, placement).await?;
        let done = async {
            let new = provisioner.migrate(worker.conn(), placement).await?;
            // A new table needs its policies. A migration is recorded after that, so a run that was interrupted
            // between the two is noticed.
            let current = new.is_empty() && provisioner.is_recorded(key).await?;
            if current {
                // A newer version of the library can have a new table of its own.
                DB::grant_own_tables(&provisioner.places, worker.conn(), placement).await?;
            } else {
                provisioner.protect(worker.conn(), placement).await?;
            }
            Ok((new, current))
        };
        let done: Result<(Vec<i64>, bool)> = done.await;
        DB::leave(worker).await;
        match &done {
            Ok((_, true)) => {}
            Ok((_, false)) => provisioner.record_applied(key).await?,
            Err(error) => {
                let recorded = provisioner.store.recorded_migrations(key).await?;
                let next = provisioner.versions().find(|version| recorded.get(version) != Some(&None));
                let cause = error.cause().map_or_else(|| error.to_string(), ToString::to_string);
                if let Some(next) = next {
                    provisioner.store.record_migrations(key, &[(next, Some(&cause))]).await?;
                }
            }
        }
        done.map(|(new, _)| new)
    }

    async fn compare(&self, tenant: Option<Arc<Tenant>>, worker: &mut Worker<DB>) -> Drift {
        let (_, placement) = place_of(tenant.as_deref());
        let mut drift =
            Drift { tenant, missing: Vec::new(), unknown: Vec::new(), altered: Vec::new(), unreadable: None };
        let found = match DB::enter(&self.provisioner.places, worker, &placement).await {
            Ok(()) => {
                let found = list(worker.conn()).await;
                DB::leave(worker).await;
                found
            }
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => {
                let known: BTreeSet<i64> = self.provisioner.versions().collect();
                drift.missing =
                    known.iter().copied().filter(|v| !found.iter().any(|one| one.version == *v)).collect();
                drift.unknown = found.iter().map(|one| one.version).filter(|v| !known.contains(v)).collect();
                let altered = |one: &&AppliedMigration| {
                    let known = self.provisioner.migrator.iter().find(|known| known.version == one.version);
                    known.is_some_and(|known| known.checksum != one.checksum)
                };
                drift.altered = found.iter().filter(altered).map(|one| one.version).collect();
            }
            Err(error) => drift.unreadable = Some(error),
        }
        drift
    }
}

/// Whether a tenant has a place that is migrated here. A new tenant is migrated by its provisioning.
fn is_migrated(tenant: &Tenant) -> bool {
    *tenant.placement() != Placement::Shared && tenant.status() != TenantStatus::Provisioning
}

/// The key of a place in the records, and its placement.
fn place_of(tenant: Option<&Tenant>) -> (String, Placement) {
    match tenant {
        Some(tenant) => (tenant.id().to_string(), tenant.placement().clone()),
        None => (SHARED.to_owned(), Placement::Shared),
    }
}
