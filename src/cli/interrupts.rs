//! [`interrupts`]: receives Ctrl-C, for commands that end in an orderly way.

use std::future::pending;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Receives each Ctrl-C from now on, also while the command does something else.
pub(crate) fn interrupts() -> UnboundedReceiver<()> {
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).is_ok() {}
        pending::<()>().await; // The system has no such signal.
    });
    receiver
}
