use std::fmt;

use tracing::instrument::{Instrument, Instrumented};
use tracing::{Span, info_span};

use super::TenantContext;

impl TenantContext {
    /// The tracing span of the request or job, named `tenant`: its fields are `tenant.id`, `request_id` and `actor`.
    ///
    /// Ids only: no name, no plan and no secret is in it.
    pub fn span(&self) -> Span {
        // Both are made when somebody writes the log, and not before.
        let request_id = fmt::from_fn(|f| write!(f, "{}", self.request_id()));
        // A subject from a source of your own could hold a line break, and forge a line of the log.
        let actor = fmt::from_fn(|f| write!(f, "{}", self.actor().to_string().escape_debug()));
        info_span!("tenant", tenant.id = %self.tenant_id(), %request_id, %actor)
    }

    /// The future, in the [span](Self::span) of this context: for a task, which starts in none.
    ///
    /// It is for the log alone. What the task may reach is said by the context that it is given, and a
    /// `Scope` borrows one: a task gets a clone of the context and opens its own.
    ///
    /// ```
    /// # async fn reindex(_: &tenancy::TenantContext) {}
    /// # async fn handler(ctx: tenancy::TenantContext) {
    /// let its = ctx.clone();
    /// tokio::spawn(ctx.in_span(async move { reindex(&its).await }));
    /// # }
    /// ```
    pub fn in_span<F: Future>(&self, future: F) -> Instrumented<F> {
        future.instrument(self.span())
    }
}
