//! [`RewriteCache`]: rewrites SQL at run time and remembers the results. The scoped executor in `own_sql/dynamic.rs` uses it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use sqlx::{Arguments, AssertSqlSafe, SqlSafeStr, SqlStr};
use tenancy_sql::{Bind, Schema};

use super::backend::Backend;
use crate::database::{BoundTenant, Value, encoding_error};
use crate::error::{Error, ErrorKind, Result};

/// How many texts are kept; the one that was used longest ago is evicted.
const KEPT: usize = 1024;
/// How long a text may be to be kept, and to be rewritten where the caller runs: a longer one goes to a thread on which
/// waiting is allowed.
const LONGEST: usize = 4096;

/// The rewriter of one data plane, with what it has rewritten.
pub(in crate::scope) struct RewriteCache {
    schema: Arc<Schema>,
    rewritten: Mutex<LruCache<Arc<str>, Arc<Rewrite>>>,
    prepared: Mutex<Prepared>,
}

impl fmt::Debug for RewriteCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RewriteCache").finish_non_exhaustive()
    }
}

/// A text that was proven to stay within a tenant.
#[derive(Debug)]
struct Rewrite {
    text: Arc<str>,
    /// How many values the caller binds.
    values: usize,
    /// Whether the tenant is bound after them.
    tenant: bool,
    read_only: bool,
}

/// What a statement is that was prepared: it holds the rewritten text, so a text of the caller's own that equals one is
/// never looked for here.
#[derive(Debug, Default)]
struct Prepared {
    rewrites: HashMap<Arc<str>, Arc<Rewrite>>,
    /// At how many those are removed whose statements are gone.
    sweep_at: usize,
}

impl Prepared {
    /// The text to prepare. Its statement holds the clone that is returned here, and so keeps the rewrite.
    fn keep(&mut self, rewrite: Arc<Rewrite>) -> SqlStr {
        if self.rewrites.len() >= self.sweep_at {
            // Of the text there is a clone as the key here and one in the rewrite; any other is of a statement.
            self.rewrites.retain(|_, rewrite| Arc::strong_count(&rewrite.text) > 2);
            self.sweep_at = KEPT.max(2 * self.rewrites.len());
        }
        self.rewrites.entry(rewrite.text.clone()).or_insert(rewrite).sql()
    }
}

impl RewriteCache {
    pub(super) fn new(schema: &Schema) -> Self {
        Self {
            schema: Arc::new(schema.clone()),
            rewritten: Mutex::new(LruCache::new(KEPT)),
            prepared: Mutex::default(),
        }
    }

    /// What to run for a text.
    async fn rewrite<DB: Backend>(&self, sql: &SqlStr) -> Result<Arc<Rewrite>> {
        let known = lock(&self.rewritten).get(sql.as_str()).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        if sql.as_str().len() > LONGEST {
            let (schema, sql) = (self.schema.clone(), sql.clone());
            return sqlx_core::rt::spawn_blocking(move || Rewrite::new::<DB>(&schema, sql.as_str())).await;
        }
        let rewrite = Rewrite::new::<DB>(&self.schema, sql.as_str())?;
        lock(&self.rewritten).insert(sql.as_str().into(), rewrite.clone());
        Ok(rewrite)
    }

    /// What to run for a statement that this cache made ready to be prepared.
    fn of_statement(&self, sql: &SqlStr) -> Option<Arc<Rewrite>> {
        lock(&self.prepared).rewrites.get(sql.as_str()).cloned()
    }

    /// The text to prepare for a text.
    pub(in crate::scope) async fn prepare<DB: Backend>(&self, sql: &SqlStr) -> Result<SqlStr> {
        let rewrite = self.rewrite::<DB>(sql).await?;
        Ok(lock(&self.prepared).keep(rewrite))
    }

    pub(in crate::scope) async fn ready<DB: Backend>(
        &self,
        query: SqlxQuery<DB>,
        tenant: &BoundTenant,
    ) -> Result<Ready<DB>> {
        let SqlxQuery { sql, values, persistent, prepared } = query;
        let rewrite = match prepared.then(|| self.of_statement(&sql)).flatten() {
            Some(rewrite) => rewrite,
            None => self.rewrite::<DB>(&sql).await?,
        };
        rewrite.bind(tenant, values, persistent)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A query, taken apart.
pub(in crate::scope) struct SqlxQuery<DB: Backend> {
    sql: SqlStr,
    values: Option<DB::Arguments>,
    persistent: bool,
    /// Whether it is of a statement that was prepared.
    prepared: bool,
}

impl<DB: Backend> SqlxQuery<DB> {
    pub(in crate::scope) fn of<'q>(mut query: impl sqlx::Execute<'q, DB>) -> Result<Self> {
        let values = query.take_arguments().map_err(encoding_error)?;
        let (persistent, prepared) = (query.persistent(), query.statement().is_some());
        Ok(Self { sql: query.sql(), values, persistent, prepared })
    }
}

/// A statement that is ready to run for one tenant.
pub(in crate::scope) struct Ready<DB: Backend> {
    pub(in crate::scope) sql: SqlStr,
    pub(in crate::scope) binds: DB::Arguments,
    pub(in crate::scope) persistent: bool,
    pub(in crate::scope) read_only: bool,
}

impl Rewrite {
    fn new<DB: Backend>(schema: &Schema, sql: &str) -> Result<Arc<Self>> {
        let rewritten = tenancy_sql::rewrite(DB::DIALECT, sql, schema).map_err(|refusal| {
            Error::new(ErrorKind::SqlRejected, refusal.to_string()).with_source(refusal)
        })?;
        let tenant = rewritten.binds().contains(&Bind::Tenant);
        Ok(Arc::new(Self {
            text: rewritten.text().into(),
            values: rewritten.binds().len() - usize::from(tenant),
            tenant,
            read_only: rewritten.is_read_only(),
        }))
    }

    fn sql(&self) -> SqlStr {
        AssertSqlSafe(self.text.clone()).into_sql_str()
    }

    /// Binds the tenant after the caller's values.
    fn bind<DB: Backend>(
        &self,
        tenant: &BoundTenant,
        values: Option<DB::Arguments>,
        persistent: bool,
    ) -> Result<Ready<DB>> {
        let persistent = persistent && values.is_some();
        let mut binds = values.unwrap_or_default();
        // One value too few, and the tenant would stand in the place of a value.
        if binds.len() != self.values {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} values are bound, and the statement has {} places", binds.len(), self.values),
            ));
        }
        if self.tenant {
            DB::push(&mut binds, Value::Tenant(tenant)).map_err(encoding_error)?;
        }
        Ok(Ready { sql: self.sql(), binds, persistent, read_only: self.read_only })
    }
}
