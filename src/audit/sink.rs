//! [`AuditSink`] and two sinks. `Tx::record` writes events to the database without a sink.

use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;

use super::AuditEvent;
use crate::error::Result;

/// A destination of audit events. Implement it to send them to your own log or service.
///
/// Writes are idempotent by event id: a batch that is written twice is stored once.
#[async_trait]
pub trait AuditSink: Send + Sync + fmt::Debug {
    /// Stores a batch of events, all of them or none.
    ///
    /// # Errors
    /// If the events could not be stored. The caller still has the events and decides what to do: a rejected request
    /// stays rejected, also if its event cannot be stored.
    async fn write(&self, events: &[AuditEvent]) -> Result<()>;
}

/// Writes each event as one `tracing` event of level `INFO` and target `tenancy::audit`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingSink;

#[async_trait]
impl AuditSink for TracingSink {
    async fn write(&self, events: &[AuditEvent]) -> Result<()> {
        for event in events {
            let (kind, id) = event.about().map_or(("", ""), |target| (&target.kind, &target.id));
            // Debug formatting escapes line breaks, so a name cannot forge a log line.
            tracing::info!(
                target: "tenancy::audit",
                { event = %event.id(),
                tenant.id = %event.tenant(),
                actor = ?event.actor().to_string(),
                action = ?event.action(),
                kind = ?kind,
                id = ?id,
                outcome = ?event.ended(),
                details = ?event.details() },
                "audit"
            );
        }
        Ok(())
    }
}

/// Keeps events in memory, for tests.
#[derive(Debug, Default)]
pub struct MemorySink(Mutex<Vec<AuditEvent>>);

impl MemorySink {
    /// An empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// All events so far, in the order in which they were written.
    ///
    /// # Panics
    /// If a thread panicked during a write.
    pub fn events(&self) -> Vec<AuditEvent> {
        self.0.lock().expect("no writer panicked").clone()
    }
}

#[async_trait]
impl AuditSink for MemorySink {
    async fn write(&self, events: &[AuditEvent]) -> Result<()> {
        let mut kept = self.0.lock().expect("no writer panicked");
        for event in events {
            if kept.iter().all(|known| known.id() != event.id()) {
                kept.push(event.clone());
            }
        }
        Ok(())
    }
}
