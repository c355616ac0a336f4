//! The spans, log lines and metrics of provisioning and migrations.

use tracing::instrument::Instrument;
use tracing::{Span, debug, field, info, info_span, warn};

use super::metrics;
use super::steps::Step;
use crate::error::{Error, Result};
use crate::tenant::Tenant;

/// The label of a step that succeeded. A step that fails has the code of its error.
const DONE: &str = "done";
const FAILED: &str = "a step of provisioning failed";

/// The span of a tenant that is provisioned. Each step is a span in it.
pub(super) fn provisioning(tenant: &Tenant) -> Span {
    info_span!("provisioning", tenant.id = %tenant.id(), placement = tenant.placement().class())
}

/// Runs a step in a span of its own, and logs and counts how it ended.
pub(super) async fn step<T>(step: Step, work: impl Future<Output = Result<T>>) -> Result<T> {
    let span = info_span!("step", name = step.name(), outcome = field::Empty);
    let result = work.instrument(span.clone()).await;
    let outcome = result.as_ref().err().map_or(DONE, code);
    span.record("outcome", outcome);
    span.in_scope(|| match &result {
        Ok(_) => info!(outcome, "a step of provisioning is done"),
        Err(error) => warn!(outcome, %error, "{FAILED}"),
    });
    metrics::step(step.name(), outcome);
    result
}

/// Logs and counts a provisioning that could not begin, as a failure of its first step.
pub(super) fn begun<T>(result: Result<T>) -> Result<T> {
    result.inspect_err(|error| {
        warn!(outcome = code(error), %error, "{FAILED}");
        metrics::step(Step::Create.name(), code(error));
    })
}

/// Migrates a place in a span of its own, and logs and counts how that ended. The shared tables have no tenant.
pub(super) async fn migration(
    tenant: Option<&Tenant>,
    work: impl Future<Output = Result<Vec<i64>>>,
) -> Result<Vec<i64>> {
    let placement = tenant.map_or("shared", |tenant| tenant.placement().class());
    let id = tenant.map(|tenant| field::display(tenant.id()));
    // The run has tasks of its own. A place is not a part of the request that began the run.
    let span = info_span!(parent: None, "migration", tenant.id = id, placement, outcome = field::Empty);
    let result = work.instrument(span.clone()).await;
    let outcome = match &result {
        Ok(versions) if versions.is_empty() => "current",
        Ok(_) => "migrated",
        Err(error) => code(error),
    };
    span.record("outcome", outcome);
    span.in_scope(|| match &result {
        Ok(versions) if versions.is_empty() => debug!(outcome, "a place has every migration already"),
        Ok(versions) => info!(outcome, ?versions, "a place was migrated"),
        Err(error) => warn!(outcome, %error, "a place was not migrated"),
    });
    metrics::migrated(outcome);
    result
}

fn code(error: &Error) -> &'static str {
    error.kind().code()
}
