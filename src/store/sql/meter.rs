//! [`Meter`] on SQL, on the tables `tenancy_quota_counters`, `tenancy_quota_holds` and `tenancy_quota_keys`.
//!
//! A charge of one counter without holds is one conditional statement. Every other change locks the counters in one
//! statement and reads the holds in a later one: a statement that waits for a lock reads other tables as they were
//! before it waited, so lock and sum in one statement would exceed limits.

use async_trait::async_trait;

use super::SqlStore;
use super::meter_keys::{claim_key, store_result};
use super::meter_rows::{counter, int, number, of_counter, state};
use super::query::{execute, fetch, text, time};
use crate::clock::Timestamp;
use crate::database::{Conn, OpenTransaction, TxMode, Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::quota::counting::change_all;
use crate::quota::meter::{
    Charge, ChargeLine, ChargeOutcome, Counter, CounterKey, CounterState, Hold, HoldEnd, LineCount,
    MAX_COUNT, Meter, Resolution, ResolveOutcome,
};
use crate::scope::Backend;
use crate::tenant::TenantId;

#[async_trait]
impl<DB: Backend> Meter for SqlStore<DB> {
    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome> {
        if let [line] = &charge.lines[..]
            && charge.key.is_none()
            && charge.hold.is_none()
            && line.grace.is_none()
            && let Some(outcome) = self.charge_one(charge, line).await?
        {
            return Ok(outcome);
        }
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let outcome = charge_all::<DB>(&mut tx, charge).await?;
        match outcome {
            ChargeOutcome::Charged(_) => tx.commit().await?,
            ChargeOutcome::Repeated(_) | ChargeOutcome::Denied { .. } => tx.rollback().await?,
        }
        Ok(outcome)
    }

    async fn resolve(&self, resolution: &Resolution) -> Result<ResolveOutcome> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let outcome = resolve::<DB>(&mut tx, resolution).await?;
        match outcome {
            ResolveOutcome::Resolved(_) => tx.commit().await?,
            _ => tx.rollback().await?,
        }
        Ok(outcome)
    }

    async fn renew(
        &self,
        tenant: &TenantId,
        hold: Hold,
        lines: &[ChargeLine],
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let is_live = renew::<DB>(&mut tx, &tenant.to_string(), hold, lines, now).await?;
        let ended = if is_live { tx.commit().await } else { tx.rollback().await };
        ended.map(|()| is_live)
    }

    async fn counters(
        &self,
        tenant: &TenantId,
        feature: Option<&str>,
        now: Timestamp,
        limit: u16,
    ) -> Result<Vec<Counter>> {
        let sql = "SELECT c.feature, c.subject, c.period, c.used, c.warned, c.starts_us, c.ends_us, \
                   CAST(coalesce((SELECT sum(h.amount) FROM tenancy_quota_holds h WHERE h.tenant_id = c.tenant_id \
                   AND h.feature = c.feature AND h.subject = c.subject AND h.period = c.period \
                   AND h.state = 'held' AND h.expires_us > $3), 0) AS bigint) \
                   FROM tenancy_quota_counters c WHERE c.tenant_id = $1 AND ($2 = '' OR c.feature = $2) \
                   ORDER BY c.starts_us DESC, c.feature, c.subject, c.period LIMIT $4";
        let values = [
            Value::Text(&tenant.to_string()),
            Value::Text(feature.unwrap_or_default()),
            Value::Int(now.micros()),
            Value::Int(limit.into()),
        ];
        let mut reader = self.reader().await?;
        fetch::<DB>(reader.conn(), sql, &values).await?.iter().map(counter::<DB>).collect()
    }

    async fn read(
        &self,
        tenant: &TenantId,
        keys: &[CounterKey],
        now: Timestamp,
    ) -> Result<Vec<CounterState>> {
        let sql = "SELECT c.used, c.warned, c.over_since_us, \
                   CAST(coalesce((SELECT sum(h.amount) FROM tenancy_quota_holds h WHERE h.tenant_id = c.tenant_id \
                   AND h.feature = c.feature AND h.subject = c.subject AND h.period = c.period \
                   AND h.state = 'held' AND h.expires_us > $5), 0) AS bigint) FROM tenancy_quota_counters c \
                   WHERE c.tenant_id = $1 AND c.feature = $2 AND c.subject = $3 AND c.period = $4";
        let tenant = tenant.to_string();
        let mut reader = self.reader().await?;
        let mut states = Vec::with_capacity(keys.len());
        for CounterKey { feature, subject, period } in keys {
            let name =
                [Value::Text(&tenant), Value::Text(feature), Value::Text(subject), Value::Text(period)];
            let [a, b, c, d] = name;
            let rows = fetch::<DB>(reader.conn(), sql, &[a, b, c, d, Value::Int(now.micros())]).await?;
            states.push(rows.first().map_or(Ok(CounterState::default()), state::<DB>)?);
        }
        Ok(states)
    }

    async fn delete_before(&self, before: Timestamp) -> Result<u64> {
        let mut deleted = 0;
        for sql in [
            "DELETE FROM tenancy_quota_counters WHERE ends_us < $1",
            "DELETE FROM tenancy_quota_holds WHERE expires_us < $1",
            "DELETE FROM tenancy_quota_keys WHERE expires_us < $1",
        ] {
            let mut tx = self.begin_tx(TxMode::Write).await?;
            deleted += execute::<DB>(tx.conn(), sql, &[Value::Int(before.micros())]).await?;
            tx.commit().await?;
        }
        Ok(deleted)
    }
}

impl<DB: Backend> SqlStore<DB> {
    /// Charges one counter that has no holds, in one statement. `None` if it has holds, or does not have so much left.
    async fn charge_one(&self, charge: &Charge, line: &ChargeLine) -> Result<Option<ChargeOutcome>> {
        if !line.hard_limit.allows(line.amount) {
            return Ok(None);
        }
        let sql = "INSERT INTO tenancy_quota_counters AS q \
                   (tenant_id, feature, subject, period, used, starts_us, ends_us) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                   ON CONFLICT (tenant_id, feature, subject, period) DO UPDATE SET used = q.used + excluded.used \
                   WHERE q.holds = 0 AND q.used + excluded.used <= $8 RETURNING used, warned";
        let tenant = charge.tenant.to_string();
        let more = [
            int(line.amount),
            Value::Int(line.window.start.micros()),
            Value::OptionalInt(line.window.end.map(Timestamp::micros)),
            int(line.hard_limit.max().unwrap_or(MAX_COUNT)),
        ];
        let mut writer = self.writer().await?;
        let rows = fetch::<DB>(writer.conn(), sql, &of_counter(&tenant, &line.counter, &more)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let used = number::<DB>(row, 0)?;
        let warned = u16::try_from(number::<DB>(row, 1)?).unwrap_or(u16::MAX);
        let before = CounterState { used, warned, ..CounterState::default() };
        let after = line.forced(before, 0, false, charge.now);
        let reached = if after.warned > warned {
            mark_warned::<DB>(writer.conn(), &tenant, line, before, after).await?
        } else {
            Vec::new()
        };
        writer.commit().await?;
        Ok(Some(ChargeOutcome::Charged(vec![LineCount { used, held: 0, reached }])))
    }
}

/// Records the warning levels between two states. Of several charges that reached a level, one gets it.
async fn mark_warned<DB: Backend>(
    mut conn: Conn<'_, DB>,
    tenant: &str,
    line: &ChargeLine,
    mut before: CounterState,
    after: CounterState,
) -> Result<Vec<u16>> {
    while before.warned < after.warned {
        let sql = "UPDATE tenancy_quota_counters SET warned = $5 \
                   WHERE tenant_id = $1 AND feature = $2 AND subject = $3 AND period = $4 AND warned = $6";
        let levels = [Value::Int(after.warned.into()), Value::Int(before.warned.into())];
        if execute::<DB>(conn.reborrow(), sql, &of_counter(tenant, &line.counter, &levels)).await? == 1 {
            return Ok(line.reached(before, after));
        }
        let sql = "SELECT warned FROM tenancy_quota_counters \
                   WHERE tenant_id = $1 AND feature = $2 AND subject = $3 AND period = $4";
        let rows = fetch::<DB>(conn.reborrow(), sql, &of_counter(tenant, &line.counter, &[])).await?;
        let Some(row) = rows.first() else { return Ok(Vec::new()) };
        before.warned = u16::try_from(number::<DB>(row, 0)?).unwrap_or(u16::MAX);
    }
    Ok(Vec::new())
}

async fn charge_all<DB: Backend>(tx: &mut OpenTransaction<DB>, charge: &Charge) -> Result<ChargeOutcome> {
    let tenant = charge.tenant.to_string();
    if let Some((key, expires)) = &charge.key
        && let Some(outcome) = claim_key::<DB>(tx.conn(), &tenant, key, *expires, charge).await?
    {
        return Ok(outcome);
    }
    let Locked { states: before, holds } = lock::<DB>(tx, &tenant, &charge.lines, charge.now).await?;
    let is_hold = charge.hold.is_some();
    let changed = change_all(&charge.lines, &before, |_, line, state| {
        line.apply(state, line.amount, is_hold, charge.now)
    });
    let (counts, states) = match changed {
        Ok(changed) => changed,
        Err((line, counts)) => return Ok(ChargeOutcome::Denied { line, counts }),
    };
    for (at, line) in charge.lines.iter().enumerate() {
        save::<DB>(tx.conn(), &tenant, line, states[at], holds[at] + u64::from(is_hold)).await?;
        if let Some(hold) = charge.hold {
            let sql = "INSERT INTO tenancy_quota_holds \
                       (tenant_id, feature, subject, period, id, amount, expires_us, state) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, 'held')";
            let id = hold.id.to_string();
            let more = [Value::Text(&id), int(line.amount), Value::Int(hold.expires.micros())];
            execute::<DB>(tx.conn(), sql, &of_counter(&tenant, &line.counter, &more)).await?;
        }
    }
    if let Some((key, _)) = &charge.key {
        store_result::<DB>(tx.conn(), &tenant, key, charge, &counts).await?;
    }
    Ok(ChargeOutcome::Charged(counts))
}

/// The locked counters, and how many live holds each has.
struct Locked {
    states: Vec<CounterState>,
    holds: Vec<u64>,
}

/// Locks the counters in their order, then reads what is held.
async fn lock<DB: Backend>(
    tx: &mut OpenTransaction<DB>,
    tenant: &str,
    lines: &[ChargeLine],
    now: Timestamp,
) -> Result<Locked> {
    let mut states = Vec::with_capacity(lines.len());
    let mut holds = Vec::with_capacity(lines.len());
    for line in lines {
        let sql = "INSERT INTO tenancy_quota_counters AS q \
                   (tenant_id, feature, subject, period, used, starts_us, ends_us) VALUES ($1, $2, $3, $4, 0, $5, $6) \
                   ON CONFLICT (tenant_id, feature, subject, period) DO UPDATE SET used = q.used \
                   RETURNING used, warned, holds, over_since_us";
        let window = [
            Value::Int(line.window.start.micros()),
            Value::OptionalInt(line.window.end.map(Timestamp::micros)),
        ];
        let rows = fetch::<DB>(tx.conn(), sql, &of_counter(tenant, &line.counter, &window)).await?;
        let row = rows.first().ok_or_else(|| Error::new(ErrorKind::Database, "a counter was not written"))?;
        let over_since = DB::optional_int(row, 3).map_err(|e| database_error(&e))?;
        states.push(CounterState {
            used: number::<DB>(row, 0)?,
            held: 0,
            over_since: over_since.map(Timestamp::from_micros),
            warned: u16::try_from(number::<DB>(row, 1)?).unwrap_or(u16::MAX),
        });
        holds.push(number::<DB>(row, 2)?);
    }
    for (at, line) in lines.iter().enumerate() {
        if holds[at] > 0 {
            // A hold that does not count here must not count as live in a later commit with an earlier time.
            let sql = "UPDATE tenancy_quota_holds SET state = 'expired' WHERE tenant_id = $1 AND feature = $2 \
                       AND subject = $3 AND period = $4 AND state = 'held' AND expires_us <= $5";
            execute::<DB>(tx.conn(), sql, &of_counter(tenant, &line.counter, &[Value::Int(now.micros())]))
                .await?;
            let sql = "SELECT CAST(coalesce(sum(amount), 0) AS bigint), count(*) FROM tenancy_quota_holds \
                       WHERE tenant_id = $1 AND feature = $2 AND subject = $3 AND period = $4 AND state = 'held' \
                       AND expires_us > $5";
            let rows =
                fetch::<DB>(tx.conn(), sql, &of_counter(tenant, &line.counter, &[Value::Int(now.micros())]))
                    .await?;
            let row = rows.first().ok_or_else(|| Error::new(ErrorKind::Database, "a sum has no row"))?;
            (states[at].held, holds[at]) = (number::<DB>(row, 0)?, number::<DB>(row, 1)?);
        }
    }
    Ok(Locked { states, holds })
}

/// Writes a locked counter. `holds` is the number of its live holds.
async fn save<DB: Backend>(
    conn: Conn<'_, DB>,
    tenant: &str,
    line: &ChargeLine,
    state: CounterState,
    holds: u64,
) -> Result<()> {
    let sql = "UPDATE tenancy_quota_counters SET used = $5, warned = $6, over_since_us = $7, holds = $8 \
               WHERE tenant_id = $1 AND feature = $2 AND subject = $3 AND period = $4";
    let more = [
        int(state.used),
        Value::Int(state.warned.into()),
        Value::OptionalInt(state.over_since.map(Timestamp::micros)),
        int(holds),
    ];
    execute::<DB>(conn, sql, &of_counter(tenant, &line.counter, &more)).await.map(|_| ())
}

async fn resolve<DB: Backend>(tx: &mut OpenTransaction<DB>, end: &Resolution) -> Result<ResolveOutcome> {
    let (tenant, id) = (end.tenant.to_string(), end.hold.to_string());
    let Locked { states: before, holds } = lock::<DB>(tx, &tenant, &end.lines, end.now).await?;
    let sql = "SELECT feature, subject, period, amount, expires_us, state FROM tenancy_quota_holds \
               WHERE tenant_id = $1 AND id = $2";
    let rows = fetch::<DB>(tx.conn(), sql, &[Value::Text(&tenant), Value::Text(&id)]).await?;
    let Some(first) = rows.first() else { return Ok(ResolveOutcome::Expired) };
    let state = text::<DB>(first, 5)?;
    if state != "held" && state != "expired" {
        return Ok(ResolveOutcome::AlreadyResolved);
    }
    // Of several counters, one may have been charged after the expiry.
    let mut is_expired = false;
    for row in &rows {
        is_expired |= text::<DB>(row, 5)? == "expired";
    }
    let is_live = !is_expired && end.now < time::<DB>(first, 4)?;
    if !is_live && end.end != HoldEnd::CommitAnyway {
        return Ok(ResolveOutcome::Expired);
    }
    let mut amounts = vec![0; end.lines.len()];
    if is_live {
        for (amount, line) in amounts.iter_mut().zip(&end.lines) {
            *amount = held::<DB>(&rows, line)?;
        }
    }
    let changed =
        change_all(&end.lines, &before, |at, line, state| line.resolve(state, amounts[at], end.end, end.now));
    let (counts, states) = match changed {
        Ok(changed) => changed,
        Err((line, counts)) => return Ok(ResolveOutcome::Denied { line, counts }),
    };
    for (at, line) in end.lines.iter().enumerate() {
        save::<DB>(tx.conn(), &tenant, line, states[at], holds[at].saturating_sub(u64::from(is_live)))
            .await?;
    }
    let sql = "UPDATE tenancy_quota_holds SET state = $3 WHERE tenant_id = $1 AND id = $2";
    let state = if end.end == HoldEnd::Release { "released" } else { "committed" };
    execute::<DB>(tx.conn(), sql, &[Value::Text(&tenant), Value::Text(&id), Value::Text(state)]).await?;
    Ok(ResolveOutcome::Resolved(counts))
}

async fn renew<DB: Backend>(
    tx: &mut OpenTransaction<DB>,
    tenant: &str,
    hold: Hold,
    lines: &[ChargeLine],
    now: Timestamp,
) -> Result<bool> {
    lock::<DB>(tx, tenant, lines, now).await?;
    // Of several counters, one may have been charged after the expiry.
    let sql = "SELECT count(*), coalesce(sum(CASE WHEN state = 'held' AND expires_us > $3 THEN 1 ELSE 0 END), 0) \
               FROM tenancy_quota_holds WHERE tenant_id = $1 AND id = $2";
    let id = hold.id.to_string();
    let name = [Value::Text(tenant), Value::Text(&id)];
    let [a, b] = name;
    let rows = fetch::<DB>(tx.conn(), sql, &[a, b, Value::Int(now.micros())]).await?;
    let row = rows.first().ok_or_else(|| Error::new(ErrorKind::Database, "a count has no row"))?;
    let (all, live) = (number::<DB>(row, 0)?, number::<DB>(row, 1)?);
    if all == 0 || live < all {
        return Ok(false);
    }
    let sql =
        "UPDATE tenancy_quota_holds SET expires_us = $3 WHERE tenant_id = $1 AND id = $2 AND expires_us < $3";
    execute::<DB>(tx.conn(), sql, &[a, b, Value::Int(hold.expires.micros())]).await?;
    Ok(true)
}

/// What a hold has of one counter.
fn held<DB: Backend>(rows: &[DB::Row], line: &ChargeLine) -> Result<u64> {
    for row in rows {
        let key = CounterKey {
            feature: text::<DB>(row, 0)?,
            subject: text::<DB>(row, 1)?,
            period: text::<DB>(row, 2)?,
        };
        if key == line.counter {
            return number::<DB>(row, 3);
        }
    }
    Ok(0)
}
