//! The `tracing` span of a [`TenantContext`].

use std::fmt;

use tracing::instrument::{Instrument, Instrumented};
use tracing::{Span, info_span};

use super::TenantContext;

impl TenantContext {
    /// Creates the `tracing` span of the request or job, named `tenant`, with `tenant.id`, `request_id` and `actor`.
    ///
    /// The span contains ids only: no name, no plan and no secret.
    pub fn span(&self) -> Span {
        // Both are formatted only when a subscriber records the span.
        let request_id = fmt::from_fn(|f| write!(f, "{}", self.request_id()));
        // A subject from a custom source can contain a line break, which would forge a log line.
        let actor = fmt::from_fn(|f| write!(f, "{}", self.actor().to_string().escape_debug()));
        info_span!("tenant", tenant.id = %self.tenant_id(), %request_id, %actor)
    }

    /// Runs the future in the [span](Self::span) of this context. A spawned task does not inherit its caller's span.
    ///
    /// The span affects log lines only, not access to data. A `Scope` borrows its context: move a clone of the
    /// context into the task and open a scope there.
    ///
    /// ```
    /// # async fn reindex(_: &tenancy::TenantContext) {}
    /// # async fn handler(ctx: tenancy::TenantContext) {
    /// let task_ctx = ctx.clone();
    /// tokio::spawn(ctx.in_span(async move { reindex(&task_ctx).await }));
    /// # }
    /// ```
    pub fn in_span<F: Future>(&self, future: F) -> Instrumented<F> {
        future.instrument(self.span())
    }
}
