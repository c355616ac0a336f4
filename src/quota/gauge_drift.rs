//! [`GaugeDrift`]: the difference between a gauge and the rows, and the recounts that remove it.

use std::collections::BTreeSet;
use std::fmt::Display;

use serde::Serialize;

use super::gauge::{Gauge, MAX_COUNT, Usage};
use super::gauge_resources::resource;
use crate::audit::AuditEvent;
use crate::database::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::scope::{Backend, Run, Statement, TenantExecutor, Tx};

/// The comparison of a gauge with the rows that exist. [`Gauge::reconcile`] returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[must_use = "`reconcile` changes nothing: read the drift, and call `recount` to remove it"]
pub struct GaugeDrift {
    /// What the gauge counts.
    pub used: u64,
    /// What exists, as the caller counted it.
    pub counted: u64,
    /// How many ids exist and are not counted. It is 0 for a gauge that counts by number.
    pub missing_ids: u64,
    /// How many ids are counted and do not exist. It is 0 for a gauge that counts by number.
    pub extra_ids: u64,
}

impl GaugeDrift {
    /// The count of the gauge minus what exists. Above 0, the tenant gets less than its plan allows; below 0, more.
    pub fn drift(&self) -> i64 {
        // Both are at most 2^53 - 1.
        self.used.cast_signed() - self.counted.cast_signed()
    }

    /// Whether the gauge counts what exists: the number, and the ids if they were compared.
    pub fn is_exact(&self) -> bool {
        self.used == self.counted && self.missing_ids == 0 && self.extra_ids == 0
    }
}

impl Gauge {
    /// Compares the count with the number of rows that exist. It changes nothing.
    ///
    /// `counted` is your count, such as that of [`TenantScoped::count`](crate::TenantScoped::count). In a transaction
    /// that writes, call [`lock`](Self::lock) before you count: otherwise another transaction that commits between the
    /// two reads looks like drift. In the snapshot of [`TenantDb::cross_tenant`](crate::TenantDb::cross_tenant) no lock
    /// is needed.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownFeature`] if the catalog has no such gauge; [`ErrorKind::InvalidInput`] if `counted` is over
    /// 2^53 − 1; [`ErrorKind::StoreUnavailable`].
    pub async fn reconcile<S: TenantExecutor>(&self, scope: S, counted: u64) -> Result<GaugeDrift> {
        self.rule(scope.context().entitlements())?;
        checked_count(counted)?;
        Ok(GaugeDrift { used: self.used(scope).await?, counted, missing_ids: 0, extra_ids: 0 })
    }

    /// Compares the count and the counted ids with the ids that exist, for a gauge that counts by id. It changes nothing.
    ///
    /// An id that is given twice counts once. Otherwise as [`reconcile`](Self::reconcile).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an id as in [`acquire_for`](Self::acquire_for); otherwise as
    /// [`reconcile`](Self::reconcile).
    pub async fn reconcile_for<DB: Backend>(
        &self,
        tx: &mut Tx<'_, DB>,
        ids: impl IntoIterator<Item = impl Display>,
    ) -> Result<GaugeDrift> {
        self.rule_in(tx)?;
        let ids = distinct(ids)?;
        let held = self.held_ids(&mut *tx).await?;
        Ok(GaugeDrift {
            used: self.used(tx).await?,
            counted: ids.len() as u64,
            missing_ids: ids.difference(&held).count() as u64,
            extra_ids: held.difference(&ids).count() as u64,
        })
    }

    /// Sets the count to the number of rows that exist, for a gauge that counts by number.
    ///
    /// It raises or lowers the count, also above the limit of the plan: then [`Usage::over_by`] is more than 0, what
    /// exists stays, and nothing can be acquired. A changed count is recorded in the same transaction as the audit event
    /// `tenancy.gauge_recount`, with the reason and both numbers.
    ///
    /// Use it once for each tenant when a gauge is added to a table that has rows, and to remove the drift that
    /// [`reconcile`](Self::reconcile) found:
    ///
    /// ```
    /// # use tenancy::TenantScoped;
    /// # #[derive(TenantScoped, sqlx::FromRow)]
    /// # #[tenant(table = "projects")]
    /// # struct Project { #[tenant(id)] id: i64 }
    /// use tenancy::quota::{Gauge, Usage};
    /// use tenancy::{TenantContext, TenantDb};
    ///
    /// const PROJECTS: Gauge = Gauge::new("projects");
    ///
    /// async fn recount(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext) -> tenancy::Result<Usage> {
    ///     let mut tx = db.begin(ctx).await?;
    ///     PROJECTS.lock(&mut tx).await?; // nobody creates or deletes a project between the count and the recount
    ///     let rows = Project::count(&mut tx).await?;
    ///     let usage = PROJECTS.recount(&mut tx, rows, "the gauge was added to a table with rows").await?;
    ///     tx.commit().await?;
    ///     Ok(usage)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the reason is blank or `counted` is over 2^53 − 1; [`ErrorKind::Misconfigured`] if
    /// the gauge counts by id and `counted` is not the number of its ids: [`recount_for`](Self::recount_for) replaces
    /// them; [`ErrorKind::UnknownFeature`] if the catalog has no such gauge; otherwise as any write.
    pub async fn recount<DB: Backend>(
        &self,
        tx: &mut Tx<'_, DB>,
        counted: u64,
        reason: &str,
    ) -> Result<Usage> {
        let rule = self.rule_in(tx)?;
        checked_count(counted)?;
        checked_reason(reason)?;
        let used = self.locked(tx).await?;
        let ids = self.ids_held(&mut *tx).await?;
        if ids > 0 && ids != counted {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!("`{}` counts by id; recount with `Gauge::recount_for`", self.feature()),
            ));
        }
        if used != counted {
            self.set(tx, used, counted, reason).await?;
        }
        Ok(Usage::changed(rule, used, counted))
    }

    /// Sets the counted ids to those that exist, and the count to their number, for a gauge that counts by id.
    ///
    /// An id that is given twice counts once. Otherwise as [`recount`](Self::recount). The audit event is always recorded,
    /// because the ids can change without their number.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the reason is blank, or for an id as in [`acquire_for`](Self::acquire_for);
    /// [`ErrorKind::UnknownFeature`] if the catalog has no such gauge; otherwise as any write.
    pub async fn recount_for<DB: Backend>(
        &self,
        tx: &mut Tx<'_, DB>,
        ids: impl IntoIterator<Item = impl Display>,
        reason: &str,
    ) -> Result<Usage> {
        let rule = self.rule_in(tx)?;
        checked_reason(reason)?;
        let ids = Vec::from_iter(distinct(ids)?);
        let counted = ids.len() as u64;
        let used = self.locked(tx).await?;
        self.replace_ids(tx, &ids).await?;
        self.set(tx, used, counted, reason).await?;
        Ok(Usage::changed(rule, used, counted))
    }

    /// Sets the count, and records it. The row exists and is locked.
    async fn set<DB: Backend>(&self, tx: &mut Tx<'_, DB>, old: u64, new: u64, reason: &str) -> Result<()> {
        let statement = Statement::internal_table(
            &tx.bound_internal(),
            "UPDATE @tenancy_gauges SET used = $3 WHERE tenant_id = $1 AND feature = $2",
            &[Value::Text(self.feature()), Value::Int(new.cast_signed())],
        )?;
        tx.execute(statement).await?;
        let event = AuditEvent::new(tx.context(), "tenancy.gauge_recount")
            .target("gauge", self.feature())
            .detail("reason", reason)
            .detail("old", old)
            .detail("new", new);
        tx.record(event).await
    }
}

fn distinct(ids: impl IntoIterator<Item = impl Display>) -> Result<BTreeSet<String>> {
    ids.into_iter().map(|id| resource(&id)).collect()
}

fn checked_count(counted: u64) -> Result<()> {
    match i64::try_from(counted) {
        Ok(0..=MAX_COUNT) => Ok(()),
        _ => Err(Error::new(ErrorKind::InvalidInput, "the number of rows must be 0 to 2^53 - 1")),
    }
}

fn checked_reason(reason: &str) -> Result<()> {
    if reason.trim().is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "the reason is blank; give the reason for the recount, for the audit log",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_has_a_sign_and_no_underflow() {
        let max = MAX_COUNT.unsigned_abs();
        for (used, counted, drift) in
            [(5, 5, 0), (7, 5, 2), (0, 5, -5), (0, max, -MAX_COUNT), (max, 0, MAX_COUNT)]
        {
            let found = GaugeDrift { used, counted, missing_ids: 0, extra_ids: 0 };
            assert_eq!((found.drift(), found.is_exact()), (drift, drift == 0));
            for (missing_ids, extra_ids) in [(1, 0), (0, 1), (1, 1)] {
                assert!(!GaugeDrift { missing_ids, extra_ids, ..found }.is_exact());
            }
        }
        assert!(
            checked_count(max).is_ok() && checked_count(max + 1).is_err() && checked_count(u64::MAX).is_err()
        );
        assert!(checked_reason(" ").is_err() && checked_reason("x").is_ok());
    }
}
