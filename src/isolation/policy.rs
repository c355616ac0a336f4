//! The two generated policies of a tenant table: the SQL that writes them, and how to recognise them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::catalog::{Column, Policy, Relation};
use super::comparison::{self, Kind, MissingTenant, RAISED, in_one_line};
use super::identifier::quoted;

/// The restrictive policy.
pub(super) const FLOOR: &str = "tenancy_floor";
/// The permissive policy.
pub(super) const OWN: &str = "tenancy_own";
/// The restrictive policy that refuses tenants that were moved to another place.
#[cfg(feature = "operations")]
pub(crate) const FENCE: &str = "tenancy_placed";
/// The prefix of a generated policy's comment; the hash of the definition follows.
const MARK: &str = "tenancy ";

/// The commands of policies, as the catalogue writes them, each with the privilege that it needs.
pub(super) const COMMANDS: [(char, &str); 4] =
    [('r', "SELECT"), ('a', "INSERT"), ('w', "UPDATE"), ('d', "DELETE")];

/// A generated policy, for every command and every role.
pub(super) struct Planned {
    pub(super) name: &'static str,
    pub(super) permissive: bool,
    using: String,
    /// The expression as PostgreSQL prints it.
    printed: String,
}

impl Planned {
    /// Both policies of a table with this tenant column.
    pub(super) fn both(column: &Column, kind: Kind, missing_tenant: MissingTenant) -> [Self; 2] {
        let using = format!("{} = {}", quoted(&column.name), comparison::value(kind, missing_tenant));
        let printed = format!("({} = {})", column.ident, comparison::printed_value(kind, missing_tenant));
        let floor = Self { name: FLOOR, permissive: false, using: using.clone(), printed: printed.clone() };
        [floor, Self { name: OWN, permissive: true, using, printed }]
    }

    /// Whether a policy of the database has this definition. Its name and its comment do not count.
    pub(super) fn is(&self, policy: &Policy) -> bool {
        policy.permissive == self.permissive
            && policy.command == '*'
            && policy.everybody
            && policy.using.as_deref() == Some(&self.printed)
            && policy.check.is_none()
    }

    /// The comment that marks the policy as generated.
    pub(super) fn mark(&self) -> String {
        let definition = format!("{} {} {}", self.name, self.permissive, self.using);
        let mut mark = MARK.to_owned();
        for byte in &Sha256::digest(definition)[..8] {
            // Writing to a String cannot fail.
            let _ = write!(mark, "{byte:02x}");
        }
        mark
    }

    /// The statements that create it on a table, and replace a policy with the same name.
    pub(super) fn create(&self, table: &str) -> Vec<String> {
        let on = format!("{} ON {table}", quoted(self.name));
        let restrictive = if self.permissive { "" } else { " AS RESTRICTIVE" };
        vec![
            format!("DROP POLICY IF EXISTS {on};"),
            format!("CREATE POLICY {on}{restrictive}\n    USING ({});", self.using),
            self.comment(table),
        ]
    }

    /// The statement that writes the mark.
    pub(super) fn comment(&self, table: &str) -> String {
        format!("COMMENT ON POLICY {} ON {table} IS '{}';", quoted(self.name), self.mark())
    }
}

impl Relation {
    /// Why a role to which policies apply may not see all rows of the tenant; `None` if it sees them.
    #[cfg(feature = "operations")]
    pub(crate) fn hides_rows(&self, column: &Column) -> Option<String> {
        if !self.rls {
            return None;
        }
        let known = comparison::forms(column);
        let compares = |policy: &&Policy| policy.is_for('r') && policy.compares(&known, 'r');
        let hides = |policy: &&Policy| {
            !policy.permissive && policy.name != FENCE && policy.is_for('r') && !policy.compares(&known, 'r')
        };
        if let Some(policy) = self.policies.iter().find(hides) {
            return Some(format!("the policy `{}` can hide rows", policy.name));
        }
        let shows = |policy: &&Policy| policy.permissive && policy.everybody && compares(policy);
        match self.policies.iter().find(shows) {
            Some(_) => None,
            None => Some("no policy shows all rows of the tenant to every role".to_owned()),
        }
    }
}

impl Policy {
    /// Whether this crate wrote it, by its name or by its comment.
    pub(super) fn is_generated(&self) -> bool {
        self.has_planned_name() || self.is_marked()
    }

    /// Whether this crate wrote it, and plans no policy with its name.
    pub(super) fn is_stale(&self) -> bool {
        self.is_marked() && !self.has_planned_name()
    }

    /// Whether it is the generated restrictive policy that fails without a tenant.
    pub(super) fn raises(&self) -> bool {
        self.name == FLOOR && self.using.as_ref().is_some_and(|using| using.contains(RAISED))
    }

    pub(super) fn is_for(&self, command: char) -> bool {
        self.command == '*' || self.command == command
    }

    /// Whether it compares the tenant column with the tenant, in one of the known forms, for every row that `command`
    /// reads or writes.
    pub(super) fn compares(&self, known: &[String], command: char) -> bool {
        // A missing expression counts as `true`.
        let using = self.using.as_deref().unwrap_or("true");
        let check = self.check.as_deref().unwrap_or(using);
        let (old, new) = match command {
            'a' => (None, Some(check)),
            'w' => (Some(using), Some(check)),
            _ => (Some(using), None),
        };
        old.into_iter().chain(new).all(|text| known.contains(&in_one_line(text)))
    }

    /// Whether it was written by hand and compares some command with nothing known. Without a restrictive policy it opens the
    /// table.
    pub(super) fn opens(&self, known: &[String]) -> bool {
        let mut commands = COMMANDS.iter().filter(|(command, _)| self.is_for(*command));
        !self.is_generated() && commands.any(|(command, _)| !self.compares(known, *command))
    }

    fn has_planned_name(&self) -> bool {
        [FLOOR, OWN].contains(&&*self.name)
    }

    fn is_marked(&self) -> bool {
        let hash = self.comment.as_deref().and_then(|comment| comment.strip_prefix(MARK));
        hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}
