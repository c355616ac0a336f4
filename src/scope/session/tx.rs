//! [`Tx`]: a transaction of one tenant.

use std::fmt;
use std::panic::Location;

use super::backend::Backend;
use super::core::Core;
use super::executor::{Run, TenantExecutor};
use super::progress::{Progress, State};
use super::statement::Fetch;
use crate::audit::{AuditEvent, AuditPolicy};
use crate::context::TenantContext;
use crate::database::{BoundTenant, OpenTransaction, TxMode, database_error, insert_event};
use crate::error::{Error, ErrorKind, Result};

/// A transaction of one tenant. It carries its tenant: there is no way to run it for another.
///
/// Nothing is kept unless [`commit`](Self::commit) was called; dropping it rolls back, and logs a warning if it had
/// changes and no statement failed.
pub struct Tx<'a, DB: Backend> {
    pub(in crate::scope) core: &'a Core<DB>,
    mode: TxMode,
    pub(in crate::scope) conn: OpenTransaction<DB>,
    pub(in crate::scope) progress: Progress<'a>,
    recorded: Vec<AuditEvent>,
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
    /// `begun_at` is where the caller began it.
    pub(super) async fn open(
        core: &'a Core<DB>,
        ctx: &'a TenantContext,
        begun_at: &'static Location<'static>,
    ) -> Result<Self> {
        let conn = core.open(Some(ctx.tenant_id()), TxMode::Write).await.map_err(|e| database_error(&e))?;
        Ok(Self {
            core,
            mode: TxMode::Write,
            conn,
            progress: Progress::new(ctx, begun_at),
            recorded: Vec::new(),
        })
    }

    /// One tenant's turn in a transaction that reads one tenant after the other.
    pub(in crate::scope) async fn switch_tenant(
        core: &'a Core<DB>,
        ctx: &'a TenantContext,
        mut conn: OpenTransaction<DB>,
    ) -> Result<Self> {
        DB::set_tenant(conn.conn(), ctx.tenant_id()).await.map_err(|e| database_error(&e))?;
        let progress = Progress::new(ctx, Location::caller());
        Ok(Self { core, mode: TxMode::Snapshot, conn, progress, recorded: Vec::new() })
    }

    /// The end of the turn.
    pub(in crate::scope) fn release(mut self) -> Result<OpenTransaction<DB>> {
        self.begin_statement()?;
        Ok(self.conn)
    }

    /// The context that opened the transaction.
    pub fn context(&self) -> &'a TenantContext {
        self.progress.ctx
    }

    /// Writes an audit event in this transaction: it is kept exactly if the changes are.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the event is of another tenant, or as any write. After an error the
    /// transaction must be dropped: a change that cannot be recorded is not made.
    pub async fn record(&mut self, event: AuditEvent) -> Result<()> {
        if event.tenant() != self.context().tenant_id() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "this event is of another tenant than the transaction; make it from `tx.context()`",
            ));
        }
        self.check_usable(true)?;
        let written = insert_event::<DB>(self.conn.conn(), &event).await;
        self.progress.settle(written)?;
        self.progress.met_rows = true;
        self.recorded.push(event);
        Ok(())
    }

    /// Makes the changes and their events last.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`] if a statement of the transaction failed or was cancelled before, or the rows of one
    /// that writes were not all read: PostgreSQL would answer such a commit with a quiet rollback.
    /// [`ErrorKind::Unaudited`] under [`AuditPolicy::Required`] if rows or a gauge were changed and nothing was recorded;
    /// [`ErrorKind::OutcomeUnknown`] if the connection broke before the answer came: the changes may have been kept, so
    /// look before you do them again. Otherwise as any write; after any other error nothing was kept.
    pub async fn commit(mut self) -> Result<()> {
        self.progress.ended = true;
        self.progress.usable()?;
        if self.core.audit == AuditPolicy::Required && self.progress.changed && self.recorded.is_empty() {
            return Err(Error::new(
                ErrorKind::Unaudited,
                "rows or a gauge were changed and nothing was recorded: call `tx.record(AuditEvent::new(&ctx, \"..\"))`, \
                 or `tx.commit_unaudited(\"why\")`",
            ));
        }
        self.finish().await
    }

    /// Commits changes that have no event of their own; the reason is recorded in their place.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the reason is blank; otherwise as [`commit`](Self::commit).
    pub async fn commit_unaudited(mut self, reason: &str) -> Result<()> {
        self.progress.ended = true;
        if reason.trim().is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "say why these changes have no audit event"));
        }
        let event = AuditEvent::new(self.context(), "tenancy.unaudited_commit").detail("reason", reason);
        self.record(event).await?;
        self.finish().await
    }

    async fn finish(mut self) -> Result<()> {
        self.begin_statement()?;
        self.conn.commit().await?;
        for sink in &self.core.copies {
            // The row in the database is the record; a copy that fails must not undo what has happened.
            if let Err(error) = sink.write(&self.recorded).await {
                tracing::error!(target: "tenancy::audit", ?sink, %error, "a copy of audit events was not taken");
            }
        }
        Ok(())
    }

    /// Before a statement, which `writes` or not.
    pub(in crate::scope) fn check_usable(&mut self, writes: bool) -> Result<()> {
        if writes && self.mode != TxMode::Write {
            return Err(Error::new(
                ErrorKind::SqlRejected,
                "a reading across tenants changes nothing; to change a tenant's rows, open it with `TenantDirectory::context`",
            ));
        }
        self.begin_statement()?;
        self.progress.changed |= writes;
        Ok(())
    }

    /// Before every statement. [`Progress::settle`] follows when it has ended; a cancelled statement stays `Running`.
    pub(in crate::scope) fn begin_statement(&mut self) -> Result<()> {
        self.progress.usable()?;
        self.progress.state = State::Running;
        Ok(())
    }

    /// Undoes everything, and waits until that is done. Dropping the transaction does the same without waiting.
    ///
    /// # Errors
    /// [`ErrorKind::StoreUnavailable`] if the connection broke; the database undoes everything then too.
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

    async fn fetch<F: Fetch<DB>>(self, fetch: F) -> Result<F::Output> {
        let writes = fetch.writes();
        self.check_usable(writes)?;
        let answer = fetch.run(self.conn.conn()).await;
        let answer = self.progress.settle(answer).map_err(|e| database_error(&e))?;
        self.progress.met_rows |= writes && F::met_rows(&answer);
        Ok(answer)
    }
}
