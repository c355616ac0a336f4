//! [`Place`]: where the statements of a tenant run; [`EnteredPlaces`]: the places that were checked. `place.rs` finds
//! the place of a tenant.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use sqlx::SqlSafeStr;

use super::backend::Backend;
use crate::database::{
    Conn, ConnectionMode, Enforcement, Route, Source, Value, arguments, is_missing_table, to_sqlx_error,
};
use crate::error::{Error, ErrorKind};
use crate::tenant::Placement;

/// Where the statements of a tenant run, and how they are sent.
pub(in crate::scope) struct Place<DB: Backend> {
    pub(in crate::scope) source: Source<DB>,
    pub(in crate::scope) route: Route,
    pub(super) enforcement: Enforcement,
    /// Whether the pool is private: no other code can reach it.
    pub(super) owned: bool,
    pub(super) placement: Placement,
    /// The placement, if this process did not enter it before.
    pub(super) unverified: Option<Placement>,
}

impl<DB: Backend> Place<DB> {
    /// Whether the place is in the database of the shared tables.
    pub(in crate::scope) fn is_in_shared_database(&self) -> bool {
        matches!(self.source, Source::Shared(..))
    }

    /// Whether a single statement runs without a transaction.
    ///
    /// `allowed`: it is one statement, and uses no table of the library.
    pub(super) fn allows_autocommit(&self, writes: bool, allowed: bool) -> bool {
        if DB::HAS_RLS {
            // The schema and the role are set for one transaction. The library's own tables always have row-level security. On a
            // shared pool other code may have left a transaction open, and its rollback would undo the change.
            self.owned
                && allowed
                && self.route.schema.is_none()
                && self.route.role.is_none()
                && self.enforcement == Enforcement::PredicateOnly
                && self.route.connection_mode != ConnectionMode::PgBouncer
                && !self.needs_transaction(writes)
        } else {
            !writes
        }
    }

    /// Whether a limit of the plan holds only in a transaction: the message that begins it sets the time limits, and a
    /// write that returns too many rows is rolled back.
    fn needs_transaction(&self, writes: bool) -> bool {
        let limits = &self.route.limits;
        limits.statement_timeout().is_some()
            || limits.lock_timeout().is_some()
            || (writes && limits.max_rows().is_some())
    }
}

/// Checks that the application's migration with this version was applied where the connection is.
pub(super) async fn verify_migration<DB: Backend>(conn: Conn<'_, DB>, version: i64) -> sqlx::Result<()> {
    let sql = "SELECT count(*) FROM _sqlx_migrations WHERE version = $1 AND success";
    let binds = arguments::<DB>(&[Value::Int(version)]).map_err(to_sqlx_error)?;
    let found = match DB::fetch(conn, sql.into_sql_str(), binds).await {
        Ok(rows) => rows.first().map_or(Ok(0), |row| DB::int(row, 0))?,
        // There is no table of migrations yet.
        Err(sqlx::Error::Database(e)) if is_missing_table(&*e) => 0,
        Err(error) => return Err(error),
    };
    if found > 0 {
        return Ok(());
    }
    Err(to_sqlx_error(Error::new(
        ErrorKind::MigrationPending,
        format!("the migration {version} was not applied to this tenant's place yet; run the migrations"),
    )))
}

/// The places that this process entered, so that each is checked once.
///
/// A place that is dropped later is no empty result: the database does not find the table then.
#[derive(Default)]
pub(in crate::scope) struct EnteredPlaces(RwLock<HashSet<Placement>>);

impl EnteredPlaces {
    pub(super) fn contains(&self, placement: &Placement) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(placement)
    }

    pub(super) fn insert(&self, placement: Placement) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(placement);
    }
}
