//! Gauges that count by the id of a resource: the same id twice counts once.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};

use sqlx::AssertSqlSafe;

use super::gauge::{Gauge, Usage, first_int};
use crate::database::{Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::{Backend, Run, Statement, TenantExecutor, Tx};

/// The longest id in bytes.
const MAX_ID: usize = 256;

/// How many ids one statement inserts.
const BATCH: usize = 200;

impl Gauge {
    /// Counts a resource by its id, if the limit allows it; otherwise changes nothing. A resource that is counted
    /// already changes nothing and needs no place, also at the limit.
    ///
    /// A repeated request, a restored row and a second acceptance of an invitation so count once. The id is that of your
    /// row, or another name of 1 to 256 bytes that identifies the resource within the tenant.
    ///
    /// ```
    /// use tenancy::quota::Gauge;
    /// use tenancy::{TenantContext, TenantDb};
    ///
    /// const SEATS: Gauge = Gauge::new("seats");
    ///
    /// async fn invite(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext, email: &str) -> tenancy::Result<()> {
    ///     let mut tx = db.begin(ctx).await?;
    ///     let usage = SEATS.acquire_for(&mut tx, email).await?; // an invited member holds a seat
    ///     // .. insert the invitation ..
    ///     tx.commit().await?;
    ///     for percent in usage.reached {
    ///         println!("{percent} % of the seats are in use");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the id is empty, longer than 256 bytes, or has control characters; otherwise as
    /// [`acquire`](Self::acquire).
    pub async fn acquire_for<DB: Backend>(&self, tx: &mut Tx<'_, DB>, id: impl Display) -> Result<Usage> {
        let rule = self.rule_in(tx)?;
        let id = resource(&id)?;
        // The count first: all changes of a gauge wait for the same row, in the same order.
        let used = self.locked(tx).await?;
        if self.is_held(&mut *tx, &id).await? {
            return Ok(Usage::unraised(rule, used));
        }
        let usage = self.acquire(tx, 1).await?;
        self.insert_ids(tx, &[id]).await?;
        Ok(usage)
    }

    /// Releases a resource by its id. Returns whether it was counted; if not, nothing changes.
    ///
    /// With soft deletes, call it at `delete` and at `purge`: only the first call lowers the count.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an id as in [`acquire_for`](Self::acquire_for); [`ErrorKind::Misconfigured`] if the
    /// count is 0 although the resource is counted: [`recount_for`](Self::recount_for) fixes it.
    pub async fn release_for<DB: Backend>(&self, tx: &mut Tx<'_, DB>, id: impl Display) -> Result<bool> {
        self.rule_in(tx)?;
        let id = resource(&id)?;
        let used = self.locked(tx).await?;
        if !self.is_held(&mut *tx, &id).await? {
            return Ok(false);
        }
        if used == 0 {
            return Err(self.not_released(1, used));
        }
        let tenant = tx.bound_internal();
        let values = [Value::Text(self.feature()), Value::Text(&id)];
        let released = [
            Statement::internal_table(
                &tenant,
                "DELETE FROM @tenancy_gauge_resources WHERE tenant_id = $1 AND feature = $2 AND resource = $3",
                &values,
            )?,
            Statement::internal_table(
                &tenant,
                "UPDATE @tenancy_gauges SET used = used - 1 WHERE tenant_id = $1 AND feature = $2",
                &values[..1],
            )?,
        ];
        tx.execute_all(released.into()).await?;
        Ok(true)
    }

    /// Whether a resource is counted by this id.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an id as in [`acquire_for`](Self::acquire_for); otherwise as
    /// [`usage`](Self::usage).
    pub async fn holds<S: TenantExecutor>(&self, scope: S, id: impl Display) -> Result<bool> {
        self.rule(scope.context().entitlements())?;
        let id = resource(&id)?;
        self.is_held(scope, &id).await
    }

    async fn is_held<S: TenantExecutor>(&self, scope: S, id: &str) -> Result<bool> {
        let statement = Statement::internal_table(
            &scope.bound_internal(),
            "SELECT count(*) FROM @tenancy_gauge_resources WHERE tenant_id = $1 AND feature = $2 AND resource = $3",
            &[Value::Text(self.feature()), Value::Text(id)],
        )?;
        Ok(first_int::<S::Database>(&scope.fetch(statement).await?)? == Some(1))
    }

    /// The number of resources that are counted by id.
    pub(super) async fn ids_held<S: TenantExecutor>(&self, scope: S) -> Result<u64> {
        let statement = Statement::internal_table(
            &scope.bound_internal(),
            "SELECT count(*) FROM @tenancy_gauge_resources WHERE tenant_id = $1 AND feature = $2",
            &[Value::Text(self.feature())],
        )?;
        Ok(first_int::<S::Database>(&scope.fetch(statement).await?)?.unwrap_or(0))
    }

    /// The ids of the resources that are counted by id.
    pub(super) async fn held_ids<S: TenantExecutor>(&self, scope: S) -> Result<BTreeSet<String>> {
        let statement = Statement::internal_table(
            &scope.bound_internal(),
            "SELECT resource FROM @tenancy_gauge_resources WHERE tenant_id = $1 AND feature = $2",
            &[Value::Text(self.feature())],
        )?;
        texts::<S::Database>(&scope.fetch(statement).await?)
    }

    /// Replaces the ids, without the count.
    pub(super) async fn replace_ids<DB: Backend>(&self, tx: &mut Tx<'_, DB>, ids: &[String]) -> Result<()> {
        let statement = Statement::internal_table(
            &tx.bound_internal(),
            "DELETE FROM @tenancy_gauge_resources WHERE tenant_id = $1 AND feature = $2",
            &[Value::Text(self.feature())],
        )?;
        tx.execute(statement).await?;
        for batch in ids.chunks(BATCH) {
            self.insert_ids(tx, batch).await?;
        }
        Ok(())
    }

    async fn insert_ids<DB: Backend>(&self, tx: &mut Tx<'_, DB>, ids: &[String]) -> Result<()> {
        let mut sql =
            "INSERT INTO @tenancy_gauge_resources (tenant_id, feature, resource) VALUES ($1, $2, $3)"
                .to_owned();
        for place in (4..).take(ids.len().saturating_sub(1)) {
            let _ = write!(sql, ", ($1, $2, ${place})");
        }
        let mut values = vec![Value::Text(self.feature())];
        values.extend(ids.iter().map(|id| Value::Text(id)));
        let statement = Statement::internal_table(&tx.bound_internal(), AssertSqlSafe(sql), &values)?;
        tx.execute(statement).await.map(|_| ())
    }
}

fn texts<DB: Backend>(rows: &[DB::Row]) -> Result<BTreeSet<String>> {
    let texts = rows.iter().filter_map(|row| DB::text(row, 0).transpose());
    texts.collect::<sqlx::Result<_>>().map_err(|e| database_error(&e))
}

/// The text of an id.
pub(super) fn resource(id: &(impl Display + ?Sized)) -> Result<String> {
    let id = id.to_string();
    if id.is_empty() || id.len() > MAX_ID || id.chars().any(char::is_control) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the id of a resource has 1 to 256 bytes and no control characters; use the id of the row",
        ));
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_short_text_without_control_characters() {
        for id in ["7", "ada@example.com", "a:b", "☃", &"x".repeat(256)] {
            assert_eq!(resource(id).unwrap(), id);
        }
        for id in ["", "a\0b", "a\n", &"x".repeat(257), &"☃".repeat(86)] {
            assert_eq!(resource(id).unwrap_err().kind(), ErrorKind::InvalidInput, "{id:?}");
        }
    }
}
