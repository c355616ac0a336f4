//! [`PolicyPlan`]: what a database lacks, and the same as a file of SQL.

use std::fmt::Write as _;

/// What a database lacks, as [`RlsPolicies::plan`](super::RlsPolicies::plan) found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyPlan {
    pub(super) steps: Vec<PolicyChange>,
    pub(super) keys: Vec<PolicyChange>,
    pub(super) advice: Vec<PolicyChange>,
    pub(super) unguarded: Vec<PolicyChange>,
    pub(super) tables: usize,
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
    /// They are done only [`with_keys`](super::RlsPolicies::with_keys), because they lock tables while they read them whole,
    /// fail on rows that break them, and make what was unique among all tenants unique within each.
    pub fn keys(&self) -> &[PolicyChange] {
        &self.keys
    }

    /// Tables and views that no generated policy guards, of which a person has to decide: a table without a tenant column
    /// that is not declared as shared, one outside of the `search_path`, a materialized view, a foreign table. `tenancy
    /// policies --check` fails on them.
    ///
    /// With a [runtime role](super::RlsPolicies::runtime_role) these are the ones that it reaches, and the others are
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
        script(self)
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
    pub(super) fn new(object: impl Into<String>, reason: impl Into<String>, sql: impl Into<String>) -> Self {
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

    /// The statements that fix it.
    pub fn sql(&self) -> &str {
        &self.sql
    }
}

const HEAD: &str = "\
-- Row-level security for the tables of tenants, written by `tenancy` from tenancy.toml and the database.
-- Run it as the owner of the tables, in one transaction, as tools for migrations do. It may be run again.
";
const KEYS: &str = "\
-- Keys that lack the tenant. PostgreSQL checks keys past row-level security, so these let one tenant collide with
-- another's rows, or refer to them. A person decides on each: it locks its tables while it reads them whole, fails on
-- rows that break it, and what was unique among all tenants is unique within each afterwards. Keep this order.
";
const UNGUARDED: &str = "\
-- What no policy guards. A person decides on each; `tenancy policies --check` fails until then.
";
const ADVICE: &str = "-- Advice.\n";

fn script(plan: &PolicyPlan) -> String {
    let mut text = HEAD.to_owned();
    if plan.is_empty() {
        text += "\n-- Nothing is to be done.\n";
    }
    for step in plan.changes() {
        // A String takes whatever is written to it.
        let _ = writeln!(text, "\n{}{}", title(step), step.sql());
    }
    for (head, steps) in [(KEYS, plan.keys()), (UNGUARDED, plan.unguarded()), (ADVICE, plan.advice())] {
        if !steps.is_empty() {
            let _ = write!(text, "\n\n{head}");
        }
        for step in steps {
            let _ = write!(text, "\n{}{}", title(step), comment(step.sql()));
        }
    }
    text
}

fn title(step: &PolicyChange) -> String {
    comment(&format!("{}: {}", step.object(), step.reason()))
}

/// Whatever a name holds, no line of it stands outside of the comment.
fn comment(text: &str) -> String {
    let mut comment = String::new();
    for line in text.split(['\n', '\r']).filter(|line| !line.is_empty()) {
        let _ = writeln!(comment, "-- {line}");
    }
    comment
}
