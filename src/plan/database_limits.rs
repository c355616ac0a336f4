//! [`DatabaseLimits`]: what a plan allows its tenants in the database.

use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// What a plan allows its tenants in the database: time for each statement, rows for each statement, and connections.
///
/// The table `[plans.KEY.database]` of the catalog has them. Each is optional; without it the plan has no such limit.
///
/// | key | meaning |
/// |---|---|
/// | `statement_timeout_ms` | how long one statement may run, in milliseconds |
/// | `lock_timeout_ms` | how long one statement may wait for a lock, in milliseconds |
/// | `max_rows` | how many rows one statement may return |
/// | `max_connections` | how many connections the tenant may use at a time, in each process |
///
/// A [`TenantDb`](crate#modules) applies them to every statement of the tenant.
///
/// ```
/// use std::time::Duration;
/// use tenancy::plan::Catalog;
///
/// let catalog = Catalog::from_toml(r#"
///     version = 1
///     [plans.free.database]
///     statement_timeout_ms = 2000
///     lock_timeout_ms      = 500
///     max_rows             = 5000
///     max_connections      = 4
///     [plans.enterprise]
/// "#)?;
///
/// let free = catalog.entitlements("free")?;
/// assert_eq!(free.database_limits().statement_timeout(), Some(Duration::from_secs(2)));
/// assert_eq!(free.database_limits().max_rows(), Some(5000));
/// assert_eq!(catalog.entitlements("enterprise")?.database_limits().max_rows(), None);
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatabaseLimits {
    statement_timeout: Option<Duration>,
    lock_timeout: Option<Duration>,
    max_rows: Option<u64>,
    max_connections: Option<u32>,
}

impl DatabaseLimits {
    /// How long one statement may run.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.statement_timeout
    }

    /// How long one statement may wait for a lock.
    pub fn lock_timeout(&self) -> Option<Duration> {
        self.lock_timeout
    }

    /// How many rows one statement may return.
    pub fn max_rows(&self) -> Option<u64> {
        self.max_rows
    }

    /// How many connections the tenant may use at a time, in each process.
    pub fn max_connections(&self) -> Option<u32> {
        self.max_connections
    }
}

/// The table `[plans.KEY.database]`.
#[derive(Debug, Clone, Copy, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct DatabaseEntry {
    statement_timeout_ms: Option<u64>,
    lock_timeout_ms: Option<u64>,
    max_rows: Option<u64>,
    max_connections: Option<u64>,
}

/// PostgreSQL keeps a time limit in milliseconds, and SQLite a busy timeout, as an integer of 32 bits.
const LARGEST: u64 = i32::MAX as u64;

impl DatabaseEntry {
    /// The values, with those of the plan that is extended where they have none.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            statement_timeout_ms: self.statement_timeout_ms.or(other.statement_timeout_ms),
            lock_timeout_ms: self.lock_timeout_ms.or(other.lock_timeout_ms),
            max_rows: self.max_rows.or(other.max_rows),
            max_connections: self.max_connections.or(other.max_connections),
        }
    }

    /// Checks the values of the plan `plan`.
    pub(super) fn limits(&self, plan: &str) -> Result<DatabaseLimits> {
        let checked = |key: &str, value: Option<u64>| match value {
            Some(value) if !(1..=LARGEST).contains(&value) => Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the plan `{plan}` gives `{key}` the value {value}; write a whole number from 1 to {LARGEST}, or \
                     leave it out for no limit"
                ),
            )),
            value => Ok(value),
        };
        let milliseconds = |key, value| Ok(checked(key, value)?.map(Duration::from_millis));
        let max_connections = checked("max_connections", self.max_connections)?;
        Ok(DatabaseLimits {
            statement_timeout: milliseconds("statement_timeout_ms", self.statement_timeout_ms)?,
            lock_timeout: milliseconds("lock_timeout_ms", self.lock_timeout_ms)?,
            max_rows: checked("max_rows", self.max_rows)?,
            max_connections: max_connections.and_then(|max| u32::try_from(max).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Catalog;

    fn parsed(table: &str) -> Result<DatabaseLimits> {
        let text =
            format!("version = 1\n[plans.free.database]\n{table}\n[plans.pro.database]\nmax_rows = 900");
        let catalog = Catalog::from_toml(&text)?;
        assert_eq!(catalog.entitlements("pro")?.database_limits().max_rows(), Some(900));
        Ok(*catalog.entitlements("free")?.database_limits())
    }

    #[test]
    fn each_limit_is_optional_and_belongs_to_its_plan() {
        assert_eq!(parsed("").unwrap(), DatabaseLimits::default());
        let all =
            parsed("statement_timeout_ms = 2000\nlock_timeout_ms = 1\nmax_rows = 7\nmax_connections = 3");
        let all = all.unwrap();
        assert_eq!(all.statement_timeout(), Some(Duration::from_secs(2)));
        assert_eq!(all.lock_timeout(), Some(Duration::from_millis(1)));
        assert_eq!((all.max_rows(), all.max_connections()), (Some(7), Some(3)));
        assert_eq!(parsed("max_rows = 7").unwrap().statement_timeout(), None);
    }

    #[test]
    fn a_limit_that_means_nothing_is_rejected_with_its_plan_and_key() {
        for key in ["statement_timeout_ms", "lock_timeout_ms", "max_rows", "max_connections"] {
            for value in ["0", "2147483648", "9007199254740993"] {
                let error = parsed(&format!("{key} = {value}")).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Misconfigured);
                let start = format!("the plan `free` gives `{key}` the value {value}");
                assert!(error.to_string().contains(&start), "{error}");
            }
            for value in ["-1", "1.5", "\"2s\"", "true"] {
                let error = parsed(&format!("{key} = {value}")).unwrap_err();
                assert!(error.to_string().contains("line 3"), "{error}");
            }
        }
        assert!(parsed("statement_timeout = 5").unwrap_err().to_string().contains("statement_timeout"));
    }
}
