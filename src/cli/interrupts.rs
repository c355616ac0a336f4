//! [`interrupts`]: receives Ctrl-C, for commands that end in an orderly way.

use std::future::pending;
use std::pin::pin;

use futures_util::future::{Either, select};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The exit code after Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Receives each Ctrl-C from now on, also while the command does something else.
pub(crate) fn interrupts() -> UnboundedReceiver<()> {
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).is_ok() {}
        pending::<()>().await; // The system has no such signal.
    });
    receiver
}

/// Does the work until it ends, or until Ctrl-C drops it: then the result is `None`.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut interrupts = interrupts();
    match select(pin!(work), pin!(interrupts.recv())).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}
