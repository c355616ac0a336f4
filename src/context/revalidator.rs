//! [`Revalidator`]: checks the tenant of a long-lived connection again.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{TenantContext, TenantDirectory};
use crate::clock::Timestamp;
use crate::error::Result;

/// Checks the tenant of a long-lived connection again: a websocket, server-sent events, a long download.
///
/// Such a connection resolves its tenant once, when it opens. Without a new check it continues after the tenant is
/// suspended, changes its plan, or removes the user.
///
/// ```
/// use std::time::Duration;
/// use tenancy::TenantContext;
/// use tenancy::context::{TenantDirectory, Revalidator};
///
/// # struct Socket;
/// # impl Socket {
/// #     async fn recv(&mut self) -> Option<String> { None }
/// #     async fn send(&mut self, _: String) {}
/// # }
/// # async fn is_member(_: &TenantContext) -> tenancy::Result<()> { Ok(()) }
/// # fn reply(_: &TenantContext, _: &str) -> String { String::new() }
/// async fn serve(mut socket: Socket, ctx: TenantContext, directory: TenantDirectory) -> tenancy::Result<()> {
///     let mut revalidator = Revalidator::new(directory, ctx)
///         .interval(Duration::from_secs(5))
///         .with_check(async |ctx: TenantContext| is_member(&ctx).await);
///     while let Some(message) = socket.recv().await {
///         let ctx = revalidator.check().await?; // the error ends the connection
///         socket.send(reply(ctx, &message)).await;
///     }
///     Ok(())
/// }
/// ```
///
/// With the feature `streaming`, `guard_stream` checks each item of a stream.
///
/// # Security
/// There is no timer: an idle connection is not checked. Send a heartbeat at an interval, which browsers and proxies
/// need as well, and check before each one.
///
/// The credential is not checked again. Add a check of your own ([`with_check`](Self::with_check)) for an expired
/// token, a revoked API key or an ended session.
#[must_use = "it checks nothing until `check` is called"]
pub struct Revalidator {
    directory: TenantDirectory,
    ctx: TenantContext,
    interval: Duration,
    checks: Vec<Check>,
    last_check: Option<Timestamp>,
}

type Check = Arc<dyn Fn(TenantContext) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + Sync>;

impl Revalidator {
    /// Creates a revalidator that reads the tenant at every [`check`](Self::check). With a `CachedStore` (feature
    /// `cache`) in the directory, most reads come from memory.
    pub fn new(directory: TenantDirectory, ctx: TenantContext) -> Self {
        Self { directory, ctx, interval: Duration::ZERO, checks: Vec::new(), last_check: None }
    }

    /// Sets the minimum time between two reads. A [`check`](Self::check) before that returns the last context.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Adds a check that runs with the refreshed context, such as of the user's membership or a feature of the plan.
    pub fn with_check<F, A>(mut self, check: F) -> Self
    where
        F: Fn(TenantContext) -> A + Send + Sync + 'static,
        A: Future<Output = Result<()>> + Send + 'static,
    {
        self.checks.push(Arc::new(move |ctx| Box::pin(check(ctx))));
        self
    }

    /// Returns the current context if the connection may continue.
    ///
    /// # Errors
    /// As [`TenantDirectory::refresh`], also if the store cannot be reached; and every error of
    /// [`with_check`](Self::with_check). After an error the next call checks again, whatever the interval.
    pub async fn check(&mut self) -> Result<&TenantContext> {
        let now = self.directory.clock.now();
        if self.is_due(now) {
            self.last_check = None;
            let ctx = self.directory.refresh(&self.ctx).await?;
            for check in &self.checks {
                check(ctx.clone()).await?;
            }
            self.ctx = ctx;
            self.last_check = Some(now);
        }
        Ok(&self.ctx)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let Some(last_check) = self.last_check else { return true };
        // After the clock moved back the elapsed time is unknown, so the check is due.
        u128::try_from(now.micros().saturating_sub(last_check.micros()))
            .map_or(true, |elapsed| elapsed >= self.interval.as_micros())
    }
}

impl fmt::Debug for Revalidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revalidator")
            .field("ctx", &self.ctx)
            .field("interval", &self.interval)
            .field("checks", &self.checks.len())
            .finish_non_exhaustive()
    }
}
