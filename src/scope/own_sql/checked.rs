//! [`CheckedQuery`]: a query whose tenant was proven, and whose types sqlx checked, at compile time.

use std::fmt;

use sqlx::FromRow;
use sqlx::query::{Map, Query, QueryScalar};
use tenancy_sql::Dialect;

use super::query::no_such_row;
use crate::database::{BoundTenant, Conn};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::session::{Backend, Fetch, TenantExecutor};

/// A query that was rewritten at compile time, and whose types sqlx checked against a database.
///
/// [`query_checked!`](crate::query_checked) and its siblings return it.
#[must_use = "a query does nothing until it is executed or fetched"]
pub struct CheckedQuery<S, Q> {
    scope: S,
    query: Q,
    writes: bool,
    dialect: Dialect,
}

impl<S, Q> fmt::Debug for CheckedQuery<S, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedQuery").field("writes", &self.writes).finish_non_exhaustive()
    }
}

impl<S: TenantExecutor> CheckedQuery<S, ()> {
    #[doc(hidden)]
    pub fn tenant(scope: &S) -> BoundTenant {
        scope.bound_tenant()
    }
}

impl<S, Q> CheckedQuery<S, Q> {
    /// Runs the query unchanged. Only the macros call this, after they have proven its text.
    #[doc(hidden)]
    pub fn unchecked_for_macros_only(scope: S, query: Q, writes: bool, dialect: Dialect) -> Self {
        Self { scope, query, writes, dialect }
    }
}

impl<S: TenantExecutor, Q> CheckedQuery<S, Q> {
    /// Checks that the query was proven for this database: the macros prove it for the first dialect of
    /// `tenancy.toml`, and sqlx checks it against `DATABASE_URL`.
    fn check_dialect(&self) -> Result<()> {
        let (proven, actual) = (self.dialect, <S::Database as Backend>::DIALECT);
        if proven == actual {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "this query was proven for {proven:?}; name {actual:?} first in `dialects` of tenancy.toml"
            ),
        ))
    }
}

impl<DB: Backend, S: TenantExecutor<Database = DB>> CheckedQuery<S, Query<'_, DB, DB::Arguments>> {
    /// Runs the statement, and returns the number of rows that it changed.
    ///
    /// # Errors
    /// As a write of [`TenantScoped`](crate::TenantScoped).
    pub async fn execute(self) -> Result<u64> {
        self.check_dialect()?;
        self.scope.fetch(ExecuteQuery(self.query)).await
    }
}

// `DB` is a parameter of its own, because otherwise the compiler cannot prove that these futures are `Send`.
impl<DB: Backend, S: TenantExecutor<Database = DB>, Q: FetchAllRows<DB>> CheckedQuery<S, Q> {
    /// Reads all rows.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] if a row cannot be decoded; otherwise as a read of
    /// [`TenantScoped`](crate::TenantScoped).
    pub async fn fetch_all(self) -> Result<Vec<Q::Row>> {
        self.check_dialect()?;
        self.scope.fetch(FetchRows { query: self.query, writes: self.writes }).await
    }

    /// Reads the first row, or `None`.
    ///
    /// # Errors
    /// As [`fetch_all`](Self::fetch_all).
    pub async fn fetch_optional(self) -> Result<Option<Q::Row>> {
        Ok(self.fetch_all().await?.into_iter().next())
    }

    /// Reads the first row.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no row; otherwise as [`fetch_all`](Self::fetch_all).
    pub async fn fetch_one(self) -> Result<Q::Row> {
        self.fetch_optional().await?.ok_or_else(no_such_row)
    }
}

struct ExecuteQuery<'q, DB: Backend>(Query<'q, DB, DB::Arguments>);

impl<DB: Backend> Fetch<DB> for ExecuteQuery<'_, DB> {
    type Output = u64;

    fn writes(&self) -> bool {
        true
    }

    async fn run(self, conn: Conn<'_, DB>) -> sqlx::Result<u64> {
        DB::execute_query(conn, self.0).await
    }

    fn matched_rows(rows: &u64) -> bool {
        *rows > 0
    }
}

/// A query of sqlx's macros that returns rows.
#[doc(hidden)]
#[expect(unnameable_types, reason = "only the macros name it")]
pub trait FetchAllRows<DB: Backend>: Send {
    type Row: Send;

    fn fetch_all_rows(self, conn: Conn<'_, DB>) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;
}

impl<DB: Backend, F, T> FetchAllRows<DB> for Map<'_, DB, F, DB::Arguments>
where
    F: FnMut(DB::Row) -> sqlx::Result<T> + Send,
    T: Send + Unpin,
{
    type Row = T;

    async fn fetch_all_rows(self, conn: Conn<'_, DB>) -> sqlx::Result<Vec<T>> {
        DB::fetch_mapped(conn, self).await
    }
}

impl<DB: Backend, T> FetchAllRows<DB> for QueryScalar<'_, DB, T, DB::Arguments>
where
    T: Send + Unpin,
    (T,): for<'r> FromRow<'r, DB::Row>,
{
    type Row = T;

    async fn fetch_all_rows(self, conn: Conn<'_, DB>) -> sqlx::Result<Vec<T>> {
        DB::fetch_scalars(conn, self).await
    }
}

struct FetchRows<Q> {
    query: Q,
    writes: bool,
}

impl<DB: Backend, Q: FetchAllRows<DB>> Fetch<DB> for FetchRows<Q> {
    type Output = Vec<Q::Row>;

    fn writes(&self) -> bool {
        self.writes
    }

    async fn run(self, conn: Conn<'_, DB>) -> sqlx::Result<Self::Output> {
        self.query.fetch_all_rows(conn).await
    }

    fn matched_rows(rows: &Self::Output) -> bool {
        !rows.is_empty()
    }
}
