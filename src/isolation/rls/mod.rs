//! Row-level security, generated.

mod catalog;
mod error;
mod index;
mod keys;
mod plan;
mod policy;
mod relations;
mod role;
mod unguarded;
mod view;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tenancy_sql::Schema;

use self::catalog::Catalog;
use self::error::{kind, said, unread};
use self::keys::Keys;
pub use self::plan::{PolicyChange, PolicyPlan};
use self::unguarded::Unguarded;
use super::policy::MissingTenant;
use crate::error::{Error, ErrorKind, Result};

/// The row-level security that a database should have.
///
/// Whose tables are whose is said by the [`Schema`], of which the names and types are taken from the database: every
/// table of the schemas in the `search_path` that has its tenant column and is not declared as shared belongs to
/// tenants, and so does every partition and child of one. Each of them gets a `RESTRICTIVE` policy `tenancy_floor`,
/// which no other policy can open, and a permissive one, `tenancy_own`; both compare the tenant column with
/// `app.tenant_id`, which a [`Tx`](crate::scope::Tx) sets for itself alone. The security is forced, so that it
/// binds the owner of the tables too.
///
/// A policy carries a hash of its definition as its comment. One that is as it should be is not touched; one that
/// was written by another declaration, or altered by hand, is replaced; one that is not declared any more is dropped.
/// Policies of your own are left alone, and so are the tables of this crate, which begin with `tenancy_`.
///
/// # Security
/// The comparison is of the kind that is read anew for each statement, so that a prepared statement follows the tenant.
/// A policy does not bind superusers, nor roles with `BYPASSRLS`, and it does not stop a role that can run any SQL
/// from choosing another tenant by `SET`.
#[derive(Debug, Clone)]
#[must_use = "nothing is read or written before `plan` or `apply`"]
pub struct RlsPolicies<'a> {
    schema: &'a Schema,
    unset: MissingTenant,
    role: Option<String>,
    keys: bool,
}

impl<'a> RlsPolicies<'a> {
    /// The policies of what this declares.
    pub fn new(schema: &'a Schema) -> Self {
        Self { schema, unset: MissingTenant::default(), role: None, keys: false }
    }

    /// What a statement sees that runs without a tenant.
    pub fn missing_tenant(mut self, unset: MissingTenant) -> Self {
        self.unset = unset;
        self
    }

    /// The role that the application logs in as: it may read and write the rows of tenants' tables and read the shared
    /// ones, and it may not empty or change a table. It exists already, and owns none of them.
    ///
    /// What it gets of tables to come is taken back, as those have no policy yet. The tables of this crate are not
    /// among what is granted.
    pub fn runtime_role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// Also changes the columns and keys that lack the tenant: see [`PolicyPlan::keys`].
    pub fn with_keys(mut self) -> Self {
        self.keys = true;
        self
    }

    /// What the database lacks. Nothing is written.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if a table cannot have a policy: a tenant column that is not there or of another
    /// type than `uuid`, `bigint` and `text`, a table that is declared as shared and has the tenant column, a table with
    /// policies of this crate that lost it, a role that the policies would not bind; if PostgreSQL is older than 15; and
    /// if the database does not answer, [`ErrorKind::Database`] or [`ErrorKind::StoreUnavailable`].
    pub async fn plan(&self, conn: &mut PgConnection) -> Result<PolicyPlan> {
        let mut tx = conn.begin().await.map_err(unread)?;
        // Only for the reading: it takes the search path away, so that every name is written with its schema.
        let plan = self.read(&mut tx).await;
        tx.rollback().await.map_err(unread)?;
        plan
    }

    /// Makes the database as it should be, in one transaction, and tells what that took.
    ///
    /// Several nodes may call it at once: one of them does the work. Run it as the owner of the tables. A table that is
    /// changed is locked until the end, which is short unless keys are changed too.
    ///
    /// # Errors
    /// As [`plan`](Self::plan); [`ErrorKind::Database`] if a statement is refused or the database is not as planned
    /// afterwards. Nothing is changed then.
    pub async fn apply(&self, conn: &mut PgConnection) -> Result<PolicyPlan> {
        let mut tx = conn.begin().await.map_err(unread)?;
        let done = self.run(&mut tx).await;
        // Said at once: a transaction that is only dropped keeps its locks until the connection is used again.
        match &done {
            Ok(plan) if !plan.is_empty() => tx.commit().await.map_err(unread)?,
            _ => tx.rollback().await.map_err(unread)?,
        }
        done
    }

    async fn run(&self, conn: &mut PgConnection) -> Result<PolicyPlan> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('tenancy policies', 0))")
            .execute(&mut *conn)
            .await
            .map_err(unread)?;
        let plan = self.plan(conn).await?;
        if plan.is_empty() {
            return Ok(plan);
        }
        // Whoever waits for a table's lock holds up everybody who comes after.
        sqlx::raw_sql("SET LOCAL lock_timeout = '10s'").execute(&mut *conn).await.map_err(unread)?;
        for step in plan.changes() {
            sqlx::raw_sql(AssertSqlSafe(step.sql())).execute(&mut *conn).await.map_err(|e| {
                let refused = format!("{} cannot be changed: {}", step.object(), said(&e));
                Error::new(kind(&e), refused).with_source(e)
            })?;
        }
        if let Some(left) = self.plan(conn).await?.changes().first() {
            let text = format!("{} is not as planned after it was changed: {}", left.object(), left.reason());
            return Err(Error::new(ErrorKind::Database, text));
        }
        Ok(plan)
    }

    async fn read(&self, conn: &mut PgConnection) -> Result<PolicyPlan> {
        let catalog = Catalog::read(conn, self.schema).await?;
        let mut steps = policy::steps(&catalog, self.unset);
        let views = view::views(conn, &catalog).await?;
        steps.extend(view::steps(&views));
        if let Some(role) = &self.role {
            steps.extend(role::steps(conn, &catalog, &views, role).await?);
        }
        let Keys { mut keys, mut advice } = Keys::read(conn, &catalog).await?;
        if self.keys {
            steps.append(&mut keys);
        }
        let unguarded = Unguarded::read(conn, &catalog, &views, self.role.as_deref()).await?;
        advice.extend(unguarded.advice);
        advice.extend(index::advice(conn, &catalog).await?);
        Ok(PolicyPlan { steps, keys, advice, unguarded: unguarded.reached, tables: catalog.tenants.len() })
    }
}
