//! Moves of tenants to another place: the plan, the progress of those that run, and what to do with those that stopped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenancy::operations::{Move, MoveProgress, MoveReport, MoveStep, UnfinishedMove};
use tenancy::tenant::{Placement, Tenant, TenantId, TenantStore};
use tenancy::{Error, ErrorKind, Result};
use url::form_urlencoded;

use super::actor;
use crate::demo::place_of;
use crate::{App, AppDb};

/// This process is the only one, and its cache is notified. With several, use the time to live of their caches.
const GRACE: Duration = Duration::from_millis(500);

/// The moves that this process began, by the tenant: those that run, and how the last one ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Moves(Arc<Mutex<BTreeMap<TenantId, Progress>>>);

#[derive(Debug, Clone)]
struct Progress {
    source: Placement,
    target: Placement,
    state: State,
    at: Option<MoveProgress>,
    report: Option<MoveReport>,
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Running,
    Done,
    /// It did not begin, or was interrupted. If it is unfinished, it can go on.
    Stopped,
}

/// The body of a request that begins a move: `{"to": "shared"}`, `schema` or `database`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveTo {
    to: String,
}

impl Moves {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantId, Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a move of a tenant runs, unless one does.
    fn begin(&self, tenant: &TenantId, source: Placement, target: Placement) -> Option<Ending> {
        let mut moves = self.lock();
        if moves.get(tenant).is_some_and(|progress| progress.state == State::Running) {
            return None;
        }
        let progress =
            Progress { source, target, state: State::Running, at: None, report: None, error: None };
        moves.insert(tenant.clone(), progress);
        Some(Ending { moves: self.clone(), tenant: tenant.clone() })
    }
}

/// Records how a move ends when it is dropped, also after a panic.
struct Ending {
    moves: Moves,
    tenant: TenantId,
}

impl Ending {
    fn change(&self, change: impl FnOnce(&mut Progress)) {
        if let Some(progress) = self.moves.lock().get_mut(&self.tenant) {
            change(progress);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.change(|progress| {
            progress.state = if progress.report.is_some() { State::Done } else { State::Stopped };
        });
    }
}

async fn run<DB: AppDb>(movement: Move<DB>, ending: Ending) {
    let moved = movement.run(|at| ending.change(|progress| progress.at = Some(at.clone()))).await;
    ending.change(|progress| match moved {
        Ok(report) => progress.report = Some(report),
        Err(error) => {
            tracing::error!(tenant = %ending.tenant, %error, "a move stopped");
            progress.error = Some(error.to_string());
        }
    });
}

impl<DB: AppDb> App<DB> {
    /// Returns what would be moved, and what forbids it: `?to=database`. Nothing is changed.
    pub(super) async fn plan_move(&self, id: &str, query: Option<&str>) -> Result<Value> {
        let to = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "to");
        let tenant = self.known(id).await?;
        let target = target::<DB>(&tenant, to.as_ref().map_or("", |(_, to)| to))?;
        let plan = self.movement(tenant.id(), target).plan().await?;
        let tables = plan.tables.iter();
        let tables: Value =
            tables.map(|one| json!({ "name": one.name, "rows": one.rows, "bytes": one.bytes })).collect();
        Ok(json!({
            "from": place_of::<DB>(&plan.source), "to": place_of::<DB>(&plan.target),
            "tables": tables, "notes": plan.notes, "refused": plan.refused,
        }))
    }

    /// Begins to move a tenant, and returns the moves.
    pub(super) async fn begin_move(&self, id: &str, body: MoveTo) -> Result<Value> {
        let tenant = self.known(id).await?;
        let target = target::<DB>(&tenant, &body.to)?;
        if let Some(other) = self.unfinished(tenant.id()).await?.filter(|other| other.target != target) {
            let text = format!(
                "a move to the {} is not finished: go on with it, or roll it back",
                place_of::<DB>(&other.target)
            );
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        self.start_move(&tenant, tenant.placement().clone(), target);
        self.moves().await
    }

    /// Goes on with a move that was interrupted, and returns the moves.
    pub(super) async fn go_on_with_move(&self, id: &str) -> Result<Value> {
        let tenant = self.known(id).await?;
        let unfinished = self.unfinished(tenant.id()).await?.ok_or_else(no_move)?;
        self.start_move(&tenant, unfinished.source, unfinished.target);
        self.moves().await
    }

    /// Undoes a move that was interrupted before its switch, and returns the moves.
    pub(super) async fn roll_back_move(&self, id: &str) -> Result<Value> {
        let tenant = self.known(id).await?;
        let unfinished = self.unfinished(tenant.id()).await?.ok_or_else(no_move)?;
        self.movement(tenant.id(), unfinished.target).roll_back().await?;
        self.operator.moves.lock().remove(tenant.id());
        self.moves().await
    }

    /// Returns the moves that run, that stopped, and that this process finished.
    pub(super) async fn moves(&self) -> Result<Value> {
        let mut moves = self.operator.moves.lock().clone();
        let mut unfinished = BTreeMap::new();
        for one in self.operator.provisioner.unfinished_moves().await? {
            // A process that ended left it.
            moves.entry(one.tenant.clone()).or_insert_with(|| Progress {
                source: one.source.clone(),
                target: one.target.clone(),
                state: State::Stopped,
                at: None,
                report: None,
                error: None,
            });
            unfinished.insert(one.tenant.clone(), one);
        }
        let mut shown = Vec::new();
        for (id, progress) in &moves {
            let Some(tenant) = self.store.by_id(id).await? else { continue };
            shown.push(shown_move::<DB>(&tenant, progress, unfinished.get(id)));
        }
        Ok(Value::Array(shown))
    }

    /// Runs a move in the background, unless one of this tenant runs.
    fn start_move(&self, tenant: &Tenant, source: Placement, target: Placement) {
        if let Some(ending) = self.operator.moves.begin(tenant.id(), source, target.clone()) {
            tokio::spawn(run(self.movement(tenant.id(), target), ending));
        }
    }

    fn movement(&self, tenant: &TenantId, target: Placement) -> Move<DB> {
        self.operator.provisioner.move_to(tenant, target, &actor()).grace(GRACE)
    }

    async fn unfinished(&self, tenant: &TenantId) -> Result<Option<UnfinishedMove>> {
        let unfinished = self.operator.provisioner.unfinished_moves().await?;
        Ok(unfinished.into_iter().find(|one| one.tenant == *tenant))
    }
}

fn shown_move<DB: AppDb>(tenant: &Tenant, progress: &Progress, unfinished: Option<&UnfinishedMove>) -> Value {
    let at = progress.at.as_ref();
    let step = at.map(|at| at.step).or(unfinished.map(|one| one.step));
    let stopped = unfinished.filter(|_| progress.state == State::Stopped);
    json!({
        "id": tenant.id(), "slug": tenant.slug(), "name": tenant.name(),
        "from": place_of::<DB>(&progress.source), "to": place_of::<DB>(&progress.target),
        "state": progress.state, "step": step.map(MoveStep::name),
        "table": at.and_then(|at| at.table.as_deref()), "rows": at.map(|at| at.rows),
        "error": unfinished.and_then(|one| one.error.as_deref()).or(progress.error.as_deref()),
        "refused_ms": progress.report.as_ref().map(|report| report.fenced_ms),
        "can_go_on": stopped.is_some(),
        "can_roll_back": stopped.is_some_and(|one| one.step < MoveStep::CleanUp),
    })
}

/// The places that a tenant can be moved to.
pub(super) fn targets<DB: AppDb>(tenant: &Tenant) -> Value {
    let places = DB::places_of(tenant.id()).into_iter();
    let others = places.filter(|place| kind(place) != kind(tenant.placement()));
    others.map(|place| json!({ "to": kind(&place), "placement": place_of::<DB>(&place) })).collect()
}

fn target<DB: AppDb>(tenant: &Tenant, to: &str) -> Result<Placement> {
    let mut places = DB::places_of(tenant.id()).into_iter();
    places.find(|place| kind(place) == to).ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "a tenant cannot be moved to such a place; see `targets`")
    })
}

fn kind(placement: &Placement) -> &'static str {
    match placement {
        Placement::Shared => "shared",
        Placement::Schema { .. } => "schema",
        Placement::Database { .. } => "database",
        _ => "other",
    }
}

fn no_move() -> Error {
    Error::new(ErrorKind::NotFound, "no move of this tenant is unfinished")
}
