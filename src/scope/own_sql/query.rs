//! [`Query`]: a query that was rewritten and proven at compile time.

use std::fmt;
use std::marker::PhantomData;

use sqlx::{Encode, FromRow, Type};
use tenancy_sql::Dialect;

use crate::database::{Value, database_error};
use crate::error::{Error, ErrorKind, Result};
use crate::scope::session::{Backend, Statement, TenantExecutor};

type Row<S> = <<S as TenantExecutor>::Database as sqlx::Database>::Row;

/// A query that was rewritten and proven at compile time.
///
/// [`query!`](crate::query) and [`query_as!`](crate::query_as) return it.
#[must_use = "a query does nothing until it is executed or fetched"]
pub struct Query<S: TenantExecutor, T> {
    scope: S,
    statement: Result<Statement<S::Database>>,
    tenant: bool,
    row: PhantomData<fn() -> T>,
}

/// The rewritten SQL for each dialect that `tenancy.toml` lists.
#[derive(Debug)]
#[doc(hidden)]
#[expect(clippy::exhaustive_structs, reason = "the macros write it")]
pub struct Variants {
    pub texts: &'static [(Dialect, &'static str)],
    pub tenant: bool,
    pub writes: bool,
}

impl<S: TenantExecutor, T> fmt::Debug for Query<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("statement", &self.statement).finish_non_exhaustive()
    }
}

impl<S: TenantExecutor, T> Query<S, T> {
    /// Runs the SQL unchanged. Only the macros call this, after they have proven it.
    #[doc(hidden)]
    pub fn unchecked_for_macros_only(scope: S, variants: &'static Variants) -> Self {
        let dialect = S::Database::DIALECT;
        let variant = variants.texts.iter().find(|(known, _)| *known == dialect);
        let statement = variant
            .map(|(_, sql)| Statement::checked(scope.context(), sql, variants.writes))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Misconfigured,
                    format!(
                        "this query was not compiled for {dialect:?}; add it to `dialects` in tenancy.toml"
                    ),
                )
            });
        Self { scope, statement, tenant: variants.tenant, row: PhantomData }
    }

    #[doc(hidden)]
    pub fn value<'v, V: Encode<'v, S::Database> + Type<S::Database>>(mut self, value: V) -> Self {
        self.statement = self.statement.and_then(|mut statement| {
            statement.binds.push(value)?;
            Ok(statement)
        });
        self
    }

    /// Binds the tenant, after the values of the caller.
    fn bind_tenant(self) -> Result<(S, Statement<S::Database>)> {
        let mut statement = self.statement?;
        if self.tenant {
            statement.binds.push_value(Value::Tenant(&self.scope.bound_tenant()))?;
        }
        Ok((self.scope, statement))
    }

    async fn rows(self) -> Result<Vec<Row<S>>> {
        let (scope, statement) = self.bind_tenant()?;
        scope.fetch(statement).await
    }

    /// Runs the statement, and returns the number of rows that it changed.
    ///
    /// # Errors
    /// As a write of [`TenantScoped`](crate::TenantScoped).
    pub async fn execute(self) -> Result<u64> {
        let (scope, statement) = self.bind_tenant()?;
        scope.execute(statement).await
    }

    /// Reads all rows.
    ///
    /// # Errors
    /// [`ErrorKind::Database`] if a row cannot be decoded; otherwise as [`execute`](Self::execute).
    pub async fn fetch_all(self) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, Row<S>>,
    {
        self.rows().await?.iter().map(read::<S, T>).collect()
    }

    /// Reads the first row, or `None`.
    ///
    /// # Errors
    /// As [`fetch_all`](Self::fetch_all).
    pub async fn fetch_optional(self) -> Result<Option<T>>
    where
        T: for<'r> FromRow<'r, Row<S>>,
    {
        self.rows().await?.first().map(read::<S, T>).transpose()
    }

    /// Reads the first row.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no row; otherwise as [`fetch_all`](Self::fetch_all).
    pub async fn fetch_one(self) -> Result<T>
    where
        T: for<'r> FromRow<'r, Row<S>>,
    {
        self.fetch_optional().await?.ok_or_else(no_such_row)
    }
}

pub(super) fn no_such_row() -> Error {
    Error::new(ErrorKind::NotFound, "no such row")
}

fn read<S: TenantExecutor, T: for<'r> FromRow<'r, Row<S>>>(row: &Row<S>) -> Result<T> {
    T::from_row(row).map_err(|e| match e {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
            Error::new(
                ErrorKind::Database,
                "a row cannot be decoded into its type; compare the columns of the query with the type's fields",
            )
            .with_source(e.to_string())
        }
        e => database_error(&e),
    })
}

impl<S: TenantExecutor, T> Query<S, (T,)> {
    #[doc(hidden)]
    pub fn scalars(self) -> ScalarQuery<S, T> {
        ScalarQuery(self)
    }
}

/// A [`Query`] whose rows have one column. [`query_scalar!`](crate::query_scalar) returns it.
#[derive(Debug)]
#[must_use = "a query does nothing until it is fetched"]
pub struct ScalarQuery<S: TenantExecutor, T>(Query<S, (T,)>);

impl<S: TenantExecutor, T> ScalarQuery<S, T>
where
    (T,): for<'r> FromRow<'r, Row<S>>,
{
    /// Reads the column of all rows.
    ///
    /// # Errors
    /// As [`Query::fetch_all`].
    pub async fn fetch_all(self) -> Result<Vec<T>> {
        Ok(self.0.fetch_all().await?.into_iter().map(|(value,)| value).collect())
    }

    /// Reads the column of the first row, or `None`.
    ///
    /// # Errors
    /// As [`Query::fetch_all`].
    pub async fn fetch_optional(self) -> Result<Option<T>> {
        Ok(self.0.fetch_optional().await?.map(|(value,)| value))
    }

    /// Reads the column of the first row.
    ///
    /// # Errors
    /// As [`Query::fetch_one`].
    pub async fn fetch_one(self) -> Result<T> {
        self.0.fetch_one().await.map(|(value,)| value)
    }
}
