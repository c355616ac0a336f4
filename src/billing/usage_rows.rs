//! The statements on the usage of one tenant: which rows a batch counts, and what became of a batch.
//!
//! They read with `fetch`, and so need no audit event: the rows themselves were recorded by the application.

use crate::clock::Timestamp;
use crate::database::{Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::MAX_NUMBER;
use crate::scope::{Backend, Run, Statement, Tx};

/// The highest sum of a batch, 2^53 − 1.
const MAX_SUM: u128 = MAX_NUMBER as u128;

/// The rows of a meter in a minute, none of which is counted by a batch yet.
#[derive(Debug)]
pub(super) struct OpenMinute {
    pub(super) meter: String,
    /// Its first second.
    pub(super) minute: i64,
}

/// What [`claim`] did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// A batch with this many rows.
    Rows(usize),
    /// The sum of the rows is too large for one batch: roll back, and claim fewer.
    TooMuch,
}

/// A batch, as [`lease`] returns it.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: String,
    pub(super) meter: String,
    pub(super) minute: i64,
    pub(super) value: i64,
    pub(super) customer: String,
    /// This attempt included.
    pub(super) attempts: i64,
    pub(super) first: Timestamp,
}

/// A batch that was given up.
#[derive(Debug)]
pub(super) struct DeadRow {
    pub(super) id: String,
    pub(super) meter: String,
    pub(super) minute: i64,
    pub(super) value: i64,
    pub(super) customer: String,
    pub(super) error: String,
    pub(super) ended: Timestamp,
}

/// Runs a statement whose first value is the tenant.
async fn run<DB: Backend>(
    tx: &mut Tx<'_, DB>,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<Vec<DB::Row>> {
    let statement = Statement::internal_table(&tx.bound_internal(), sql, values)?;
    tx.fetch(statement).await
}

fn int<DB: Backend>(row: &DB::Row, column: usize) -> Result<i64> {
    DB::int(row, column).map_err(|e| database_error(&e))
}

fn text<DB: Backend>(row: &DB::Row, column: usize) -> Result<String> {
    Ok(DB::text(row, column).map_err(|e| database_error(&e))?.unwrap_or_default())
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Up to 1,000 minutes before `minute` with rows that no batch counts, the oldest first.
pub(super) async fn open_minutes<DB: Backend>(tx: &mut Tx<'_, DB>, minute: i64) -> Result<Vec<OpenMinute>> {
    let sql = "SELECT DISTINCT meter, minute FROM @tenancy_usage WHERE tenant_id = $1 AND minute < $2 \
               AND batch IS NULL AND withheld IS NULL ORDER BY minute, meter LIMIT 1000";
    let rows = run(tx, sql, &[Value::Int(minute)]).await?;
    let read = |row: &DB::Row| Ok(OpenMinute { meter: text::<DB>(row, 0)?, minute: int::<DB>(row, 1)? });
    rows.iter().map(read).collect()
}

/// Creates a batch of up to `limit` rows of a minute. Of several transactions, one gets a row.
pub(super) async fn claim<DB: Backend>(
    tx: &mut Tx<'_, DB>,
    open: &OpenMinute,
    (id, customer): (&str, &str),
    limit: u32,
    now: Timestamp,
) -> Result<Claimed> {
    let sql = "UPDATE @tenancy_usage SET batch = $2 WHERE tenant_id = $1 AND batch IS NULL AND id IN (\
               SELECT id FROM @tenancy_usage WHERE tenant_id = $1 AND meter = $3 AND minute = $4 \
               AND batch IS NULL AND withheld IS NULL ORDER BY id LIMIT $5) RETURNING value";
    let values =
        [Value::Text(id), Value::Text(&open.meter), Value::Int(open.minute), Value::Int(limit.into())];
    let rows = run(tx, sql, &values).await?;
    let mut sum = 0_u128;
    for row in &rows {
        sum += u128::from(unsigned(int::<DB>(row, 0)?));
    }
    let Some(sum) = i64::try_from(sum).ok().filter(|_| sum <= MAX_SUM) else { return Ok(Claimed::TooMuch) };
    if sum > 0 {
        let sql = "INSERT INTO @tenancy_usage_batches \
                   (tenant_id, id, meter, minute, value, customer, status, due_us, attempts) \
                   VALUES ($1, $2, $3, $4, $5, $6, 'waiting', $7, 0)";
        let values = [
            Value::Text(id),
            Value::Text(&open.meter),
            Value::Int(open.minute),
            Value::Int(sum),
            Value::Text(customer),
            Value::Int(now.micros()),
        ];
        run(tx, sql, &values).await?;
    }
    Ok(Claimed::Rows(rows.len()))
}

/// Gives the next batch that is due to the caller, until `until`.
pub(super) async fn lease<DB: Backend>(
    tx: &mut Tx<'_, DB>,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Batch>> {
    let sql = "UPDATE @tenancy_usage_batches SET due_us = $3, attempts = attempts + 1, \
               first_us = coalesce(first_us, $2) \
               WHERE tenant_id = $1 AND status = 'waiting' AND due_us <= $2 AND id = (\
               SELECT id FROM @tenancy_usage_batches WHERE tenant_id = $1 AND status = 'waiting' \
               AND status <> 'sent' AND due_us <= $2 ORDER BY due_us, id LIMIT 1) \
               RETURNING id, meter, minute, value, customer, attempts, first_us";
    let rows = run(tx, sql, &[Value::Int(now.micros()), Value::Int(until.micros())]).await?;
    let read = |row: &DB::Row| {
        Ok(Batch {
            id: text::<DB>(row, 0)?,
            meter: text::<DB>(row, 1)?,
            minute: int::<DB>(row, 2)?,
            value: int::<DB>(row, 3)?,
            customer: text::<DB>(row, 4)?,
            attempts: int::<DB>(row, 5)?,
            first: Timestamp::from_micros(int::<DB>(row, 6)?),
        })
    };
    rows.first().map(read).transpose()
}

/// Marks a batch as sent, unless it was given up meanwhile.
pub(super) async fn sent<DB: Backend>(tx: &mut Tx<'_, DB>, id: &str, now: Timestamp) -> Result<()> {
    let sql = "UPDATE @tenancy_usage_batches SET status = 'sent', error = NULL, ended_us = $3 \
               WHERE tenant_id = $1 AND id = $2 AND status = 'waiting'";
    run(tx, sql, &[Value::Text(id), Value::Int(now.micros())]).await.map(drop)
}

/// Gives a batch up whose request was rejected.
pub(super) async fn rejected<DB: Backend>(
    tx: &mut Tx<'_, DB>,
    id: &str,
    error: &str,
    now: Timestamp,
) -> Result<()> {
    let sql = "UPDATE @tenancy_usage_batches SET status = 'rejected', error = $3, ended_us = $4 \
               WHERE tenant_id = $1 AND id = $2 AND status = 'waiting'";
    run(tx, sql, &[Value::Text(id), Value::Text(error), Value::Int(now.micros())]).await.map(drop)
}

/// Gives a batch up that the billing system accepted and then found invalid.
pub(super) async fn invalid<DB: Backend>(
    tx: &mut Tx<'_, DB>,
    id: &str,
    error: &str,
    now: Timestamp,
) -> Result<()> {
    let sql = "UPDATE @tenancy_usage_batches SET status = 'invalid', error = $3, ended_us = $4 \
               WHERE tenant_id = $1 AND id = $2 AND status <> 'invalid'";
    run(tx, sql, &[Value::Text(id), Value::Text(error), Value::Int(now.micros())]).await.map(drop)
}

/// Sets when a batch is sent again, and the error of the last attempt.
pub(super) async fn postpone<DB: Backend>(
    tx: &mut Tx<'_, DB>,
    id: &str,
    error: &str,
    due: Timestamp,
) -> Result<()> {
    let sql = "UPDATE @tenancy_usage_batches SET due_us = $4, error = $3 \
               WHERE tenant_id = $1 AND id = $2 AND status = 'waiting'";
    run(tx, sql, &[Value::Text(id), Value::Text(error), Value::Int(due.micros())]).await.map(drop)
}

/// Makes a batch that was given up due again, for this customer. One that the billing system found invalid becomes
/// `new_id`, because its identifier is used up. Returns whether there is such a batch.
pub(super) async fn retry<DB: Backend>(
    tx: &mut Tx<'_, DB>,
    id: &str,
    (new_id, customer): (&str, &str),
    now: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE @tenancy_usage_batches SET status = 'waiting', due_us = $3, attempts = 0, error = NULL, \
               ended_us = NULL, customer = $4 WHERE tenant_id = $1 AND id = $2 AND status = 'rejected' \
               RETURNING value";
    let values = [Value::Text(id), Value::Int(now.micros()), Value::Text(customer)];
    if !run(tx, sql, &values).await?.is_empty() {
        return Ok(true);
    }
    let sql = "UPDATE @tenancy_usage_batches SET status = 'waiting', due_us = $3, attempts = 0, error = NULL, \
               ended_us = NULL, customer = $4, id = $5, first_us = NULL \
               WHERE tenant_id = $1 AND id = $2 AND status = 'invalid' RETURNING value";
    let values = [Value::Text(id), Value::Int(now.micros()), Value::Text(customer), Value::Text(new_id)];
    if run(tx, sql, &values).await?.is_empty() {
        return Ok(false);
    }
    let sql = "UPDATE @tenancy_usage SET batch = $3 WHERE tenant_id = $1 AND batch = $2";
    run(tx, sql, &[Value::Text(id), Value::Text(new_id)]).await?;
    Ok(true)
}

/// The batches that were given up, the first ones first.
pub(super) async fn dead<DB: Backend>(tx: &mut Tx<'_, DB>, limit: u16) -> Result<Vec<DeadRow>> {
    let sql = "SELECT id, meter, minute, value, customer, error, ended_us FROM @tenancy_usage_batches \
               WHERE tenant_id = $1 AND status IN ('rejected', 'invalid') AND status <> 'sent' \
               ORDER BY ended_us, id LIMIT $2";
    let rows = run(tx, sql, &[Value::Int(limit.into())]).await?;
    let read = |row: &DB::Row| {
        Ok(DeadRow {
            id: text::<DB>(row, 0)?,
            meter: text::<DB>(row, 1)?,
            minute: int::<DB>(row, 2)?,
            value: int::<DB>(row, 3)?,
            customer: text::<DB>(row, 4)?,
            error: text::<DB>(row, 5)?,
            ended: Timestamp::from_micros(int::<DB>(row, 6)?),
        })
    };
    rows.iter().map(read).collect()
}

/// How many batches wait and are given up, and how many rows are withheld.
pub(super) async fn counts<DB: Backend>(tx: &mut Tx<'_, DB>) -> Result<(u64, u64, u64)> {
    let sql = "SELECT status, count(*) FROM @tenancy_usage_batches WHERE tenant_id = $1 AND status <> 'sent' \
               GROUP BY status";
    let (mut waiting, mut dead) = (0, 0);
    for row in &run(tx, sql, &[]).await? {
        let count = unsigned(int::<DB>(row, 1)?);
        if text::<DB>(row, 0)? == "waiting" { waiting += count } else { dead += count }
    }
    let sql = "SELECT count(*) FROM @tenancy_usage WHERE tenant_id = $1 AND withheld IS NOT NULL";
    let rows = run(tx, sql, &[]).await?;
    let withheld = rows.first().map_or(Ok(0), |row| int::<DB>(row, 0))?;
    Ok((waiting, dead, unsigned(withheld)))
}

/// The sums of a meter from one minute to before another.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) recorded: u64,
    pub(super) withheld: u64,
    /// By customer.
    pub(super) sent: Vec<(String, u64)>,
    pub(super) dead: u64,
    /// Every customer with a batch.
    pub(super) customers: Vec<String>,
}

pub(super) async fn sums<DB: Backend>(
    tx: &mut Tx<'_, DB>,
    meter: &str,
    (from, to): (i64, i64),
) -> Result<Sums> {
    let values = [Value::Text(meter), Value::Int(from), Value::Int(to)];
    let mut sums = Sums::default();
    let sql = "SELECT coalesce(withheld, ''), CAST(sum(value) AS bigint) FROM @tenancy_usage \
               WHERE tenant_id = $1 AND meter = $2 AND minute >= $3 AND minute < $4 GROUP BY withheld";
    for row in &run(tx, sql, &values).await? {
        let sum = unsigned(int::<DB>(row, 1)?);
        if text::<DB>(row, 0)?.is_empty() { sums.recorded += sum } else { sums.withheld += sum }
    }
    let sql = "SELECT status, customer, CAST(sum(value) AS bigint) FROM @tenancy_usage_batches \
               WHERE tenant_id = $1 AND meter = $2 AND minute >= $3 AND minute < $4 GROUP BY status, customer";
    for row in &run(tx, sql, &values).await? {
        let (status, customer, sum) =
            (text::<DB>(row, 0)?, text::<DB>(row, 1)?, unsigned(int::<DB>(row, 2)?));
        if !sums.customers.contains(&customer) {
            sums.customers.push(customer.clone());
        }
        match &*status {
            "sent" => sums.sent.push((customer, sum)),
            "waiting" => {}
            "rejected" | "invalid" => sums.dead += sum,
            _ => {
                return Err(Error::new(
                    ErrorKind::Database,
                    "a batch of usage has an unknown status; was it written by a newer version?",
                ));
            }
        }
    }
    Ok(sums)
}

/// Deletes what was sent before a time with its rows, and what was withheld before it. Returns how many batches.
pub(super) async fn forget<DB: Backend>(tx: &mut Tx<'_, DB>, before: Timestamp) -> Result<u64> {
    let sql = "DELETE FROM @tenancy_usage WHERE tenant_id = $1 AND batch IN (\
               SELECT id FROM @tenancy_usage_batches WHERE tenant_id = $1 AND status = 'sent' AND ended_us < $2)";
    run(tx, sql, &[Value::Int(before.micros())]).await?;
    let sql = "DELETE FROM @tenancy_usage WHERE tenant_id = $1 AND withheld IS NOT NULL AND minute < $2";
    run(tx, sql, &[Value::Int(before.seconds() - 59)]).await?;
    let sql = "DELETE FROM @tenancy_usage_batches WHERE tenant_id = $1 AND status = 'sent' AND ended_us < $2 \
               RETURNING id";
    Ok(run(tx, sql, &[Value::Int(before.micros())]).await?.len() as u64)
}
