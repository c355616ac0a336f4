//! [`Tx`]: a transaction of one tenant, and the connection that it runs on.

use std::fmt;
use std::panic::Location;

use sqlx::Pool;
use sqlx::pool::PoolConnection;
use sqlx_core::transaction::TransactionManager;

use super::backend::{Backend, BoundTenant, Conn, TxMode, change_error, database_error, sealed};
use super::db::Inner;
use super::enforcement::ConnectionMode;
use super::executor::{Fetch, TenantExecutor};
use super::stored_event::insert_event;
use crate::audit::{AuditEvent, AuditPolicy};
use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// A transaction of one tenant. It carries its tenant: there is no way to run it for another.
///
/// Nothing is kept unless [`commit`](Self::commit) was called; dropping it rolls back, and logs a warning if it had
/// changes and no statement failed.
pub struct Tx<'a, DB: Backend> {
    pub(super) db: &'a Inner<DB>,
    mode: TxMode,
    pub(super) conn: OpenTransaction<DB>,
    pub(super) progress: Progress<'a>,
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
        db: &'a Inner<DB>,
        ctx: &'a TenantContext,
        begun_at: &'static Location<'static>,
    ) -> Result<Self> {
        let conn = db.open(Some(ctx.tenant_id()), TxMode::Write).await.map_err(|e| database_error(&e))?;
        Ok(Self {
            db,
            mode: TxMode::Write,
            conn,
            progress: Progress::new(ctx, begun_at),
            recorded: Vec::new(),
        })
    }

    /// One tenant's turn in a transaction that reads one tenant after the other.
    pub(super) async fn switch_tenant(
        db: &'a Inner<DB>,
        ctx: &'a TenantContext,
        mut conn: OpenTransaction<DB>,
    ) -> Result<Self> {
        DB::set_tenant(conn.conn(), ctx.tenant_id()).await.map_err(|e| database_error(&e))?;
        let progress = Progress::new(ctx, Location::caller());
        Ok(Self { db, mode: TxMode::Snapshot, conn, progress, recorded: Vec::new() })
    }

    /// The end of the turn.
    pub(super) fn release(mut self) -> Result<OpenTransaction<DB>> {
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
        if self.db.audit == AuditPolicy::Required && self.progress.changed && self.recorded.is_empty() {
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
        for sink in &self.db.copies {
            // The row in the database is the record; a copy that fails must not undo what has happened.
            if let Err(error) = sink.write(&self.recorded).await {
                tracing::error!(target: "tenancy::audit", ?sink, %error, "a copy of audit events was not taken");
            }
        }
        Ok(())
    }

    /// Before a statement, which `writes` or not.
    pub(super) fn check_usable(&mut self, writes: bool) -> Result<()> {
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
    pub(super) fn begin_statement(&mut self) -> Result<()> {
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

/// How far a transaction has come.
///
/// A transaction with changes that is dropped before it was told how to end is a warning in the log: its caller may
/// answer as if the changes were kept.
pub(super) struct Progress<'a> {
    ctx: &'a TenantContext,
    begun_at: &'static Location<'static>,
    pub(super) state: State,
    /// A statement that writes was run.
    changed: bool,
    /// One of them met rows.
    pub(super) met_rows: bool,
    /// `commit` or `rollback` was called.
    ended: bool,
}

/// What the next statement of a transaction meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Usable,
    /// A statement was sent, and its end was not seen.
    Running,
    /// A statement that writes has rows that were not read.
    #[cfg_attr(not(feature = "dynamic"), expect(dead_code, reason = "only the scoped executor streams rows"))]
    Unread,
    Failed,
}

impl<'a> Progress<'a> {
    fn new(ctx: &'a TenantContext, begun_at: &'static Location<'static>) -> Self {
        Self { ctx, begun_at, state: State::Usable, changed: false, met_rows: false, ended: false }
    }

    /// Notes how a statement ended.
    pub(super) fn settle<T, E>(&mut self, answer: Result<T, E>) -> Result<T, E> {
        self.state = if answer.is_ok() { State::Usable } else { State::Failed };
        answer
    }

    fn usable(&self) -> Result<()> {
        let text = match self.state {
            State::Usable => return Ok(()),
            State::Running => {
                "a statement of this transaction was cancelled before its answer came, by a timeout perhaps, so \
                 nothing of the transaction is kept; begin a new one"
            }
            State::Unread => {
                "not all rows of a statement that writes were read, so nothing of the transaction is kept; begin a \
                 new one, and read the rows to their end"
            }
            State::Failed => {
                "a statement of this transaction failed, so nothing of the transaction is kept; begin a new one"
            }
        };
        Err(Error::new(ErrorKind::RolledBack, text))
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        // After a failed statement the caller has an error in hand.
        if self.met_rows && !self.ended && self.state == State::Usable {
            tracing::warn!(
                target: "tenancy::scope",
                begun_at = %self.begun_at,
                tenant.id = %self.ctx.tenant_id(),
                request_id = %self.ctx.request_id(),
                "a transaction with changes was dropped, so nothing of it is kept; call `commit`, or `rollback` if that \
                 is meant",
            );
        }
    }
}

impl<DB: Backend> sealed::Sealed for &mut Tx<'_, DB> {}

impl<DB: Backend> TenantExecutor for &mut Tx<'_, DB> {
    type Database = DB;

    fn context(&self) -> &TenantContext {
        self.progress.ctx
    }

    fn bound_tenant(&self) -> BoundTenant {
        self.db.bound(self.progress.ctx)
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

/// A connection inside a transaction that was seen to begin.
///
/// The control plane uses it too, without a tenant.
pub(crate) struct OpenTransaction<DB: Backend> {
    conn: Option<PoolConnection<DB>>,
    connection_mode: ConnectionMode,
}

impl<DB: Backend> OpenTransaction<DB> {
    /// Opens a transaction on a connection that nobody else can meet before its `BEGIN` has finished.
    ///
    /// In sqlx 0.9.0 a `begin` that is dropped in flight (a timeout, a client that went away) leaves the connection
    /// in the pool inside the tenant's open transaction, and every later user of it reads that tenant's rows. So the
    /// connection is given up unless the end of `BEGIN` was seen.
    pub(crate) async fn open(
        pool: &Pool<DB>,
        connection_mode: ConnectionMode,
        tenant: Option<&TenantId>,
        mode: TxMode,
        verify_tenant: bool,
    ) -> sqlx::Result<Self> {
        // A server that was started anew leaves connections in the pool that it knows nothing of.
        let mut dead = pool.size();
        loop {
            let conn = pool.acquire().await?;
            let mut opening = Opening(Some(conn));
            let conn = opening.0.as_mut().expect("it was just put there");
            match DB::begin(Conn::on(conn, connection_mode), tenant, mode, verify_tenant).await {
                Ok(()) => return Ok(Self { conn: opening.0.take(), connection_mode }),
                Err(error) if dead > 0 && is_unfit(&error) => dead -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn conn(&mut self) -> Conn<'_, DB> {
        let conn = self.conn.as_mut().expect("only the end of the transaction takes the connection");
        Conn::on(conn, self.connection_mode)
    }

    pub(crate) async fn commit(mut self) -> Result<()> {
        DB::TransactionManager::commit(self.conn().conn).await.map_err(|e| change_error(&e))?;
        self.conn = None;
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<()> {
        DB::TransactionManager::rollback(self.conn().conn).await.map_err(|e| database_error(&e))?;
        self.conn = None;
        Ok(())
    }
}

/// Whether another connection may do: this one had ended before it was asked, or was inside a transaction already, and
/// nothing has happened on it.
fn is_unfit(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::BeginFailed => true,
        // The server's last words: it was told to end the connection, or all of them. Or somebody left a transaction
        // behind in which a statement had failed.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code == "25P02")
        }
        _ => false,
    }
}

/// A connection whose `BEGIN` is in flight.
struct Opening<DB: Backend>(Option<PoolConnection<DB>>);

impl<DB: Backend> Drop for Opening<DB> {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            DB::discard(conn);
        }
    }
}

impl<DB: Backend> Drop for OpenTransaction<DB> {
    fn drop(&mut self) {
        if let Some(conn) = &mut self.conn {
            DB::TransactionManager::start_rollback(conn);
        }
    }
}
