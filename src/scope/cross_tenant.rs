use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::session::{Backend, Core, TenantDb, Tx, shared_placement};
use crate::audit::{AuditEvent, AuditSink, Outcome};
use crate::context::{Actor, TenantContext, TenantDirectory};
use crate::database::{TxMode, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::Tenant;

/// How many tenants, or events of them, are asked for or written at once.
const BATCH: u16 = 200;

/// Why somebody reads across tenants: a text that the audit trail keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// A reason that says enough to be looked into later, such as `monthly report FIN-12`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] unless it has 8 to 500 bytes and no control character.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into().trim().to_owned();
        if (8..=500).contains(&text.len()) && !text.chars().any(char::is_control) {
            return Ok(Self(text));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "say why in 8 to 500 characters on one line: what for, and where that is written down",
        ))
    }

    /// The reason, without spaces around it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value, and the tenant that it was read of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PerTenant<T> {
    /// Whose it is.
    pub tenant: Arc<Tenant>,
    /// What was read.
    pub value: T,
}

/// The one way around the tenants' walls: reads every tenant, one after the other, for a reason that is written down.
///
/// Each tenant is read as itself, so no query meets the rows of two, row-level security stays on, and every answer
/// comes with its tenant. Nothing can be changed. All tenants are read as of one moment, whatever their status.
///
/// ```
/// use tenancy::TenantScoped;
/// use tenancy::audit::AuditSink;
/// use tenancy::context::{Actor, TenantDirectory};
/// use tenancy::scope::{Reason, TenantDb};
/// # #[derive(TenantScoped, sqlx::FromRow)]
/// # #[tenant(table = "orders")]
/// # struct Order { #[tenant(id)] id: i64 }
///
/// async fn orders_of_all(
///     db: &TenantDb<sqlx::Postgres>,
///     directory: &TenantDirectory,
///     sink: &dyn AuditSink,
/// ) -> tenancy::Result<u64> {
///     let reason = Reason::new("monthly report FIN-12")?;
///     let across = db.cross_tenant(directory, sink, reason, Actor::user("ada"))?;
///     let counts = across.read(async |tenant| Order::count(tenant).await).await?;
///     for count in &counts {
///         println!("{}: {}", count.tenant.slug(), count.value);
///     }
///     Ok(counts.iter().map(|count| count.value).sum())
/// }
/// ```
///
/// # Security
/// Each tenant's trail gets an event before anything is read, of outcome [`Outcome::Unknown`], and one after it that
/// says how the reading ended; both name the actor and the reason. If the first cannot be written nothing is read; if
/// the second cannot, nothing is answered.
pub struct CrossTenant<'a, DB: Backend> {
    db: &'a Core<DB>,
    directory: &'a TenantDirectory,
    sink: &'a dyn AuditSink,
    reason: Reason,
    actor: Actor,
    opened: Instant,
    time: Duration,
}

impl<DB: Backend> fmt::Debug for CrossTenant<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrossTenant")
            .field("reason", &self.reason)
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

impl<DB: Backend> TenantDb<DB> {
    /// Opens the reading of all tenants of `directory`, for fifteen minutes; `sink` keeps who did it and why.
    ///
    /// [`SqlStore`](crate::store::SqlStore) is a trail that writes beside the tenants' other events.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an actor who is nobody.
    pub fn cross_tenant<'a>(
        &'a self,
        directory: &'a TenantDirectory,
        sink: &'a dyn AuditSink,
        reason: Reason,
        actor: Actor,
    ) -> Result<CrossTenant<'a, DB>> {
        let named = match &actor {
            Actor::User(name) | Actor::System(name) | Actor::ApiKey(name) | Actor::Service(name) => {
                !name.trim().is_empty()
            }
            Actor::Anonymous => false,
        };
        if !named {
            return Err(Error::new(ErrorKind::InvalidInput, "say who reads across tenants: a named actor"));
        }
        let (opened, time) = (Instant::now(), Duration::from_mins(15));
        Ok(CrossTenant { db: &self.0, directory, sink, reason, actor, opened, time })
    }
}

impl<DB: Backend> CrossTenant<'_, DB> {
    /// Ends the permission this long from now, and a reading that still runs then.
    #[must_use]
    pub fn valid_for(mut self, time: Duration) -> Self {
        (self.opened, self.time) = (Instant::now(), time);
        self
    }

    /// Runs `read` once for each tenant, and answers with what it read, in the store's order of tenants.
    ///
    /// `read` gets a transaction of that tenant, on which every query of this crate runs that changes nothing. One
    /// failure ends the whole reading, so what comes back is always complete.
    ///
    /// # Errors
    /// [`ErrorKind::Expired`] when the time is over, [`ErrorKind::SqlRejected`] from a statement that would change
    /// rows, [`ErrorKind::UnsupportedPlacement`] if a tenant's rows are not in the shared tables,
    /// [`ErrorKind::UnknownPlan`] if the catalog does not know a tenant's plan, whatever the trail or `read`
    /// answers, or [`ErrorKind::StoreUnavailable`].
    pub async fn read<T, F>(&self, read: F) -> Result<Vec<PerTenant<T>>>
    where
        F: AsyncFnMut(&mut Tx<'_, DB>) -> Result<T>,
    {
        let contexts = self.contexts().await?;
        self.record(&contexts, |_, event| event.outcome(Outcome::Unknown)).await?;
        let mut values = Vec::with_capacity(contexts.len());
        let failed = self.read_all(&contexts, read, &mut values).await.err();
        self.record(&contexts, |n, event| match &failed {
            Some(error) if n >= values.len() => {
                event.outcome(Outcome::Failed).detail("error", error.kind().code())
            }
            _ => event,
        })
        .await?;
        match failed {
            Some(error) => Err(error),
            None => Ok(contexts
                .iter()
                .zip(values)
                .map(|(ctx, value)| PerTenant { tenant: ctx.tenant().clone(), value })
                .collect()),
        }
    }

    /// A context for each tenant there is.
    async fn contexts(&self) -> Result<Vec<TenantContext>> {
        let reading = Uuid::now_v7();
        let mut contexts: Vec<TenantContext> = Vec::new();
        loop {
            self.in_time()?;
            let after = contexts.last().map(TenantContext::tenant_id);
            let tenants = self.directory.store().list(after, BATCH).await?;
            if tenants.is_empty() {
                return Ok(contexts);
            }
            for tenant in tenants {
                shared_placement(&tenant)?;
                contexts.push(self.directory.lend(tenant, self.actor.clone(), reading)?);
            }
        }
    }

    async fn read_all<T, F>(&self, contexts: &[TenantContext], mut read: F, values: &mut Vec<T>) -> Result<()>
    where
        F: AsyncFnMut(&mut Tx<'_, DB>) -> Result<T>,
    {
        let mut conn = self.db.open(None, TxMode::Snapshot).await.map_err(|e| database_error(&e))?;
        for ctx in contexts {
            self.in_time()?;
            let mut tx = Tx::switch_tenant(self.db, ctx, conn).await?;
            let value = read(&mut tx).await?;
            conn = tx.release()?;
            self.in_time()?;
            values.push(value);
        }
        conn.rollback().await
    }

    async fn record(
        &self,
        contexts: &[TenantContext],
        say: impl Fn(usize, AuditEvent) -> AuditEvent,
    ) -> Result<()> {
        for (batch, contexts) in contexts.chunks(BATCH.into()).enumerate() {
            let first = batch * usize::from(BATCH);
            let event =
                |ctx| AuditEvent::new(ctx, "tenancy.cross_tenant").detail("reason", self.reason.as_str());
            let events: Vec<_> =
                contexts.iter().enumerate().map(|(n, ctx)| say(first + n, event(ctx))).collect();
            self.sink.write(&events).await?;
        }
        Ok(())
    }

    fn in_time(&self) -> Result<()> {
        if self.opened.elapsed() < self.time {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Expired,
            "the permission to read across tenants has run out; open it anew with `cross_tenant`, or for longer \
             with `valid_for`",
        ))
    }
}
