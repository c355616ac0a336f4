//! [`Tx`]: a transaction of one tenant.

use std::fmt;
use std::panic::Location;

use super::backend::Backend;
use super::core::{Core, notice_move};
use super::executor::{Run, TenantExecutor};
use super::places::Place;
use super::progress::{Progress, State};
use super::statement::Fetch;
use crate::audit::{AuditEvent, AuditPolicy};
use crate::context::TenantContext;
use crate::database::{BoundTenant, OpenTransaction, TxMode, database_error, insert_event, statement_error};
use crate::error::{Error, ErrorKind, Result};

/// A transaction of one tenant. Pass `&mut tx` to the methods of [`TenantScoped`](crate::TenantScoped) and to the
/// query macros.
///
/// [`TenantDb::begin`](super::db::TenantDb::begin) opens it. Call [`commit`](Self::commit) at the end. Dropping the
/// transaction rolls it back, and logs a warning if it had changes and no statement failed. The tenant of a
/// transaction cannot be changed.
///
/// ```
/// use tenancy::audit::AuditEvent;
/// use tenancy::{TenantContext, TenantDb, TenantScoped};
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "orders")]
/// struct Order {
///     #[tenant(id)]
///     id: i64,
///     status: String,
/// }
///
/// async fn pay(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<()> {
///     let mut tx = db.begin(ctx).await?;
///     Order::update(&mut tx, &Order { id, status: "paid".to_owned() }).await?.or_not_found()?;
///     tx.record(AuditEvent::new(ctx, "order.paid").target("order", id)).await?;
///     tx.commit().await
/// }
/// ```
pub struct Tx<'a, DB: Backend> {
    pub(in crate::scope) core: &'a Core<DB>,
    mode: TxMode,
    pub(in crate::scope) conn: OpenTransaction<DB>,
    pub(in crate::scope) progress: Progress<'a>,
    pub(super) recorded: Vec<AuditEvent>,
}

impl<DB: Backend> fmt::Debug for Tx<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx")
            .field("ctx", self.context())
            .field("changed", &self.progress.changed)
            .field("recorded", &self.recorded.len())
            .finish_non_exhaustive()
    }
}

impl<'a, DB: Backend> Tx<'a, DB> {
    /// `begun_at` is the source location of the caller, for the log.
    pub(super) async fn open(
        core: &'a Core<DB>,
        ctx: &'a TenantContext,
        begun_at: &'static Location<'static>,
    ) -> Result<Self> {
        let conn = core.open(ctx, TxMode::Write).await.map_err(|e| database_error(&e))?;
        Ok(Self {
            core,
            mode: TxMode::Write,
            conn,
            progress: Progress::new(ctx, begun_at),
            recorded: Vec::new(),
        })
    }

    /// Opens a transaction of the operator: no limit of the tenant's plan applies.
    pub(super) async fn open_unlimited(
        core: &'a Core<DB>,
        ctx: &'a TenantContext,
        mode: TxMode,
    ) -> Result<Self> {
        let conn = core.open_unlimited(ctx, mode).await.map_err(|e| database_error(&e))?;
        let progress = Progress::new(ctx, Location::caller());
        Ok(Self { core, mode, conn, progress, recorded: Vec::new() })
    }

    /// Sets the tenant of a transaction that reads one tenant after another.
    pub(in crate::scope) async fn switch_tenant(
        core: &'a Core<DB>,
        ctx: &'a TenantContext,
        mut conn: OpenTransaction<DB>,
        place: &Place<DB>,
    ) -> Result<Self> {
        let switched = conn.switch(ctx.tenant_id(), place.route.clone(), place.unverified.is_some()).await;
        switched.map_err(|e| database_error(&e))?;
        core.verify(place, conn.conn()).await.map_err(|e| database_error(&e))?;
        let fence = core.check_fence(conn.conn(), ctx.tenant_id(), place).await;
        notice_move(ctx, fence).map_err(|e| database_error(&e))?;
        let progress = Progress::new(ctx, Location::caller());
        Ok(Self { core, mode: TxMode::Snapshot, conn, progress, recorded: Vec::new() })
    }

    /// Returns the transaction after the last statement of this tenant.
    pub(in crate::scope) fn release(self) -> Result<OpenTransaction<DB>> {
        self.progress.check_usable()?;
        Ok(self.conn)
    }

    /// The context that opened the transaction.
    pub fn context(&self) -> &'a TenantContext {
        self.progress.ctx
    }

    /// Whether a statement ran that can change rows.
    pub(crate) fn has_changes(&self) -> bool {
        self.progress.changed
    }

    /// Writes an audit event in this transaction. The event is committed or rolled back together with the changes.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the event belongs to another tenant; otherwise as any write. After an error,
    /// drop the transaction: a change must not be committed without its event.
    pub async fn record(&mut self, event: AuditEvent) -> Result<()> {
        if event.tenant() != self.context().tenant_id() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "this event belongs to another tenant than the transaction; create it from `tx.context()`",
            ));
        }
        self.begin_checked(true).await?;
        let tenant = self.core.bound_internal(self.context());
        let inserted = insert_event::<DB>(self.conn.conn(), &tenant, &event).await;
        self.progress.record_result(inserted)?;
        self.progress.matched_rows = true;
        self.recorded.push(event);
        Ok(())
    }

    /// Commits the changes and their audit events.
    ///
    /// # Errors
    /// - [`ErrorKind::RolledBack`] if a statement of the transaction failed or was cancelled, or if the rows of a
    ///   statement that writes were not all read. (PostgreSQL silently turns the commit of a failed transaction into
    ///   a rollback.)
    /// - [`ErrorKind::Unaudited`] under [`AuditPolicy::Required`] if rows or a gauge were changed and no event was
    ///   recorded.
    /// - [`ErrorKind::OutcomeUnknown`] if the connection broke before the result arrived. The changes may have been
    ///   committed, so check before you repeat them.
    ///
    /// Otherwise as any write. After every error but `OutcomeUnknown` the changes were rolled back.
    pub async fn commit(mut self) -> Result<()> {
        self.progress.ended = true;
        self.progress.check_usable()?;
        if self.core.audit == AuditPolicy::Required && self.progress.changed && self.recorded.is_empty() {
            return Err(Error::new(
                ErrorKind::Unaudited,
                "rows or a gauge were changed and no audit event was recorded: call `tx.record(AuditEvent::new(&ctx, \"..\"))`, \
                 or `tx.commit_unaudited(\"why\")`",
            ));
        }
        self.finish().await
    }

    /// Commits changes that have no audit event. An event with the reason is recorded instead.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the reason is blank; otherwise as [`commit`](Self::commit).
    pub async fn commit_unaudited(mut self, reason: &str) -> Result<()> {
        self.progress.ended = true;
        if reason.trim().is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the reason is blank; give the reason why these changes have no audit event",
            ));
        }
        let event = AuditEvent::new(self.context(), "tenancy.unaudited_commit").detail("reason", reason);
        self.record(event).await?;
        self.finish().await
    }

    async fn finish(mut self) -> Result<()> {
        self.begin_statement().await?;
        self.conn.commit().await?;
        for sink in &self.core.audit_mirrors {
            // The row in the database is the record. A failed copy must not fail the committed transaction.
            if let Err(error) = sink.write(&self.recorded).await {
                tracing::error!(target: "tenancy::audit", ?sink, %error, "audit events could not be copied to a sink");
            }
        }
        Ok(())
    }

    /// Before a statement of the application. Rejects a write in a read-only transaction.
    pub(in crate::scope) async fn begin_checked(&mut self, writes: bool) -> Result<()> {
        if writes {
            self.check_writable()?;
        }
        self.begin_statement().await?;
        self.progress.changed |= writes;
        Ok(())
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        match self.mode {
            TxMode::Write => Ok(()),
            TxMode::Read | TxMode::Snapshot => Err(Error::new(
                ErrorKind::SqlRejected,
                "a cross-tenant read cannot change rows; to change a tenant's rows, get its context from `TenantDirectory::context`",
            )),
        }
    }

    /// Before every statement. [`Progress::record_result`] follows; after a cancelled statement the state stays
    /// `Running`.
    pub(in crate::scope) async fn begin_statement(&mut self) -> Result<()> {
        self.undo_dropped().await?;
        self.progress.check_usable()?;
        self.progress.state = State::Running;
        Ok(())
    }

    /// Rolls back, and waits until that is done. Dropping the transaction rolls back without waiting.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the connection broke. The database rolls back in that case too.
    pub async fn rollback(mut self) -> Result<()> {
        self.progress.ended = true;
        self.conn.rollback().await
    }
}

impl<DB: Backend> TenantExecutor for &mut Tx<'_, DB> {
    type Database = DB;
}

impl<DB: Backend> Run<DB> for &mut Tx<'_, DB> {
    fn context(&self) -> &TenantContext {
        self.progress.ctx
    }

    fn bound_tenant(&self) -> BoundTenant {
        self.core.bound(self.progress.ctx)
    }

    fn bound_internal(&self) -> BoundTenant {
        self.core.bound_internal(self.progress.ctx)
    }

    async fn fetch<F: Fetch<DB>>(self, fetch: F) -> Result<F::Output> {
        let (writes, command) = (fetch.writes(), fetch.command());
        if fetch.locks() {
            self.check_writable()?;
        }
        self.begin_checked(writes).await?;
        let result = fetch.run(self.conn.conn()).await;
        let output = self.progress.record_result(result).map_err(|e| statement_error(&e, command))?;
        self.progress.matched_rows |= writes && F::matched_rows(&output);
        Ok(output)
    }
}
