//! The spans, log lines and metrics of exports, imports, restores, deletions and moves.

use std::time::Duration;

use tracing::instrument::Instrument;
use tracing::{Span, field, info, info_span, warn};

use super::metrics;
use super::move_step::MoveStep;
use crate::error::Result;
use crate::tenant::{Placement, TenantId};

/// The label of what succeeded. What fails has the code of its error.
const DONE: &str = "done";

/// What is done with the data of a tenant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Export,
    Import,
    Restore,
    Delete,
    Move,
    RollBack,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Import => "import",
            Self::Restore => "restore",
            Self::Delete => "delete",
            Self::Move => "move",
            Self::RollBack => "roll-back",
        }
    }
}

/// Does it in a span of its own, and logs and counts how it ended.
pub(super) async fn operation<T>(
    operation: Operation,
    tenant: &TenantId,
    target: Option<&Placement>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let name = operation.name();
    let target = target.map(Placement::class);
    let span = info_span!("operation", name, tenant.id = %tenant, target, outcome = field::Empty);
    let result = ended(&span, work.instrument(span.clone()).await);
    metrics::operation(name, code(&result));
    result
}

/// Runs a step of a move in a span of its own, and logs and counts how it ended.
pub(super) async fn step<T>(step: MoveStep, work: impl Future<Output = Result<T>>) -> Result<T> {
    let span = info_span!("step", name = step.name(), outcome = field::Empty);
    let result = ended(&span, work.instrument(span.clone()).await);
    metrics::move_step(step.name(), code(&result));
    result
}

/// Records for how long the tenant was refused.
pub(super) fn refused_for(milliseconds: u64) {
    info!(milliseconds, "the tenant was refused for this long, and is served from its new place");
    metrics::refused_for(Duration::from_millis(milliseconds));
}

fn ended<T>(span: &Span, result: Result<T>) -> Result<T> {
    let outcome = code(&result);
    span.record("outcome", outcome);
    span.in_scope(|| match &result {
        Ok(_) => info!(outcome, "done"),
        Err(error) => warn!(outcome, %error, "failed"),
    });
    result
}

fn code<T>(result: &Result<T>) -> &'static str {
    result.as_ref().err().map_or(DONE, |error| error.kind().code())
}
