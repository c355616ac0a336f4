//! [`StatementClock`]: the time limit of a statement on SQLite, which has no such setting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time limit of the statements on one connection. SQLite asks it regularly whether the statement may go on.
#[derive(Debug)]
pub(crate) struct StatementClock {
    limit: Duration,
    created: Instant,
    /// When the running statement has to end, in microseconds after `created`.
    due: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl StatementClock {
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "PostgreSQL has a setting for it"))]
    pub(super) fn new(limit: Duration) -> Arc<Self> {
        Arc::new(Self { limit, created: Instant::now(), due: AtomicU64::new(NEVER) })
    }

    /// Whether the running statement may go on.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "PostgreSQL has a setting for it"))]
    pub(super) fn allows(&self) -> bool {
        self.microseconds() < self.due.load(Ordering::Relaxed)
    }

    /// Starts the time of a statement.
    pub(super) fn start(self: &Arc<Self>) -> RunningStatement {
        let limit = u64::try_from(self.limit.as_micros()).unwrap_or(NEVER);
        self.due.store(self.microseconds().saturating_add(limit), Ordering::Relaxed);
        RunningStatement(Some(self.clone()))
    }

    fn microseconds(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_micros()).unwrap_or(NEVER)
    }
}

/// A statement that runs. If it is dropped before its [`end`](Self::end), the database stops the statement.
#[derive(Debug)]
pub(crate) struct RunningStatement(Option<Arc<StatementClock>>);

impl RunningStatement {
    /// A statement without a time limit here.
    pub(super) fn unlimited() -> Self {
        Self(None)
    }

    /// The result of the statement is there.
    pub(super) fn end(mut self) {
        if let Some(clock) = self.0.take() {
            clock.due.store(NEVER, Ordering::Relaxed);
        }
    }
}

impl Drop for RunningStatement {
    fn drop(&mut self) {
        if let Some(clock) = &self.0 {
            clock.due.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_its_time_or_when_it_is_dropped() {
        let clock = StatementClock::new(Duration::from_hours(1));
        assert!(clock.allows());
        let running = clock.start();
        assert!(clock.allows());
        drop(running);
        assert!(!clock.allows(), "nobody waits for the statement");
        clock.start().end();
        assert!(clock.allows());
        let late = StatementClock::new(Duration::ZERO);
        let running = late.start();
        assert!(!late.allows());
        running.end();
        assert!(late.allows(), "the commit has no time limit");
    }
}
