//! [`CheckedQuery`]: a proven statement whose types sqlx has checked as well.

use std::fmt;

use sqlx::FromRow;
use sqlx::query::{Map, Query, QueryScalar};
use tenancy_sql::Dialect;

use super::query::no_such_row;
use crate::database::{BoundTenant, Conn};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::session::{Backend, Fetch, TenantExecutor};

/// A query whose types sqlx's own macros have checked, after it was rewritten and proven: what
/// [`query_checked!`](crate::query_checked) and its siblings make.
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
    /// Runs the query as it is given: only the macros, which have proven its text, call this.
    #[doc(hidden)]
    pub fn unchecked_for_macros_only(scope: S, query: Q, writes: bool, dialect: Dialect) -> Self {
        Self { scope, query, writes, dialect }
    }
}

impl<S: TenantExecutor, Q> CheckedQuery<S, Q> {
    /// sqlx chooses its database by `DATABASE_URL`, and the proof is of the first dialect of `tenancy.toml`.
    fn proven(&self) -> Result<()> {
        let (proven, runs) = (self.dialect, <S::Database as Backend>::DIALECT);
        if proven == runs {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "this query was proven for {proven:?}; name {runs:?} first in `dialects` of tenancy.toml"
            ),
        ))
    }
}

impl<DB: Backend, S: TenantExecutor<Database = DB>> CheckedQuery<S, Query<'_, DB, DB::Arguments>> {
    /// Runs the statement, and says how many rows it changed.
    ///
    /// # Errors
    /// As a write of [`TenantScoped`](crate::TenantScoped).
    pub async fn execute(self) -> Result<u64> {
        self.proven()?;
        self.scope.fetch(Change(self.query)).await
    }
}

// The database is named by itself: through the scope alone the compiler does not see that these futures are `Send`.
impl<DB: Backend, S: TenantExecutor<Database = DB>, Q: Answers<DB>> CheckedQuery<S, Q> {
    /// Every row.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] if a row does not read; otherwise as a read of [`TenantScoped`](crate::TenantScoped).
    pub async fn fetch_all(self) -> Result<Vec<Q::Row>> {
        self.proven()?;
        self.scope.fetch(FetchRows { query: self.query, writes: self.writes }).await
    }

    /// The first row, or `None`.
    ///
    /// # Errors
    /// As [`fetch_all`](Self::fetch_all).
    pub async fn fetch_optional(self) -> Result<Option<Q::Row>> {
        Ok(self.fetch_all().await?.into_iter().next())
    }

    /// The first row.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none; otherwise as [`fetch_all`](Self::fetch_all).
    pub async fn fetch_one(self) -> Result<Q::Row> {
        self.fetch_optional().await?.ok_or_else(no_such_row)
    }
}

struct Change<'q, DB: Backend>(Query<'q, DB, DB::Arguments>);

impl<DB: Backend> Fetch<DB> for Change<'_, DB> {
    type Output = u64;

    fn writes(&self) -> bool {
        true
    }

    async fn run(self, conn: Conn<'_, DB>) -> sqlx::Result<u64> {
        DB::execute_query(conn, self.0).await
    }

    fn met_rows(rows: &u64) -> bool {
        *rows > 0
    }
}

/// A query of sqlx's macros that answers rows.
#[doc(hidden)]
#[expect(unnameable_types, reason = "only the macros name it")]
pub trait Answers<DB: Backend>: Send {
    type Row: Send;

    fn all(self, conn: Conn<'_, DB>) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;
}

impl<DB: Backend, F, T> Answers<DB> for Map<'_, DB, F, DB::Arguments>
where
    F: FnMut(DB::Row) -> sqlx::Result<T> + Send,
    T: Send + Unpin,
{
    type Row = T;

    async fn all(self, conn: Conn<'_, DB>) -> sqlx::Result<Vec<T>> {
        DB::fetch_mapped(conn, self).await
    }
}

impl<DB: Backend, T> Answers<DB> for QueryScalar<'_, DB, T, DB::Arguments>
where
    T: Send + Unpin,
    (T,): for<'r> FromRow<'r, DB::Row>,
{
    type Row = T;

    async fn all(self, conn: Conn<'_, DB>) -> sqlx::Result<Vec<T>> {
        DB::fetch_scalars(conn, self).await
    }
}

struct FetchRows<Q> {
    query: Q,
    writes: bool,
}

impl<DB: Backend, Q: Answers<DB>> Fetch<DB> for FetchRows<Q> {
    type Output = Vec<Q::Row>;

    fn writes(&self) -> bool {
        self.writes
    }

    async fn run(self, conn: Conn<'_, DB>) -> sqlx::Result<Self::Output> {
        self.query.all(conn).await
    }

    fn met_rows(rows: &Self::Output) -> bool {
        !rows.is_empty()
    }
}
