//! [`RewriteCache`]: rewrites SQL at run time and caches the results, for the executor in `own_sql/dynamic.rs`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use sqlx::{Arguments, AssertSqlSafe, SqlSafeStr, SqlStr};
use tenancy_sql::{Bind, Schema};

use super::backend::Backend;
use crate::database::{BoundTenant, Route, Value, encoding_error};
use crate::error::{Error, ErrorKind, Result};

/// How many rewrites are cached. The least recently used one is evicted.
const CAPACITY: usize = 1024;
/// The length up to which SQL is cached, and rewritten on the caller's thread. Longer SQL is rewritten by
/// `spawn_blocking`, and not cached.
const MAX_CACHED_LEN: usize = 4096;

/// The rewriter of one `TenantDb`, with its cache.
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

/// Rewritten SQL that was proven to stay within one tenant.
#[derive(Debug)]
struct Rewrite {
    text: Arc<str>,
    /// How many values the caller binds.
    values: usize,
    /// Whether the tenant is bound after the values.
    tenant: bool,
    read_only: bool,
}

/// The rewrites of prepared statements, by their rewritten text.
///
/// A prepared statement holds the rewritten text. Only prepared statements are looked up here, so the caller's own
/// SQL is always rewritten, even if it equals a rewritten text.
#[derive(Debug, Default)]
struct Prepared {
    rewrites: HashMap<Arc<str>, Arc<Rewrite>>,
    /// The size at which rewrites are removed whose statements were dropped.
    sweep_at: usize,
}

impl Prepared {
    /// Adds a rewrite, and returns the text to prepare. The statement holds that text, which keeps the rewrite here.
    fn insert(&mut self, rewrite: Arc<Rewrite>) -> SqlStr {
        if self.rewrites.len() >= self.sweep_at {
            // The key and the rewrite each hold a clone of the text. Any further clone belongs to a statement.
            self.rewrites.retain(|_, rewrite| Arc::strong_count(&rewrite.text) > 2);
            self.sweep_at = CAPACITY.max(2 * self.rewrites.len());
        }
        self.rewrites.entry(rewrite.text.clone()).or_insert(rewrite).sql()
    }
}

impl RewriteCache {
    pub(super) fn new(schema: &Schema) -> Self {
        Self {
            schema: Arc::new(schema.clone()),
            rewritten: Mutex::new(LruCache::new(CAPACITY)),
            prepared: Mutex::default(),
        }
    }

    /// The rewrite of `sql`, from the cache or new.
    async fn rewrite<DB: Backend>(&self, sql: &SqlStr) -> Result<Arc<Rewrite>> {
        let cached = lock(&self.rewritten).get(sql.as_str()).cloned();
        if let Some(cached) = cached {
            return Ok(cached);
        }
        if sql.as_str().len() > MAX_CACHED_LEN {
            let (schema, sql) = (self.schema.clone(), sql.clone());
            return sqlx_core::rt::spawn_blocking(move || Rewrite::new::<DB>(&schema, sql.as_str())).await;
        }
        let rewrite = Rewrite::new::<DB>(&self.schema, sql.as_str())?;
        lock(&self.rewritten).insert(sql.as_str().into(), rewrite.clone());
        Ok(rewrite)
    }

    /// The rewrite of a prepared statement, by its rewritten text.
    fn prepared_rewrite(&self, sql: &SqlStr) -> Option<Arc<Rewrite>> {
        lock(&self.prepared).rewrites.get(sql.as_str()).cloned()
    }

    /// Rewrites `sql`, and returns the text to prepare on this route.
    pub(in crate::scope) async fn prepare<DB: Backend>(&self, sql: &SqlStr, route: &Route) -> Result<SqlStr> {
        let mut rewrite = self.rewrite::<DB>(sql).await?;
        if let Some(text) = route.labelled(&rewrite.text) {
            rewrite = Arc::new(Rewrite { text: text.into(), ..*rewrite });
        }
        Ok(lock(&self.prepared).insert(rewrite))
    }

    /// Rewrites a query, and binds the tenant after its values.
    pub(in crate::scope) async fn bind<DB: Backend>(
        &self,
        query: SqlxQuery<DB>,
        tenant: &BoundTenant,
    ) -> Result<BoundQuery<DB>> {
        let SqlxQuery { sql, values, persistent, prepared } = query;
        let rewrite = match prepared.then(|| self.prepared_rewrite(&sql)).flatten() {
            Some(rewrite) => rewrite,
            None => self.rewrite::<DB>(&sql).await?,
        };
        rewrite.bind(tenant, values, persistent)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parts of a query object of sqlx.
pub(in crate::scope) struct SqlxQuery<DB: Backend> {
    sql: SqlStr,
    values: Option<DB::Arguments>,
    persistent: bool,
    /// Whether it runs a prepared statement.
    prepared: bool,
}

impl<DB: Backend> SqlxQuery<DB> {
    pub(in crate::scope) fn new<'q>(mut query: impl sqlx::Execute<'q, DB>) -> Result<Self> {
        let values = query.take_arguments().map_err(encoding_error)?;
        let (persistent, prepared) = (query.persistent(), query.statement().is_some());
        Ok(Self { sql: query.sql(), values, persistent, prepared })
    }
}

/// Rewritten SQL with the caller's values and the tenant bound.
pub(in crate::scope) struct BoundQuery<DB: Backend> {
    pub(in crate::scope) sql: SqlStr,
    pub(in crate::scope) binds: DB::Arguments,
    pub(in crate::scope) persistent: bool,
    pub(in crate::scope) read_only: bool,
}

impl Rewrite {
    fn new<DB: Backend>(schema: &Schema, sql: &str) -> Result<Arc<Self>> {
        let rewritten = tenancy_sql::rewrite(DB::DIALECT, sql, schema).map_err(|rejection| {
            Error::new(ErrorKind::SqlRejected, rejection.to_string()).with_source(rejection)
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
    ) -> Result<BoundQuery<DB>> {
        let persistent = persistent && values.is_some();
        let mut binds = values.unwrap_or_default();
        // With one value too few, the tenant would be bound to the placeholder of a value.
        if binds.len() != self.values {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{} values are bound, and the statement has {} placeholders; bind one value for each",
                    binds.len(),
                    self.values
                ),
            ));
        }
        if self.tenant {
            DB::push(&mut binds, Value::Tenant(tenant)).map_err(encoding_error)?;
        }
        Ok(BoundQuery { sql: self.sql(), binds, persistent, read_only: self.read_only })
    }
}
