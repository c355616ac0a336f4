//! [`Progress`]: whether the next statement of a transaction may run, and whether its changes were kept.

use std::panic::Location;

use crate::context::TenantContext;
use crate::error::{Error, ErrorKind, Result};

/// How far a transaction has come.
///
/// A transaction with changes that is dropped before it was told how to end is a warning in the log: its caller may
/// answer as if the changes were kept.
pub(in crate::scope) struct Progress<'a> {
    pub(super) ctx: &'a TenantContext,
    begun_at: &'static Location<'static>,
    pub(in crate::scope) state: State,
    /// A statement that writes was run.
    pub(super) changed: bool,
    /// One of them met rows.
    pub(in crate::scope) met_rows: bool,
    /// `commit` or `rollback` was called.
    pub(super) ended: bool,
}

/// What the next statement of a transaction meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scope) enum State {
    Usable,
    /// A statement was sent, and its end was not seen.
    Running,
    /// A statement that writes has rows that were not read.
    #[cfg_attr(not(feature = "dynamic"), expect(dead_code, reason = "only the scoped executor streams rows"))]
    Unread,
    Failed,
}

impl<'a> Progress<'a> {
    pub(super) fn new(ctx: &'a TenantContext, begun_at: &'static Location<'static>) -> Self {
        Self { ctx, begun_at, state: State::Usable, changed: false, met_rows: false, ended: false }
    }

    /// Notes how a statement ended.
    pub(in crate::scope) fn settle<T, E>(&mut self, answer: Result<T, E>) -> Result<T, E> {
        self.state = if answer.is_ok() { State::Usable } else { State::Failed };
        answer
    }

    pub(super) fn usable(&self) -> Result<()> {
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
