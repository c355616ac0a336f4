//! The metrics of connections. Without the feature `metrics`, `no_metrics.rs` replaces this file.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use metrics::{counter, gauge, histogram};

use super::use_count::ConnectionCount;
use super::waiting::Waiting;
use crate::error::ErrorKind;

/// Awaits a connection, or a part of a tenant's share, and records how long that took.
///
/// `has_idle` says whether a connection is idle. If one is, or if the future is ready when it is first polled, the
/// statement does not wait: no clock is read, and nothing is recorded. A wait whose statement is dropped is recorded too:
/// behind a busy pool, requests end by their own time limits.
pub(super) async fn waiting<F: Future + Unpin>(
    waiting: Waiting,
    has_idle: impl FnOnce() -> bool,
    mut future: F,
) -> F::Output {
    let has_idle = has_idle();
    // The test of an idle connection, for which some pools are set, is no wait for a connection.
    let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut future).poll(cx))).await;
    if let Poll::Ready(output) = first {
        return output;
    }
    let _wait = (!has_idle).then(|| Wait { waiting, since: Instant::now() });
    future.await
}

/// A wait, which is recorded when it ends.
struct Wait {
    waiting: Waiting,
    since: Instant,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Waiting { placement, limit } = self.waiting;
        histogram!("tenancy_connection_wait_seconds", "placement" => placement, "limit" => limit)
            .record(self.since.elapsed());
    }
}

/// Counts a wait that ran out.
pub(super) fn ran_out(waiting: Waiting, kind: ErrorKind) {
    let Waiting { placement, .. } = waiting;
    counter!("tenancy_connection_timeouts_total", "placement" => placement, "code" => kind.code())
        .increment(1);
}

/// Sets the numbers of connections of the shared pool, or of all databases of tenants.
pub(crate) fn connections(pool: &'static str, count: ConnectionCount) {
    gauge!("tenancy_connections_in_use", "pool" => pool).set(count.in_use);
    gauge!("tenancy_connections_open", "pool" => pool).set(count.open);
    gauge!("tenancy_connections_max", "pool" => pool).set(count.max);
}
