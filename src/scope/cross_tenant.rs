//! [`CrossTenant`]: reads the rows of all tenants, one tenant after another, for a recorded reason.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::session::{Backend, Core, TenantDb, Tx};
use crate::audit::{AuditEvent, AuditSink, Outcome};
use crate::context::{Actor, TenantContext, TenantDirectory};
use crate::database::{TxMode, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::Tenant;

/// How many tenants are read from the store, or events written to the sink, at once.
const BATCH: u16 = 200;

/// Why the rows of all tenants are read. The text is written to the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Checks a reason. Name the purpose and a reference, such as `monthly report FIN-12`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] unless the text has 8 to 500 bytes and no control character.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into().trim().to_owned();
        if (8..=500).contains(&text.len()) && !text.chars().any(char::is_control) {
            return Ok(Self(text));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "a reason has 8 to 500 bytes on one line; give the purpose, and a reference to look it up",
        ))
    }

    /// The text, without surrounding white space.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A value that was read from one tenant, with that tenant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PerTenant<T> {
    /// The tenant.
    pub tenant: Arc<Tenant>,
    /// The value that the closure returned for the tenant.
    pub value: T,
}

/// Reads the rows of all tenants, one tenant after another, for a recorded reason.
///
/// [`TenantDb::cross_tenant`] creates it. Each query runs for one tenant, with row-level security on, and each value
/// comes with its tenant. The read is read-only. All tenants are read, whatever their status. Those in the shared tables
/// and in schemas are read from one snapshot of their database; each database of a tenant has a snapshot of its own.
/// The [limits](crate::plan::DatabaseLimits) of the tenants' plans do not apply.
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
/// async fn count_all_orders(
///     db: &TenantDb<sqlx::Postgres>,
///     directory: &TenantDirectory,
///     sink: &dyn AuditSink,
/// ) -> tenancy::Result<u64> {
///     let reason = Reason::new("monthly report FIN-12")?;
///     let cross_tenant = db.cross_tenant(directory, sink, reason, Actor::user("ada"))?;
///     let counts = cross_tenant.read(async |tx| Order::count(tx).await).await?;
///     for count in &counts {
///         println!("{}: {}", count.tenant.slug(), count.value);
///     }
///     Ok(counts.iter().map(|count| count.value).sum())
/// }
/// ```
///
/// # Security
/// The sink gets two events for each tenant: one before anything is read, with [`Outcome::Unknown`], and one after
/// the read, with its outcome. Both contain the actor and the reason. If the first event cannot be written, nothing
/// is read. If the second cannot be written, no value is returned.
pub struct CrossTenant<'a, DB: Backend> {
    db: &'a Core<DB>,
    directory: &'a TenantDirectory,
    sink: &'a dyn AuditSink,
    reason: Reason,
    actor: Actor,
    opened_at: Instant,
    validity: Duration,
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
    /// Permits reads of all tenants of `directory` for fifteen minutes. `sink` records the actor and the reason.
    ///
    /// With [`SqlStore`](crate::store::SqlStore) as the sink, the events are stored with each tenant's other audit
    /// events; those of a tenant with a database of its own, in the database of the control plane.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for [`Actor::Anonymous`], or an actor whose name is blank.
    pub fn cross_tenant<'a>(
        &'a self,
        directory: &'a TenantDirectory,
        sink: &'a dyn AuditSink,
        reason: Reason,
        actor: Actor,
    ) -> Result<CrossTenant<'a, DB>> {
        if !actor.is_named() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a cross-tenant read needs an actor with a name",
            ));
        }
        let (opened_at, validity) = (Instant::now(), Duration::from_mins(15));
        Ok(CrossTenant { db: &self.0, directory, sink, reason, actor, opened_at, validity })
    }
}

impl<DB: Backend> CrossTenant<'_, DB> {
    /// Sets how long the permission is valid, from now on. A read that is still running then fails.
    #[must_use]
    pub fn valid_for(mut self, validity: Duration) -> Self {
        (self.opened_at, self.validity) = (Instant::now(), validity);
        self
    }

    /// Runs `read` once for each tenant, and returns the values in the store's order of tenants.
    ///
    /// `read` gets a read-only transaction of that tenant. One failure ends the whole read, so the result is always
    /// complete.
    ///
    /// # Errors
    /// - [`ErrorKind::Expired`] when the permission has expired,
    /// - [`ErrorKind::SqlRejected`] from a statement that would change rows,
    /// - [`ErrorKind::UnsupportedPlacement`] or [`ErrorKind::PlacementMissing`] if a tenant's rows cannot be reached,
    /// - [`ErrorKind::UnknownPlan`] if the catalog has no plan of a tenant's name,
    /// - [`ErrorKind::StoreUnavailable`],
    /// - any error of the sink or of `read`.
    pub async fn read<T, F>(&self, read: F) -> Result<Vec<PerTenant<T>>>
    where
        F: AsyncFnMut(&mut Tx<'_, DB>) -> Result<T>,
    {
        let contexts = self.contexts().await?;
        self.record(&contexts, |_, event| event.outcome(Outcome::Unknown)).await?;
        let mut values = Vec::with_capacity(contexts.len());
        let failed = self.read_all(&contexts, read, &mut values).await.err();
        self.record(&contexts, |index, event| match &failed {
            Some(error) if index >= values.len() => {
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

    /// A context for each tenant of the store.
    async fn contexts(&self) -> Result<Vec<TenantContext>> {
        let request_id = Uuid::now_v7();
        let mut contexts: Vec<TenantContext> = Vec::new();
        loop {
            self.check_not_expired()?;
            let after = contexts.last().map(TenantContext::tenant_id);
            let tenants = self.directory.store().list(after, BATCH).await?;
            if tenants.is_empty() {
                return Ok(contexts);
            }
            for tenant in tenants {
                // A read that would be incomplete is rejected before anything is recorded or read.
                self.db.place(&tenant).await?;
                contexts.push(self.directory.cross_tenant_context(tenant, self.actor.clone(), request_id)?);
            }
        }
    }

    async fn read_all<T, F>(&self, contexts: &[TenantContext], mut read: F, values: &mut Vec<T>) -> Result<()>
    where
        F: AsyncFnMut(&mut Tx<'_, DB>) -> Result<T>,
    {
        // The transaction on the database of the shared tables and of the schemas: one snapshot for all of them.
        let mut shared = None;
        for ctx in contexts {
            self.check_not_expired()?;
            let place = self.db.place(ctx.tenant()).await?;
            let conn = match shared.take_if(|_| place.is_in_shared_database()) {
                Some(conn) => conn,
                None => {
                    self.db.open_to_switch(&place, TxMode::Snapshot).await.map_err(|e| database_error(&e))?
                }
            };
            let mut tx = Tx::switch_tenant(self.db, ctx, conn, &place).await?;
            let value = read(&mut tx).await?;
            let conn = tx.release()?;
            if place.is_in_shared_database() {
                shared = Some(conn);
            } else {
                conn.rollback().await?;
            }
            self.check_not_expired()?;
            values.push(value);
        }
        match shared {
            Some(conn) => conn.rollback().await,
            None => Ok(()),
        }
    }

    async fn record(
        &self,
        contexts: &[TenantContext],
        annotate: impl Fn(usize, AuditEvent) -> AuditEvent,
    ) -> Result<()> {
        for (batch, contexts) in contexts.chunks(BATCH.into()).enumerate() {
            let first = batch * usize::from(BATCH);
            let event =
                |ctx| AuditEvent::new(ctx, "tenancy.cross_tenant").detail("reason", self.reason.as_str());
            let events: Vec<_> =
                contexts.iter().enumerate().map(|(n, ctx)| annotate(first + n, event(ctx))).collect();
            self.sink.write(&events).await?;
        }
        Ok(())
    }

    fn check_not_expired(&self) -> Result<()> {
        if self.opened_at.elapsed() < self.validity {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Expired,
            "the permission to read across tenants has expired; open a new one with `cross_tenant`, or a longer one \
             with `valid_for`",
        ))
    }
}
