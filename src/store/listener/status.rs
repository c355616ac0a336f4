//! [`ListenerStatus`]: whether a listener is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a listener is connected. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct ListenerStatus(Arc<AtomicBool>);

impl ListenerStatus {
    /// Whether changes by other processes are seen at once. Otherwise they are seen after the time to live of the caches.
    ///
    /// A connection that fails without a message is noticed after ten seconds at the latest. It is `false` before the first
    /// connection, and after the end of the listener.
    pub fn is_connected(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn set(&self, connected: bool) {
        self.0.store(connected, Ordering::SeqCst);
    }
}
