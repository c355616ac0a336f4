//! [`claim`] and [`finish`]: hand out the rows of the outbox, each to one node at a time.

use std::time::Duration;

use super::notification::OutboxRow;
use super::repeat::repeat_up_to;
use super::store::{BillingStore, BillingTx};
use crate::clock::Timestamp;
use crate::error::Result;

/// How long a node has a row for itself.
const LEASE: Duration = Duration::from_mins(5);
/// After how many failures a row is given up.
const MAX_FAILURES: u32 = 10;
/// The pause after the first failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// How often a transaction that conflicts with others is run, the first run included.
const MAX_ATTEMPTS: usize = 20;
/// The lock of everything that hands out rows.
const LOCK: &str = "outbox";

/// Runs a transaction under the lock of the outbox, and repeats it if it conflicts with another one.
macro_rules! locked {
    ($store:expr, |$tx:ident| $run:expr) => {
        repeat_up_to(MAX_ATTEMPTS, || async {
            let mut $tx = $store.begin().await?;
            $tx.advisory_lock(LOCK).await?;
            let value = $run.await?;
            $tx.commit().await.map(|()| value)
        })
        .await
    };
}

/// Claims the next row that is due. A tenant's row is due only after all rows before it are delivered or given up.
pub(super) async fn claim(store: &dyn BillingStore, now: Timestamp) -> Result<Option<OutboxRow>> {
    loop {
        match locked!(store, |tx| claim_in(&mut *tx, now))? {
            Some(row) if row.failed.is_some() => {}
            claimed => return Ok(claimed),
        }
    }
}

async fn claim_in(tx: &mut dyn BillingTx, now: Timestamp) -> Result<Option<OutboxRow>> {
    let Some(mut row) = tx.due_notification(now).await? else { return Ok(None) };
    row.claims += 1;
    row.failures += 1;
    row.due = now.after(LEASE);
    if row.failures > MAX_FAILURES {
        row.failures = MAX_FAILURES;
        row.failed = Some(now);
        row.error = Some("the handler did not return".to_owned());
    }
    tx.update_notification(&row).await?;
    Ok(Some(row))
}

/// Removes a delivered row, and postpones or gives up one whose handler failed. A row that another node has claimed
/// meanwhile does not change.
pub(super) async fn finish(
    store: &dyn BillingStore,
    row: &OutboxRow,
    result: Result<(), String>,
    now: Timestamp,
) -> Result<()> {
    locked!(store, |tx| finish_in(&mut *tx, row, &result, now))
}

async fn finish_in(
    tx: &mut dyn BillingTx,
    row: &OutboxRow,
    result: &Result<(), String>,
    now: Timestamp,
) -> Result<()> {
    let Some(mut stored) = tx.notification(&row.id).await? else { return Ok(()) };
    if stored.claims != row.claims || stored.failed.is_some() {
        return Ok(());
    }
    let Err(error) = result else { return tx.delete_notification(&row.id).await };
    stored.error = Some(error.clone());
    stored.due = now.after(FIRST_PAUSE * 2_u32.saturating_pow(stored.failures.saturating_sub(1)));
    stored.failed = (stored.failures >= MAX_FAILURES).then_some(now);
    tx.update_notification(&stored).await
}

/// Makes a row that was given up due again. Returns whether there is one.
pub(super) async fn retry(store: &dyn BillingStore, id: &str, now: Timestamp) -> Result<bool> {
    locked!(store, |tx| retry_in(&mut *tx, id, now))
}

async fn retry_in(tx: &mut dyn BillingTx, id: &str, now: Timestamp) -> Result<bool> {
    let Some(mut row) = tx.notification(id).await?.filter(|row| row.failed.is_some()) else {
        return Ok(false);
    };
    (row.failures, row.failed, row.due) = (0, None, now);
    tx.update_notification(&row).await?;
    Ok(true)
}
