use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;

use super::AuditEvent;
use crate::error::Result;

/// Somewhere audit events go.
///
/// Writing is idempotent by the event's id: a batch that is sent twice counts once.
#[async_trait]
pub trait AuditSink: Send + Sync + fmt::Debug {
    /// Takes a batch of events, all of them or none.
    ///
    /// # Errors
    /// When the events could not be kept. The caller still has them and decides: a refusal that cannot be
    /// recorded is still a refusal.
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
            // Debug quoting keeps a line break in a name from forging a second line.
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

    /// Every event so far, in the order it came.
    ///
    /// # Panics
    /// If a thread panicked while it wrote.
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
