//! [`Progress`]: the state of a transaction. It decides whether the next statement may run.

use std::panic::Location;

use super::core::notice_move;
use crate::context::TenantContext;
use crate::database::IsMoved;
use crate::error::{Error, ErrorKind, Result};

/// The state of a transaction.
///
/// A transaction with changes that is dropped without `commit` or `rollback` logs a warning, because its caller may
/// believe that the changes were committed.
pub(in crate::scope) struct Progress<'a> {
    pub(super) ctx: &'a TenantContext,
    begun_at: &'static Location<'static>,
    pub(in crate::scope) state: State,
    /// A statement that writes ran.
    pub(super) changed: bool,
    /// A statement that writes affected rows, or may have.
    pub(in crate::scope) matched_rows: bool,
    /// `commit` or `rollback` was called.
    pub(super) ended: bool,
    pub(super) savepoints: Savepoints,
}

/// The savepoints of a transaction.
#[derive(Debug, Default)]
pub(super) struct Savepoints {
    /// How many are open.
    pub(super) open: u32,
    /// The outermost that was dropped. The next statement rolls back to it first.
    pub(super) dropped: Option<u32>,
}

/// Whether the next statement of a transaction can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scope) enum State {
    Usable,
    /// A statement was sent, and its result was not received.
    Running,
    /// A statement that writes has returned rows that were not read yet.
    #[cfg_attr(not(feature = "dynamic"), expect(dead_code, reason = "only the scoped executor streams rows"))]
    Unread,
    Failed,
}

impl<'a> Progress<'a> {
    pub(super) fn new(ctx: &'a TenantContext, begun_at: &'static Location<'static>) -> Self {
        Self {
            ctx,
            begun_at,
            state: State::Usable,
            changed: false,
            matched_rows: false,
            ended: false,
            savepoints: Savepoints::default(),
        }
    }

    /// Sets the state by the result of a statement.
    pub(in crate::scope) fn record_result<T, E: IsMoved>(&mut self, result: Result<T, E>) -> Result<T, E> {
        self.state = if result.is_ok() { State::Usable } else { State::Failed };
        notice_move(self.ctx, result)
    }

    /// What was done since a savepoint is undone, unless a message is in flight.
    pub(super) fn undone(&mut self, changed: bool, matched_rows: bool) {
        if self.state != State::Running {
            (self.state, self.changed, self.matched_rows) = (State::Usable, changed, matched_rows);
        }
    }

    /// # Errors
    /// [`ErrorKind::RolledBack`] unless the state is [`State::Usable`].
    pub(super) fn check_usable(&self) -> Result<()> {
        let text = match self.state {
            State::Usable => return Ok(()),
            State::Running => {
                "a statement of this transaction was cancelled before its result arrived, perhaps by a timeout, so the \
                 transaction is rolled back; begin a new one"
            }
            State::Unread => {
                "not all rows of a statement that writes were read, so the transaction is rolled back; begin a new \
                 one, and read the rows to their end"
            }
            State::Failed => {
                "a statement of this transaction failed, so the transaction is rolled back; begin a new one"
            }
        };
        Err(Error::new(ErrorKind::RolledBack, text))
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        // After a failed statement the caller already has an error.
        if self.matched_rows && !self.ended && self.state == State::Usable {
            tracing::warn!(
                target: "tenancy::scope",
                begun_at = %self.begun_at,
                tenant.id = %self.ctx.tenant_id(),
                request_id = %self.ctx.request_id(),
                "a transaction with changes was dropped, so it is rolled back; call `commit`, or `rollback` if that is \
                 intended",
            );
        }
    }
}
