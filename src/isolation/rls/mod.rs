//! [`RlsPolicies`]: compares a database with the declaration, and writes the row-level security that it lacks.

mod catalog;
mod error;
mod index;
mod key_changes;
mod plan;
mod policy_changes;
mod role;
mod shards;
mod tables;
mod unguarded;
mod view;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tenancy_sql::Schema;

use self::catalog::Catalog;
use self::error::{kind, message, read_error};
use self::key_changes::KeyChanges;
pub use self::plan::{PolicyChange, PolicyPlan};
use self::tables::Tables;
use self::unguarded::Unguarded;
use super::comparison::MissingTenant;
use crate::error::{Error, ErrorKind, Result};

/// Generates the row-level security of a database's tenant tables.
///
/// A table in a schema of the `search_path` is a tenant table if it has the tenant column that the [`Schema`]
/// declares and is not declared shared. So is every partition and child of a tenant table. Each gets a `RESTRICTIVE`
/// policy `tenancy_floor`, so that no other policy can open it, and a permissive policy `tenancy_own`. Both compare
/// the tenant column with `app.tenant_id`, which a [`Tx`](crate::scope::Tx) sets for its own transaction. `FORCE ROW
/// LEVEL SECURITY` applies them to the owner of the table too.
///
/// The comment of a policy contains a hash of its definition. A policy that matches is not touched. One of another
/// declaration, or one that was altered by hand, is replaced. One that is no longer declared is dropped. Your own
/// policies stay unchanged, and so do the tables of this crate, whose names begin with `tenancy_`.
///
/// # Security
/// PostgreSQL evaluates the comparison for each execution, so a prepared statement follows the tenant. Policies do
/// not apply to superusers and roles with `BYPASSRLS`. They do not stop a role that can run any SQL from choosing
/// another tenant with `SET`.
#[derive(Debug, Clone)]
#[must_use = "nothing is read or written before `plan` or `apply`"]
pub struct RlsPolicies<'a> {
    schema: &'a Schema,
    missing_tenant: MissingTenant,
    role: Option<String>,
    keys: bool,
    search_path_only: bool,
}

impl<'a> RlsPolicies<'a> {
    /// Creates the generator for the tables that `schema` declares.
    pub fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            missing_tenant: MissingTenant::default(),
            role: None,
            keys: false,
            search_path_only: false,
        }
    }

    /// Sets what a policy does for a statement that runs without a tenant.
    pub fn missing_tenant(mut self, missing_tenant: MissingTenant) -> Self {
        self.missing_tenant = missing_tenant;
        self
    }

    /// Sets the role that the application logs in as, and plans its grants.
    ///
    /// The role may read and write tenant tables and read shared ones, but it may not truncate or alter a table. It
    /// must exist, and must own none of the tables. Its default privileges on future tables are revoked, because
    /// these have no policy yet.
    ///
    /// Of the tables of this crate that exist, it is granted what a tenant's transaction needs: gauges, audit events and
    /// usage. The tables of the control plane are left out: they are for the role of
    /// [`SqlStore`](crate::store::SqlStore).
    pub fn runtime_role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// Also plans the changes to columns and keys that lack the tenant column: see [`PolicyPlan::keys`].
    pub fn with_keys(mut self) -> Self {
        self.keys = true;
        self
    }

    /// Leaves out everything outside of the `search_path`, such as the schemas of other tenants.
    ///
    /// For a schema of one tenant, connect with that schema as the `search_path`.
    pub fn search_path_only(mut self) -> Self {
        self.search_path_only = true;
        self
    }

    /// Returns what the database lacks. Writes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if
    /// - a declared tenant column does not exist, or has another type than `uuid`, `bigint` and `text`;
    /// - a table is declared shared and has the tenant column, or has generated policies and lost that column;
    /// - policies would not apply to the runtime role;
    /// - PostgreSQL is older than 15.
    ///
    /// [`ErrorKind::Database`] or [`ErrorKind::StoreUnavailable`] if the database does not answer.
    pub async fn plan(&self, conn: &mut PgConnection) -> Result<PolicyPlan> {
        self.compare(conn, true).await
    }

    async fn compare(&self, conn: &mut PgConnection, shards: bool) -> Result<PolicyPlan> {
        let mut tx = conn.begin().await.map_err(read_error)?;
        // `read` changes the search path of this transaction, so that PostgreSQL prints every name with its schema.
        let plan = self.read(&mut tx, shards).await;
        tx.rollback().await.map_err(read_error)?;
        plan
    }

    /// Applies the plan in one transaction, and returns the changes that it made.
    ///
    /// Several nodes may call it at the same time: an advisory lock lets one of them do the work. Run it as the owner
    /// of the tables. A changed table is locked until the end, which is short unless keys are changed too.
    ///
    /// # Errors
    /// As [`plan`](Self::plan); [`ErrorKind::Database`] if PostgreSQL rejects a statement, or if the database differs
    /// from the plan afterwards. Nothing is changed then.
    pub async fn apply(&self, conn: &mut PgConnection) -> Result<PolicyPlan> {
        let mut tx = conn.begin().await.map_err(read_error)?;
        let done = self.run(&mut tx).await;
        // Roll back explicitly: a dropped transaction keeps its locks until the connection is used again.
        match &done {
            Ok(plan) if !plan.is_empty() => tx.commit().await.map_err(read_error)?,
            _ => tx.rollback().await.map_err(read_error)?,
        }
        done
    }

    async fn run(&self, conn: &mut PgConnection) -> Result<PolicyPlan> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('tenancy policies ' || current_schemas(false)::text, 0))")
            .execute(&mut *conn)
            .await
            .map_err(read_error)?;
        let plan = self.plan(conn).await?;
        if plan.is_empty() {
            return Ok(plan);
        }
        // A statement that waits for a table lock blocks all later statements on that table.
        sqlx::raw_sql("SET LOCAL lock_timeout = '10s'").execute(&mut *conn).await.map_err(read_error)?;
        for change in plan.changes() {
            for statement in change.statements() {
                sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(&mut *conn).await.map_err(|e| {
                    let text = format!("{} cannot be changed: {}", change.object(), message(&e));
                    Error::new(kind(&e), text).with_source(e)
                })?;
            }
        }
        // Without the shards of Citus: another connection would wait for the locks of this transaction.
        if let Some(left) = self.compare(conn, false).await?.changes().first() {
            let text = format!("{} differs from the plan after the change: {}", left.object(), left.reason());
            return Err(Error::new(ErrorKind::Database, text));
        }
        Ok(plan)
    }

    async fn read(&self, conn: &mut PgConnection, shards: bool) -> Result<PolicyPlan> {
        let catalog = Catalog::read(conn, self.search_path_only, shards).await?;
        let tables = Tables::new(&catalog.relations, self.schema)?;
        let mut changes = policy_changes::changes(&tables, self.missing_tenant);
        let views = view::views(&catalog, &tables);
        changes.extend(view::changes(&views));
        if let Some(role) = &self.role {
            changes.extend(role::changes(conn, &tables, &views, role).await?);
        }
        let KeyChanges { mut keys, mut advice } = KeyChanges::new(&catalog, &tables)?;
        if self.keys {
            changes.append(&mut keys);
        }
        let mut unguarded = Unguarded::read(conn, &tables, &views, self.role.as_deref()).await?;
        unguarded.reached.extend(shards::unguarded(&tables));
        advice.extend(unguarded.advice);
        advice.extend(index::advice(&catalog, &tables));
        Ok(PolicyPlan { changes, keys, advice, unguarded: unguarded.reached, tables: tables.tenants.len() })
    }
}
