//! The places of tenants: how their migrations differ from the program's, and a run of migrations with its progress.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use tenancy::Result;
use tenancy::placement::{Drift, MigratedPlace, Provisioner};
use tenancy::tenant::{Placement, Tenant, TenantStatus, TenantStore};

use crate::demo::place_of;
use crate::{App, AppDb};

/// A run of migrations, of which there is one at a time in this process.
#[derive(Debug, Clone, Default)]
pub(super) struct Migration(Arc<Mutex<Progress>>);

#[derive(Debug, Default, Serialize)]
struct Progress {
    state: State,
    /// How many places there were at the start.
    total: usize,
    places: Vec<Value>,
    /// Why the run ended early.
    error: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    #[default]
    None,
    Running,
    Done,
    /// A place was not migrated, or the run ended early.
    Failed,
}

impl Migration {
    pub(super) fn progress(&self) -> Value {
        json!(&*self.lock())
    }

    /// Begins a run, unless there is one.
    fn begin(&self, total: usize) -> Option<Ending> {
        let mut progress = self.lock();
        if progress.state == State::Running {
            return None;
        }
        *progress = Progress { state: State::Running, total, ..Progress::default() };
        Some(Ending(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a run when it is dropped, also after a panic.
struct Ending(Migration);

impl Ending {
    fn add(&self, place: Result<MigratedPlace>) {
        let mut progress = self.0.lock();
        match place {
            Ok(place) => progress.places.push(migrated(&place)),
            Err(error) => progress.error = Some(error.to_string()),
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut progress = self.0.lock();
        if progress.places.len() < progress.total && progress.error.is_none() {
            progress.error = Some("the run ended before every place was migrated; run it again".to_owned());
        }
        let failed =
            progress.error.is_some() || progress.places.iter().any(|place| !place["error"].is_null());
        progress.state = if failed { State::Failed } else { State::Done };
    }
}

impl<DB: AppDb> App<DB> {
    /// Returns every place, with the migrations that it lacks or has too many.
    pub(super) async fn places(&self) -> Result<Value> {
        let drifts = self.operator.provisioner.migrations().drift().await?;
        let own = self.tenants_with_places().await?;
        let own = own.iter().map(|tenant| compared::<DB>(Some(tenant), &drifts));
        Ok(std::iter::once(compared::<DB>(None, &drifts)).chain(own).collect())
    }

    async fn tenants_with_places(&self) -> Result<Vec<Arc<Tenant>>> {
        let (mut tenants, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list(after.as_ref(), 200).await?;
            let Some(last) = page.last() else { return Ok(tenants) };
            after = Some(last.id().clone());
            tenants.extend(page.into_iter().filter(|tenant| *tenant.placement() != Placement::Shared));
        }
    }

    /// Starts the migrations of every place, unless they run already, and returns the progress.
    pub(super) async fn migrate_places(&self) -> Result<Value> {
        // A tenant that is being created is migrated by its provisioning. The shared tables are a place too.
        let own = self.tenants_with_places().await?.into_iter();
        let total = 1 + own.filter(|tenant| tenant.status() != TenantStatus::Provisioning).count();
        if let Some(ending) = self.operator.migration.begin(total) {
            tokio::spawn(run(self.operator.provisioner.clone(), ending));
        }
        Ok(self.operator.migration.progress())
    }
}

async fn run<DB: AppDb>(provisioner: Provisioner<DB>, ending: Ending) {
    let mut places = pin!(provisioner.migrations().run());
    while let Some(place) = places.next().await {
        ending.add(place);
    }
}

fn migrated(place: &MigratedPlace) -> Value {
    let (versions, error) = match &place.result {
        Ok(versions) => (Some(versions), None),
        Err(error) => (None, Some(error.to_string())),
    };
    json!({ "place": name(place.tenant.as_deref()), "versions": versions, "error": error })
}

/// The state of a place. A place without a difference is current.
fn compared<DB: AppDb>(tenant: Option<&Arc<Tenant>>, drifts: &[Drift]) -> Value {
    let id = tenant.map(|tenant| tenant.id());
    let drift = drifts.iter().find(|drift| drift.tenant.as_ref().map(|tenant| tenant.id()) == id);
    let state = match (tenant, drift) {
        (Some(tenant), _) if tenant.status() == TenantStatus::Provisioning => "provisioning",
        (_, None) => "current",
        (_, Some(drift)) if drift.unreadable.is_some() => "unreadable",
        (_, Some(_)) => "differs",
    };
    let versions = |of: fn(&Drift) -> &Vec<i64>| drift.map(of).cloned().unwrap_or_default();
    json!({
        "place": name(tenant.map(Arc::as_ref)), "placement": place_of::<DB>(tenant.map_or(&Placement::Shared, |tenant| tenant.placement())),
        "state": state,
        "missing": versions(|drift| &drift.missing),
        "unknown": versions(|drift| &drift.unknown),
        "altered": versions(|drift| &drift.altered),
        "error": drift.and_then(|drift| drift.unreadable.as_ref()).map(ToString::to_string),
    })
}

fn name(tenant: Option<&Tenant>) -> &str {
    tenant.map_or("shared tables", Tenant::name)
}
