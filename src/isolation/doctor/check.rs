//! The checks of the doctor, each with its stable name, its severity and its texts.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// A row of another tenant can be read, written or found out about, with no further right. Only this fails.
    Error,
    /// One step away from it, or something that hides it.
    Warning,
    /// What costs time or tells little.
    Advice,
}

impl Severity {
    /// The stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! checks {
    ($($name:ident $id:literal $severity:ident $title:literal: $help:literal;)+) => {
        /// One thing that the doctor looks for. Its id is stable; `docs/doctor.md` lists all of them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Check {
            $(#[doc = $help] $name,)+
        }

        impl Check {
            /// Every check.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable name, in kebab case.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id),+ }
            }

            /// How bad a finding of this check is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),+ }
            }

            /// What is wrong, in one line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }

            /// What comes of it.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help),+ }
            }
        }
    };
}

checks! {
    ExemptRole "exempt-role" Error "the role is not bound by row-level security":
        "A superuser, a role with BYPASSRLS or REPLICATION, one that may read the server's files, or (before PostgreSQL 16) may take any role, reads every tenant's rows whatever the policies say.";
    OwnerPastRls "owner-past-rls" Error "the role owns a table whose policies do not bind its owner":
        "Without FORCE ROW LEVEL SECURITY the policies of a table do not hold for its owner, nor for its owner's members.";
    RlsOff "rls-off" Error "row-level security is off":
        "A query that forgot its tenant reads and writes every tenant's rows.";
    ChildWithoutRls "child-without-rls" Error "a partition or child table has no row-level security of its own":
        "The policies of a parent do not hold for who names the partition or the child itself.";
    OpenPolicy "open-policy" Error "a policy lets rows through that are not compared with the tenant":
        "Permissive policies add up: one that asks for something else than the tenant opens the table, unless a restrictive one stands below it.";
    FrozenTenant "frozen-tenant" Error "a policy asks an IMMUTABLE function for the tenant":
        "The answer of an IMMUTABLE function is kept with a prepared statement, and serves the next tenant too.";
    MissingTenantColumn "missing-tenant-column" Error "a table has no tenant column and is not declared shared":
        "Nothing says whose its rows are, so everybody's can be read.";
    TenantType "tenant-type" Error "the tenant column has a type that no policy is generated for":
        "`uuid`, `bigint` and `text` keep ids apart as they are written; another type, a domain or a collation may take two ids for one.";
    NullableTenant "nullable-tenant" Error "the tenant column may be null":
        "A row of nobody: unique keys do not hold for it, and a composite foreign key is not checked.";
    KeyWithoutTenant "key-without-tenant" Error "a unique key does not hold the tenant column":
        "The key is checked past row-level security: a duplicate tells one tenant of another's row, and keeps it from its own.";
    ForeignKeyWithoutTenant "foreign-key-without-tenant" Error "a foreign key does not hold the tenant column":
        "Foreign keys are checked past row-level security: a row can refer to another tenant's, learn that it is there, and be deleted with it.";
    BrokenKey "broken-key" Error "rows break a foreign key that is marked valid":
        "PostgreSQL takes the key for kept: a row refers to another tenant's, or to none, and a dump cannot be restored.";
    SharedWritable "shared-writable" Error "the role may write to a table that is declared shared":
        "What one tenant writes, all others read.";
    TruncatePrivilege "truncate-privilege" Error "the role may TRUNCATE":
        "TRUNCATE asks no policy: it removes every tenant's rows.";
    OwnerView "owner-view" Error "a view over tenants' rows reads with the rights of its owner":
        "Without `security_invoker` the policies are those for the owner of the view, who may be bound by none.";
    MaterializedView "materialized-view" Error "a materialized view of tenants' rows can be read":
        "A materialized view has no row-level security, and holds the rows of whoever refreshed it.";
    ForeignTable "foreign-table" Error "a foreign table can be reached":
        "A foreign table has no row-level security.";
    DefinerFunction "definer-function" Error "a SECURITY DEFINER function runs with the rights of another role":
        "Whoever calls it reads and writes as its owner, who may be bound by no policy or may have been granted what no policy guards.";
    ImplicitFunction "implicit-function" Error "a function is called by what does not look like a call":
        "`alias.name`, a cast, an operator, a domain or a type can call it, past the list of functions that statements may call: it can read any table or set the tenant.";
    LeakproofFunction "leakproof-function" Error "a function was marked LEAKPROOF by hand":
        "It may be called before the policy, on rows of every tenant.";
    EventTrigger "event-trigger" Error "an event trigger runs in the role's statements":
        "Its function runs whenever any role makes or changes an object, or logs in, and can set the tenant or read as its owner.";
    SystemPrivilege "system-privilege" Error "the role may use a function or a table that the server or an extension keeps back":
        "Such functions read files, open connections as another user and end sessions; such tables hold samples of every tenant's values.";
    ForeignServer "foreign-server" Error "the role may use a foreign server":
        "What it connects to is read with the rights of the user mapping, past every policy of this database or of another.";
    PredefinedRole "predefined-role" Error "the role is a member of a predefined role":
        "Such roles read the statements of every session, every setting or every table, or end other sessions.";
    UnsafeSetting "unsafe-setting" Error "a setting switches a protection off":
        "With it large objects have no rights, or foreign keys and triggers do nothing.";
    SettingDefault "setting-default" Error "the tenant has a default":
        "A query that forgot its tenant is answered as that tenant, rather than with nothing.";
    ProbeRead "probe-read" Error "rows were seen by a tenant they are not of":
        "This is the leak itself, shown with two tenants that do not exist.";
    ProbeWrite "probe-write" Error "a row was written for or changed by another tenant":
        "This is the leak itself, shown with two tenants that do not exist.";
    Unexamined "unexamined" Error "something could not be examined":
        "What is not known to be closed is taken for open.";
    OwnerRole "owner-role" Warning "the role owns tables of tenants":
        "The policies bind it only until it alters or drops them: one injected ALTER TABLE takes the wall away.";
    RlsNotForced "rls-not-forced" Warning "the policies of a table do not bind its owner":
        "Views, functions and migrations that run as the owner read every tenant's rows.";
    NoFloor "no-floor" Warning "no restrictive policy stands below the permissive ones":
        "The next permissive policy that somebody adds opens the table.";
    AlteredPolicy "altered-policy" Warning "a generated policy was altered or dropped":
        "`tenancy policies --check` fails on it, and what it was altered to is known to nobody.";
    NoPolicy "no-policy" Warning "no policy lets the role see any row":
        "The table looks empty to everybody.";
    DefaultedTenant "defaulted-tenant" Warning "the tenant column has a default":
        "A row whose tenant was forgotten becomes some tenant's.";
    SparePrivilege "spare-privilege" Warning "the role may set triggers or foreign keys on a table":
        "A trigger runs with the rights of whoever changes the table next; a foreign key tells which rows are there.";
    WidePrivilege "wide-privilege" Warning "the role has a right that a fresh server gives to no ordinary role":
        "Whoever may make things in a schema of the search path, in a database or in a language, or change a setting of the server, can put them in the way of others.";
    DefaultPrivileges "default-privileges" Warning "the role is given rights on tables that do not exist yet":
        "A new table can be read before it has a policy.";
    Publication "publication" Warning "a publication sends tenants' rows":
        "Logical replication asks no policy: its subscriber gets every tenant's rows.";
    LargeObjects "large-objects" Warning "large objects can be read":
        "Large objects have no row-level security: whoever knows or guesses a number reads it.";
    ServerVersion "server-version" Warning "the server has a known fault in row-level security":
        "Minor releases of PostgreSQL mend ways past the policies; this server has not been given one of them.";
    SharedSequence "shared-sequence" Advice "one sequence numbers the rows of several tables":
        "Its numbers tell one tenant how busy the others are.";
    UnleakproofIndex "unleakproof-index" Advice "an index is not used under row-level security":
        "Its operators are not leakproof, so the policy is asked first, for every row of the table.";
    SqlxBegin "sqlx-begin" Advice "this version of sqlx can leave a connection inside a transaction":
        "A `begin` that is cancelled in flight gives the connection back inside the transaction of its tenant. `TenantDb` guards against it; a `pool.begin()` of your own does not.";
}

impl Check {
    /// The check of this id.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if there is none.
    ///
    /// ```
    /// use tenancy::isolation::doctor::Check;
    ///
    /// assert_eq!(Check::parse("rls-off")?, Check::RlsOff);
    /// assert!(Check::parse("rls-of").is_err());
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    pub fn parse(id: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|check| check.id() == id).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|check| check.id()).collect();
            Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the doctor has no check `{}`; it has {}",
                    id.escape_debug().to_string().chars().take(64).collect::<String>(),
                    all.join(", ")
                ),
            )
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_of_a_kind_and_read_back() {
        for check in Check::ALL {
            assert_eq!(Check::parse(check.id()).unwrap(), *check);
            assert!(check.id().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{check}");
        }
    }
}
