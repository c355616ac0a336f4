//! The drop-in door: any sqlx query on a scope, proven and rewritten when it runs.

mod executor;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::{Arguments, AssertSqlSafe, SqlSafeStr, SqlStr};
use tenancy_sql::{Bind, Schema};

use super::backend::{Backend, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// How many texts are remembered. A program has so many queries; beyond that, texts are made while it runs.
const REMEMBERED: usize = 2048;
/// How long a text may be to be remembered; with the number above, what memory that can take at most.
const LONGEST: usize = 4096;

/// The rewriter of one data plane, with what it has rewritten.
#[derive(Debug)]
pub(super) struct Door {
    schema: Schema,
    known: RwLock<HashMap<Arc<str>, Arc<Known>>>,
}

/// A text that was proven to stay within a tenant.
#[derive(Debug)]
struct Known {
    sql: SqlStr,
    /// How many values the caller binds.
    values: usize,
    /// Whether the tenant is bound after them.
    tenant: bool,
    read_only: bool,
}

impl Door {
    pub(super) fn over(schema: &Schema) -> Self {
        Self { schema: schema.clone(), known: RwLock::default() }
    }

    /// The text to run for a text, from memory if it was run before.
    fn open<DB: Backend>(&self, sql: &str) -> Result<Arc<Known>> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(sql) {
            return Ok(known.clone());
        }
        let rewritten = tenancy_sql::rewrite(DB::DIALECT, sql, &self.schema)
            .map_err(|refusal| Error::new(ErrorKind::Refused, refusal.to_string()).with_source(refusal))?;
        let text: Arc<str> = rewritten.text().into();
        let tenant = rewritten.binds().contains(&Bind::Tenant);
        let known = Arc::new(Known {
            sql: AssertSqlSafe(text.clone()).into_sql_str(),
            values: rewritten.binds().len() - usize::from(tenant),
            tenant,
            read_only: rewritten.is_read_only(),
        });
        if sql.len() > LONGEST {
            return Ok(known);
        }
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() + 2 > REMEMBERED {
            all.clear();
        }
        // A statement that was prepared here comes back with the rewritten text.
        all.insert(text, known.clone());
        all.insert(sql.into(), known.clone());
        Ok(known)
    }
}

/// A statement that is ready to run for one tenant.
struct Ready<DB: Backend> {
    sql: SqlStr,
    binds: DB::Arguments,
    persistent: bool,
    read_only: bool,
}

impl Known {
    /// Binds the tenant after the caller's values.
    fn bind<DB: Backend>(
        &self,
        tenant: &TenantId,
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
            DB::push(&mut binds, Value::Tenant(tenant)).map_err(|e| {
                Error::new(ErrorKind::InvalidInput, "the tenant does not encode for the database")
                    .with_source(e)
            })?;
        }
        Ok(Ready { sql: self.sql.clone(), binds, persistent, read_only: self.read_only })
    }
}
