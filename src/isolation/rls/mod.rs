//! Row-level security, generated.

mod catalog;
mod index;
mod keys;
mod policy;
mod relations;
mod role;
mod script;
mod unguarded;
mod view;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tenancy_sql::Schema;

use self::catalog::Catalog;
use self::keys::Keys;
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

/// What a database lacks, as [`RlsPolicies::plan`] found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyPlan {
    steps: Vec<PolicyChange>,
    keys: Vec<PolicyChange>,
    advice: Vec<PolicyChange>,
    unguarded: Vec<PolicyChange>,
    tables: usize,
}

impl PolicyPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What is to be done, in this order.
    pub fn changes(&self) -> &[PolicyChange] {
        &self.steps
    }

    /// Columns and keys that lack the tenant: tenant columns that may be empty or fill themselves, and primary, unique
    /// and foreign keys by which one tenant can collide with another's rows, or refer to them. PostgreSQL checks keys
    /// past row-level security.
    ///
    /// They are done only [`with_keys`](RlsPolicies::with_keys), because they lock tables while they read them whole,
    /// fail on rows that break them, and make what was unique among all tenants unique within each.
    pub fn keys(&self) -> &[PolicyChange] {
        &self.keys
    }

    /// Tables and views that no generated policy guards, of which a person has to decide: a table without a tenant column
    /// that is not declared as shared, one outside of the `search_path`, a materialized view, a foreign table. `tenancy
    /// policies --check` fails on them.
    ///
    /// With a [runtime role](RlsPolicies::runtime_role) these are the ones that it reaches, and the others are
    /// [advice](Self::advice); without one, all of them. They have no SQL.
    pub fn unguarded(&self) -> &[PolicyChange] {
        &self.unguarded
    }

    /// How many tables were compared, partitions and children among them. A plan of none says nothing of a database.
    pub fn tables(&self) -> usize {
        self.tables
    }

    /// What a person should know or change: indexes that row-level security takes out of use, and tables and views that
    /// no policy guards and the application does not reach. The SQL of some is empty.
    pub fn advice(&self) -> &[PolicyChange] {
        &self.advice
    }

    /// The steps as a file for migrations of your own, with the reasons as comments; the keys and the advice follow as
    /// comments. It may be run again.
    pub fn sql(&self) -> String {
        script::write(self)
    }
}

/// One change: of what, why, and by which SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    object: String,
    reason: String,
    sql: String,
}

impl PolicyChange {
    fn new(object: impl Into<String>, reason: impl Into<String>, sql: impl Into<String>) -> Self {
        Self { object: object.into(), reason: reason.into(), sql: sql.into() }
    }

    /// What it changes, such as `table public.orders`.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// What is not as it should be.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The statements that mend it.
    pub fn sql(&self) -> &str {
        &self.sql
    }
}

fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Misconfigured, text.into())
}

/// The database does not answer what it is asked.
fn unread(error: sqlx::Error) -> Error {
    let text = format!("the database does not say what its tables are: {}", said(&error));
    Error::new(kind(&error), text).with_source(error)
}

fn kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            ErrorKind::StoreUnavailable
        }
        sqlx::Error::Database(db) if matches!(db.code().as_deref(), Some("40001" | "40P01" | "55P03")) => {
            ErrorKind::Retryable
        }
        _ => ErrorKind::Database,
    }
}

/// The first line of what the database said, which names tables and keys but no row.
fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(db) => db.message().to_owned(),
        other => other.to_string(),
    }
}
