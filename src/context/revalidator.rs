use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{TenantContext, TenantDirectory};
use crate::clock::Timestamp;
use crate::error::Result;

/// Looks again whether the tenant of a connection that stays open may go on: a websocket, server-sent events, a long
/// download.
///
/// Such a connection learnt who its tenant is when it began. Whether that tenant has been suspended since, is on
/// another plan, or its user is no member any more, it learns only by asking.
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
/// # fn answer(_: &TenantContext, _: &str) -> String { String::new() }
/// async fn serve(mut socket: Socket, ctx: TenantContext, directory: TenantDirectory) -> tenancy::Result<()> {
///     let mut recheck = Revalidator::new(directory, ctx)
///         .interval(Duration::from_secs(5))
///         .with_check(async |ctx: TenantContext| is_member(&ctx).await);
///     while let Some(question) = socket.recv().await {
///         let ctx = recheck.check().await?; // the error ends the connection
///         socket.send(answer(ctx, &question)).await;
///     }
///     Ok(())
/// }
/// ```
///
/// With the feature `streaming`, `guard` does the same for a stream.
///
/// # Security
/// A connection on which nothing happens is not looked at. Send something over it from time to time, which browsers
/// and proxies need as well: then it ends no later than that.
///
/// The credential itself is not looked at again: that a token has expired, an API key was revoked or a session ended is for
/// a hook of yours ([`and`](Self::with_check)) to say.
#[must_use = "it checks nothing until it is asked to"]
pub struct Revalidator {
    directory: TenantDirectory,
    ctx: TenantContext,
    every: Duration,
    hooks: Vec<Hook>,
    checked: Option<Timestamp>,
}

type Hook = Arc<dyn Fn(TenantContext) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + Sync>;

impl Revalidator {
    /// Looks each time that it is asked, which costs nothing where the directory's store is a cache.
    pub fn new(directory: TenantDirectory, ctx: TenantContext) -> Self {
        Self { directory, ctx, every: Duration::ZERO, hooks: Vec::new(), checked: None }
    }

    /// Looks no more often than this.
    pub fn interval(self, time: Duration) -> Self {
        Self { every: time, ..self }
    }

    /// Asks this as well, with the context as it is then: whether the user is still a member, or the plan still has
    /// what the connection is for.
    pub fn with_check<F, A>(mut self, hook: F) -> Self
    where
        F: Fn(TenantContext) -> A + Send + Sync + 'static,
        A: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.push(Arc::new(move |ctx| Box::pin(hook(ctx))));
        self
    }

    /// The context as it is now, if the connection may go on.
    ///
    /// # Errors
    /// As [`TenantDirectory::refresh`], also if the store cannot be asked; and what the hooks of [`and`](Self::with_check) say. After
    /// an error the next call looks again, however soon it comes.
    pub async fn check(&mut self) -> Result<&TenantContext> {
        let now = self.directory.clock.now();
        if self.is_due(now) {
            self.checked = None;
            let ctx = self.directory.refresh(&self.ctx).await?;
            for hook in &self.hooks {
                hook(ctx.clone()).await?;
            }
            self.ctx = ctx;
            self.checked = Some(now);
        }
        Ok(&self.ctx)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let Some(checked) = self.checked else { return true };
        // A clock that was put back says nothing of how long ago it was.
        u128::try_from(now.micros().saturating_sub(checked.micros()))
            .map_or(true, |since| since >= self.every.as_micros())
    }
}

impl fmt::Debug for Revalidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recheck")
            .field("ctx", &self.ctx)
            .field("every", &self.every)
            .field("hooks", &self.hooks.len())
            .finish_non_exhaustive()
    }
}
