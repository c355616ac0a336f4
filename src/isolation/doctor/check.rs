//! [`Check`]: every check of the doctor, with its stable id, its severity and its texts.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// The role can read, write or detect a row of another tenant with the privileges it has. Only errors fail.
    Error,
    /// One step away from an error, or something that hides one.
    Warning,
    /// Costs time, or reveals little.
    Advice,
}

impl Severity {
    /// The stable name, in lower case, such as `error`.
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
        /// A check of the doctor. Its id is stable; `docs/reference/doctor-checks.md` lists all checks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Check {
            $(#[doc = $help] $name,)+
        }

        impl Check {
            /// Every check.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The stable id, in kebab case, such as `rls-off`.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id),+ }
            }

            /// The severity of every finding of this check.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),+ }
            }

            /// What the check finds, in one line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }

            /// What a finding allows, in one or two sentences.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help),+ }
            }
        }
    };
}

checks! {
    ExemptRole "exempt-role" Error "the role bypasses row-level security":
        "A superuser, a role with BYPASSRLS or REPLICATION, or a role that may read the server's files can read every tenant's rows, whatever the policies are. Before PostgreSQL 16 so can a role with CREATEROLE, which may grant itself any role.";
    OwnerPastRls "owner-past-rls" Error "the role owns a table whose policies do not apply to its owner":
        "Without FORCE ROW LEVEL SECURITY, the policies of a table do not apply to its owner or to members of the owning role.";
    RlsOff "rls-off" Error "row-level security is off":
        "A query without a tenant predicate reads and writes every tenant's rows.";
    ChildWithoutRls "child-without-rls" Error "a partition or child table has no row-level security of its own":
        "The policies of a parent do not apply to a query that names the partition or the child directly.";
    OpenPolicy "open-policy" Error "a policy permits rows without comparing them with the tenant":
        "PostgreSQL combines permissive policies with OR: one that does not compare with the tenant opens the table, unless a restrictive policy does.";
    ShardPolicy "shard-policy" Error "a shard has other row-level security than its table":
        "Citus runs a statement on the shards, and so under their policies. A shard that was changed by hand may show every tenant's rows.";
    FrozenTenant "frozen-tenant" Error "a policy reads the tenant through an IMMUTABLE function":
        "The result of an IMMUTABLE function is kept with a prepared statement and applies to the next tenant too.";
    MissingTenantColumn "missing-tenant-column" Error "a table has no tenant column and is not declared shared":
        "The table does not record which tenant owns a row, so every tenant can read all rows.";
    TenantType "tenant-type" Error "the tenant column has a type that no policy is generated for":
        "`uuid`, `bigint` and `text` compare ids exactly; another type, a domain or a collation may treat two ids as equal.";
    NullableTenant "nullable-tenant" Error "the tenant column may be null":
        "A row without a tenant has no owner: unique keys do not apply to it, and PostgreSQL does not check its composite foreign keys.";
    KeyWithoutTenant "key-without-tenant" Error "a unique key does not contain the tenant column":
        "PostgreSQL checks keys without row-level security: a duplicate reveals another tenant's row, and the tenant cannot insert its own.";
    ForeignKeyWithoutTenant "foreign-key-without-tenant" Error "a foreign key does not contain the tenant column":
        "PostgreSQL checks foreign keys without row-level security: a row can reference another tenant's row, reveal that it exists, and be deleted with it.";
    BrokenKey "broken-key" Error "rows violate a foreign key that is marked valid":
        "PostgreSQL assumes that the key holds: a row references another tenant's row, or a missing one, and a dump cannot be restored.";
    SharedWritable "shared-writable" Error "the role may write to a table that is declared shared":
        "What one tenant writes, all other tenants read.";
    TruncatePrivilege "truncate-privilege" Error "the role may TRUNCATE":
        "TRUNCATE ignores policies: it removes every tenant's rows.";
    OwnerView "owner-view" Error "a view over tenant tables reads with the rights of its owner":
        "Without `security_invoker`, PostgreSQL applies the policies for the owner of the view, and the owner may bypass them.";
    MaterializedView "materialized-view" Error "the role can read a materialized view of tenant tables":
        "A materialized view has no row-level security, and contains every row that its last refresh could read.";
    ForeignTable "foreign-table" Error "the role can reach a foreign table":
        "A foreign table has no row-level security.";
    DefinerFunction "definer-function" Error "a SECURITY DEFINER function runs with the rights of another role":
        "The caller reads and writes as the owner of the function, who may bypass policies or have privileges on objects without policies.";
    ImplicitFunction "implicit-function" Error "a function runs without a call in the SQL text":
        "`alias.name`, a cast, an operator, a domain or a type can call it, past the list of functions that statements may call: it can read any table or set the tenant.";
    LeakproofFunction "leakproof-function" Error "a function was marked LEAKPROOF by hand":
        "PostgreSQL may call it before the policy, on rows of every tenant.";
    EventTrigger "event-trigger" Error "an event trigger runs in the role's statements":
        "Its function runs when any role creates or changes an object, or logs in, and can set the tenant or read as its owner.";
    SystemPrivilege "system-privilege" Error "the role may use a function or a table that the server or an extension restricts":
        "Such functions read files, open connections as another user or end sessions; such tables contain samples of every tenant's values.";
    ForeignServer "foreign-server" Error "the role may use a foreign server":
        "Everything behind it is read with the rights of the user mapping, past every policy of this database or of another.";
    RemoteFunction "remote-function" Error "the role may call functions that log in to another database":
        "An extension lets PUBLIC execute them. With a password, a statement reaches another tenant's database, or this one without the tenant and the role that were set.";
    PredefinedRole "predefined-role" Error "the role is a member of a predefined role":
        "Such roles read the statements of every session, every setting or every table, or end other sessions.";
    PlaceRole "place-role" Error "a role may use a place that is not its own":
        "With a role for each place, PostgreSQL rejects the name of another tenant's schema. A role that may use several places reads them all by name.";
    UnsafeSetting "unsafe-setting" Error "a setting disables a protection":
        "With it, large objects need no privileges, or triggers do not run and foreign keys are not checked.";
    SettingDefault "setting-default" Error "`app.tenant_id` has a default":
        "A query without a tenant runs as that tenant, instead of returning no rows.";
    ProbeRead "probe-read" Error "the probe read rows that belong to another tenant":
        "This is the leak itself, shown with two tenants that do not exist.";
    ProbeWrite "probe-write" Error "the probe inserted or changed a row for another tenant":
        "This is the leak itself, shown with two tenants that do not exist.";
    CitusTable "citus-table" Error "Citus cannot distribute the table":
        "`create_distributed_table` fails, or the rows of a tenant are on several nodes. Only `--citus` checks it.";
    AuditPrivilege "audit-privilege" Error "the role may change audit events":
        "No policy permits it on PostgreSQL. On the shards of Citus the restrictive policy is a permissive one, and does.";
    Unexamined "unexamined" Error "a part of the database could not be examined":
        "The doctor treats what it cannot examine as open.";
    OwnerRole "owner-role" Warning "the role owns tenant tables":
        "The policies apply to the role only until it alters or drops them: one injected ALTER TABLE removes them.";
    RlsNotForced "rls-not-forced" Warning "the policies of a table do not apply to its owner":
        "Views, functions and migrations that run as the owner read every tenant's rows.";
    NoFloor "no-floor" Warning "no restrictive policy compares with the tenant":
        "The next permissive policy may open the table.";
    AlteredPolicy "altered-policy" Warning "a generated policy was altered or dropped":
        "`tenancy policies --check` fails on it, because it no longer matches the declaration.";
    NoPolicy "no-policy" Warning "no policy lets the role see any row":
        "The table looks empty to every tenant.";
    MissingGrant "missing-grant" Warning "the role lacks a privilege on a table of this crate":
        "A transaction of a tenant writes gauges, audit events and usage beside the application's own rows. Without the privilege such a transaction fails.";
    DefaultedTenant "defaulted-tenant" Warning "the tenant column has a default":
        "A row that is inserted without a tenant silently gets the default tenant.";
    SparePrivilege "spare-privilege" Warning "the role may create triggers or foreign keys on a table":
        "A trigger runs with the rights of the next role that changes the table; a foreign key reveals which rows exist.";
    WidePrivilege "wide-privilege" Warning "the role has a privilege that a fresh server grants to no ordinary role":
        "A role that may create objects in a schema of the search path, in a database or in a language, or change a server setting, can interfere with the statements of others.";
    DefaultPrivileges "default-privileges" Warning "the role is granted privileges on future tables":
        "A new table can be read before it has a policy.";
    CitusRows "citus-rows" Warning "distributing the table as its owner can lose its rows":
        "Citus copies the rows under the policies of the table: as its owner under FORCE it sees none. Only `--citus` checks it.";
    Publication "publication" Warning "a publication sends tenant rows":
        "Logical replication ignores policies: its subscriber receives every tenant's rows.";
    LargeObjects "large-objects" Warning "the role can read large objects":
        "Large objects have no row-level security: any tenant that knows or guesses the number of one can read it.";
    ServerVersion "server-version" Warning "the server has a known vulnerability in row-level security":
        "A later minor release of PostgreSQL fixes a bypass of the policies.";
    SharedSequence "shared-sequence" Advice "several tables share one sequence":
        "Its numbers reveal to one tenant how many rows the others insert.";
    UnleakproofIndex "unleakproof-index" Advice "an index is not used under row-level security":
        "Its operators are not leakproof, so PostgreSQL evaluates the policy first, for every row of the table.";
    SqlxBegin "sqlx-begin" Advice "this version of sqlx can leave a connection inside a transaction":
        "A `begin` that is cancelled in flight returns the connection to the pool inside its tenant's transaction. `TenantDb` guards against it; your own `pool.begin()` does not.";
}

impl Check {
    /// Returns the check with this id.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if no check has this id.
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
    fn ids_are_unique_and_parse() {
        for check in Check::ALL {
            assert_eq!(Check::parse(check.id()).unwrap(), *check);
            assert!(check.id().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{check}");
        }
    }
}
