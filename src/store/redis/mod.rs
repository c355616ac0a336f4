//! [`RedisMeter`]: quota counters in Redis. Each charge is one script, which Redis runs alone.

mod connection;
#[cfg(feature = "rates")]
mod rates;
mod reply;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionLike, ConnectionManager};
use redis::{Client, Script, ScriptInvocation};
use serde_json::{Map, Value, json};

use self::connection::SharedConnection;
#[cfg(feature = "rates")]
pub use self::rates::RedisRates;
use self::reply::{malformed, number};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::namespace::hash_tagged;
use crate::namespace::redis::redis_error;
use crate::quota::meter::{
    Charge, ChargeLine, ChargeOutcome, Counter, CounterKey, CounterState, Hold, HoldEnd, LineCount,
    MAX_COUNT, Meter, Resolution, ResolveOutcome, other_charge,
};
use crate::tenant::TenantId;

/// Counts quotas in Redis 5 or later, for several processes. Exact: each charge is one Lua script.
///
/// ```
/// # use std::sync::Arc;
/// use tenancy::{quota::Quotas, store::RedisMeter};
///
/// async fn quotas(url: &str) -> tenancy::Result<Quotas> {
///     let client = redis::Client::open(url).expect("the URL of Redis is valid");
///     Ok(Quotas::new(Arc::new(RedisMeter::connect(client).await?)))
/// }
/// ```
///
/// # Redis Cluster
/// All keys of a tenant have the same hash tag, so they are on one node, also those of a charge of several quotas.
/// Enable the feature `cluster-async` of the crate `redis`, and pass its connection:
///
/// ```
/// # use std::sync::Arc;
/// use redis::cluster::ClusterClient;
/// use tenancy::{quota::Quotas, store::RedisMeter};
///
/// async fn quotas(client: ClusterClient) -> redis::RedisResult<Quotas> {
///     let connection = client.get_async_connection().await?;
///     Ok(Quotas::new(Arc::new(RedisMeter::from_connection(connection))))
/// }
/// ```
///
/// # Durability
/// A charge that Redis confirmed can be lost if Redis fails before it has written or replicated the change: at most the
/// charges of the last second with `appendfsync everysec`, and the replication lag at a failover. Use an `SqlStore`
/// where a lost charge costs money.
#[derive(Clone)]
pub struct RedisMeter {
    connection: SharedConnection,
    keep: Duration,
    charge: Script,
    resolve: Script,
    renew: Script,
    counters: Script,
}

impl fmt::Debug for RedisMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisMeter").field("keep", &self.keep).finish_non_exhaustive()
    }
}

impl RedisMeter {
    /// Connects to Redis.
    ///
    /// # Errors
    /// [`StoreUnavailable`](crate::ErrorKind::StoreUnavailable) if Redis cannot be reached;
    /// [`Database`](crate::ErrorKind::Database) if Redis rejects the connection, such as for a wrong password.
    pub async fn connect(client: Client) -> Result<Self> {
        Ok(Self::from_connection(ConnectionManager::new(client).await.map_err(redis_error)?))
    }

    /// Uses this connection, such as one to a [cluster](Self#redis-cluster). It has to reconnect by itself.
    pub fn from_connection(connection: impl ConnectionLike + Clone + Send + Sync + 'static) -> Self {
        let common = include_str!("common.lua");
        let script = |own: &str| Script::new(&format!("{common}\n{own}"));
        Self {
            connection: SharedConnection::new(connection),
            keep: Duration::from_hours(24 * 400),
            charge: script(include_str!("charge.lua")),
            resolve: script(include_str!("resolve.lua")),
            renew: Script::new(include_str!("renew.lua")),
            counters: Script::new(include_str!("counters.lua")),
        }
    }

    /// Sets for how long the counter of a period is kept after the period ended; 400 days by default. A counter of the
    /// period `lifetime` has no end.
    #[must_use]
    pub fn keep(self, keep: Duration) -> Self {
        Self { keep, ..self }
    }

    async fn run<T: redis::FromRedisValue>(&self, script: &mut ScriptInvocation<'_>) -> Result<T> {
        script.invoke_async(&mut self.connection.clone()).await.map_err(redis_error)
    }

    fn lines(&self, lines: &[ChargeLine]) -> Value {
        lines.iter().map(|line| self.line(line)).collect()
    }

    /// One line as the scripts read it. An absent field is `nil` there.
    fn line(&self, line: &ChargeLine) -> Value {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        set("amount", Some(line.amount.into()));
        set("limit", line.limit.max().map(Into::into));
        set("hard", Some(line.hard_limit.max().unwrap_or(MAX_COUNT).min(MAX_COUNT).into()));
        set("grace", line.grace.map(|grace| micros(grace).into()));
        set("warn", Some(json!(line.warn)));
        set("start", Some(line.window.start.micros().into()));
        set("stop", line.window.end.map(|end| end.micros().into()));
        set("keep_ms", line.window.end.map(|end| (end.after(self.keep).micros() / 1_000).into()));
        set("member", Some(member(&line.counter).into()));
        Value::Object(fields)
    }
}

/// For how long a hold that has ended is remembered, so that a late commit is told so.
const REMEMBERED: Duration = Duration::from_hours(24);

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// The milliseconds from `now` to a time, at least 1.
fn millis_until(end: Timestamp, now: Timestamp) -> i64 {
    (end.micros().saturating_sub(now.micros()) / 1_000).max(1)
}

/// The text of a counter in the index: without ambiguity, because it is JSON.
fn member(key: &CounterKey) -> String {
    let CounterKey { feature, subject, period } = key;
    json!([feature, subject, period]).to_string()
}

fn index_key(tenant: &TenantId) -> String {
    hash_tagged(tenant, &[&"quota", &"index"])
}

fn hold_key(tenant: &TenantId, id: &str) -> String {
    hash_tagged(tenant, &[&"quota", &"hold", &id])
}

/// The keys of a counter and of its holds.
fn counter_keys(tenant: &TenantId, key: &CounterKey) -> [String; 2] {
    let CounterKey { feature, subject, period } = key;
    ["counter", "holds"].map(|kind| hash_tagged(tenant, &[&"quota", &kind, feature, subject, period]))
}

#[async_trait]
impl Meter for RedisMeter {
    async fn charge(&self, charge: &Charge) -> Result<ChargeOutcome> {
        let Charge { tenant, lines, key, hold, now } = charge;
        let mut argument = json!({ "now": now.micros(), "lines": self.lines(lines) });
        let hold_id = hold.map(|hold| hold.id.to_string()).unwrap_or_default();
        if let Some(hold) = hold {
            argument["hold"] = hold_id.as_str().into();
            argument["expires"] = hold.expires.micros().into();
            argument["hold_ttl"] = millis_until(hold.expires.after(REMEMBERED), *now).into();
        }
        let key_name = key.as_ref().map_or("", |(key, _)| key);
        if let Some((_, expires)) = key {
            argument["key"] = millis_until(*expires, *now).into();
            argument["fingerprint"] = charge.fingerprint().into();
        }
        let mut call = self.charge.key(index_key(tenant));
        call.key(hold_key(tenant, &hold_id)).key(hash_tagged(tenant, &[&"quota", &"key", &key_name]));
        for line in lines {
            call.key(&counter_keys(tenant, &line.counter)[..]);
        }
        let reply = Reply::read(self.run(call.arg(argument.to_string())).await?)?;
        match reply.kind.as_str() {
            "charged" => Ok(ChargeOutcome::Charged(reply.counts)),
            "repeated" => Ok(ChargeOutcome::Repeated(reply.counts)),
            "denied" => Ok(ChargeOutcome::Denied { line: reply.line, counts: reply.counts }),
            "conflict" => Err(other_charge()),
            _ => Err(malformed()),
        }
    }

    async fn resolve(&self, resolution: &Resolution) -> Result<ResolveOutcome> {
        let Resolution { tenant, hold, lines, end, now } = resolution;
        let id = hold.to_string();
        let end = match end {
            HoldEnd::Release => "release",
            HoldEnd::Commit => "commit",
            HoldEnd::CommitAnyway => "anyway",
        };
        let argument = json!({ "now": now.micros(), "hold": id, "stop": end, "lines": self.lines(lines) });
        let mut call = self.resolve.key(index_key(tenant));
        call.key(hold_key(tenant, &id));
        for line in lines {
            call.key(&counter_keys(tenant, &line.counter)[..]);
        }
        let reply = Reply::read(self.run(call.arg(argument.to_string())).await?)?;
        match reply.kind.as_str() {
            "resolved" => Ok(ResolveOutcome::Resolved(reply.counts)),
            "already" => Ok(ResolveOutcome::AlreadyResolved),
            "expired" => Ok(ResolveOutcome::Expired),
            "denied" => Ok(ResolveOutcome::Denied { line: reply.line, counts: reply.counts }),
            _ => Err(malformed()),
        }
    }

    async fn renew(
        &self,
        tenant: &TenantId,
        hold: Hold,
        lines: &[ChargeLine],
        now: Timestamp,
    ) -> Result<bool> {
        let id = hold.id.to_string();
        let mut call = self.renew.key(hold_key(tenant, &id));
        for line in lines {
            let [_, holds] = counter_keys(tenant, &line.counter);
            call.key(holds);
        }
        let keep = millis_until(hold.expires.after(REMEMBERED), now);
        call.arg(id).arg(now.micros()).arg(hold.expires.micros()).arg(keep);
        self.run::<bool>(&mut call).await
    }

    async fn counters(
        &self,
        tenant: &TenantId,
        feature: Option<&str>,
        now: Timestamp,
        limit: u16,
    ) -> Result<Vec<Counter>> {
        let mut list = redis::cmd("ZREVRANGE");
        list.arg(index_key(tenant)).arg(0).arg(-1);
        let members: Vec<String> =
            list.query_async(&mut self.connection.clone()).await.map_err(redis_error)?;
        let mut keys = Vec::with_capacity(members.len());
        for member in members {
            let (feature, subject, period) = serde_json::from_str(&member).map_err(|_| malformed())?;
            keys.push((member, CounterKey { feature, subject, period }));
        }
        keys.retain(|(_, key)| feature.is_none_or(|name| key.feature == name));
        let mut counters = Vec::new();
        // Redis serves nobody else while a script runs, so each reads some.
        for some in keys.chunks(500) {
            let mut call = self.counters.key(index_key(tenant));
            call.arg(now.micros());
            for (member, key) in some {
                call.key(&counter_keys(tenant, key)[..]).arg(member);
            }
            let rows: Vec<[String; 6]> = self.run(&mut call).await?;
            for row in rows {
                counters.push(counter(row)?);
            }
        }
        Counter::newest_first(&mut counters, limit);
        Ok(counters)
    }

    async fn read(
        &self,
        tenant: &TenantId,
        keys: &[CounterKey],
        now: Timestamp,
    ) -> Result<Vec<CounterState>> {
        let mut call = self.counters.key(index_key(tenant));
        call.arg(now.micros());
        for key in keys {
            call.key(&counter_keys(tenant, key)[..]).arg(member(key));
        }
        let rows: Vec<[String; 6]> = self.run(&mut call).await?;
        let found = rows.into_iter().map(counter).collect::<Result<Vec<_>>>()?;
        let state = |key: &CounterKey| {
            let found = found.iter().find(|counter| counter.key == *key);
            found.map_or_else(CounterState::default, |counter| CounterState {
                used: counter.used,
                held: counter.held,
                over_since: None,
                warned: counter.warned,
            })
        };
        Ok(keys.iter().map(state).collect())
    }

    /// Redis deletes what has expired itself.
    async fn delete_before(&self, _: Timestamp) -> Result<u64> {
        Ok(0)
    }
}

fn counter([member, used, warned, start, end, held]: [String; 6]) -> Result<Counter> {
    let (feature, subject, period) = serde_json::from_str(&member).map_err(|_| malformed())?;
    let time = |text: &str| text.parse().map(Timestamp::from_micros).map_err(|_| malformed());
    Ok(Counter {
        key: CounterKey { feature, subject, period },
        start: time(&start)?,
        end: if end.is_empty() { None } else { Some(time(&end)?) },
        used: number(&used)?,
        held: number(&held)?,
        warned: number(&warned)?,
    })
}

/// The reply of a script: what happened, the line that does not fit, and the counts of each line.
struct Reply {
    kind: String,
    line: usize,
    counts: Vec<LineCount>,
}

impl Reply {
    fn read(texts: Vec<String>) -> Result<Self> {
        let mut texts = texts.into_iter();
        let kind = texts.next().ok_or_else(malformed)?;
        let line = texts.next().map_or(Ok(0), |line| number(&line))?;
        let mut counts = Vec::new();
        while let (Some(used), Some(held), Some(reached)) = (texts.next(), texts.next(), texts.next()) {
            let levels = reached.split(',').filter(|level| !level.is_empty());
            let reached = levels.map(number).collect::<Result<_>>()?;
            counts.push(LineCount { used: number(&used)?, held: number(&held)?, reached });
        }
        Ok(Self { kind, line, counts })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Every way to cut a text into a tenant, a feature, a subject and a period.
    fn cuts(text: &str) -> Vec<(TenantId, CounterKey)> {
        let mut found = Vec::new();
        let ends: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        for (n, a) in ends.iter().enumerate() {
            let Ok(tenant) = TenantId::parse(&text[..*a]) else { continue };
            for (m, b) in ends.iter().enumerate().skip(n) {
                for c in &ends[m..] {
                    let [feature, subject, period] =
                        [&text[*a..*b], &text[*b..*c], &text[*c..]].map(str::to_owned);
                    found.push((tenant.clone(), CounterKey { feature, subject, period }));
                }
            }
        }
        found
    }

    /// Texts of what separates, quotes and escapes. `1` and `1ab` are tenants.
    fn text() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "a", "b", ":", "{", "}", "_", "-", "1", "\"", "[", ",", "\\", "\0", "ß",
        ]);
        prop::collection::vec(part, 0..8).prop_map(|parts| format!("1ab{}", parts.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn q49_keys_of_different_counters_never_collide(text in text()) {
            let (mut names, mut all) = (HashSet::new(), 0);
            for (tenant, key) in cuts(&text) {
                let [counter, holds] = counter_keys(&tenant, &key);
                for name in [counter, holds, format!("{} {}", index_key(&tenant), member(&key))] {
                    all += 1;
                    prop_assert!(names.insert(name), "{} {:?}", tenant, key);
                }
            }
            prop_assert!(all >= 3);
            // What a tenant has beside its counters has other names.
            for (tenant, CounterKey { subject, .. }) in cuts(&text) {
                let key = hash_tagged(&tenant, &[&"quota", &"key", &subject]);
                for name in [index_key(&tenant), hold_key(&tenant, &subject), key] {
                    prop_assert!(!names.contains(&name), "{}", name);
                }
            }
        }
    }
}
