//! The policies of tenants' tables.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::catalog::{Catalog, Column, Kind, Policy, Table};
use super::{Step, Unset, quoted};

const FLOOR: &str = "tenancy_floor";
const OWN: &str = "tenancy_own";
/// How the comment of a policy of ours begins; the hash of its definition follows.
const MARK: &str = "tenancy ";

/// A policy as it should be: for every command and every role.
struct Planned {
    name: &'static str,
    permissive: bool,
    using: String,
    /// The same as the database prints it.
    printed: String,
}

impl Planned {
    fn of(column: &Column, unset: Unset) -> [Self; 2] {
        let (value, printed) = (value(column.kind, unset), printed(column.kind, unset));
        let using = format!("{} = {value}", quoted(&column.name));
        let printed = format!("({} = {printed})", column.printed);
        let floor = Self { name: FLOOR, permissive: false, using: using.clone(), printed: printed.clone() };
        [floor, Self { name: OWN, permissive: true, using, printed }]
    }

    fn mark(&self) -> String {
        let definition = format!("{} {} {}", self.name, self.permissive, self.using);
        let mut mark = MARK.to_owned();
        for byte in &Sha256::digest(definition)[..8] {
            // A String takes whatever is written to it.
            let _ = write!(mark, "{byte:02x}");
        }
        mark
    }

    fn is(&self, policy: &Policy) -> bool {
        policy.permissive == self.permissive
            && policy.of_all
            && policy.using.as_deref() == Some(&self.printed)
            && policy.check.is_none()
    }

    /// What is wrong with it as it stands, and the SQL that mends that.
    fn difference(&self, table: &Table) -> Option<(String, String)> {
        let Self { name, permissive, using, .. } = self;
        let mark = self.mark();
        let on = format!("{} ON {}", quoted(name), table.name);
        let comment = format!("COMMENT ON POLICY {on} IS '{mark}';");
        let reason = match table.policies.iter().find(|policy| policy.name == *name) {
            None => format!("it has no policy `{name}`"),
            Some(policy) if self.is(policy) => {
                let kept = policy.comment.as_deref() == Some(&mark);
                return (!kept)
                    .then(|| (format!("its policy `{name}` is as planned and not marked"), comment));
            }
            Some(policy) if policy.comment.as_deref() == Some(&mark) => {
                format!("its policy `{name}` was altered by hand")
            }
            Some(_) => format!("its policy `{name}` is of another declaration"),
        };
        let restrictive = if *permissive { "" } else { " AS RESTRICTIVE" };
        let create = format!(
            "DROP POLICY IF EXISTS {on};\nCREATE POLICY {on}{restrictive}\n    USING ({using});\n{comment}"
        );
        Some((reason, create))
    }
}

impl Policy {
    /// Whether this crate wrote it.
    pub(super) fn is_ours(&self) -> bool {
        let marked = self.comment.as_deref().and_then(|comment| comment.strip_prefix(MARK));
        [FLOOR, OWN].contains(&self.name.as_str())
            || marked.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}

/// The tenant that the transaction is for. After a finished `SET LOCAL` the setting is empty, and not away.
fn value(kind: Kind, unset: Unset) -> String {
    let text = match unset {
        Unset::HidesAll => "nullif(current_setting('app.tenant_id', true), '')".to_owned(),
        // There is no such setting, which is what the error says.
        Unset::Raises => format!(
            "current_setting(CASE WHEN current_setting('app.tenant_id', true) <> '' THEN 'app.tenant_id' \
             ELSE '{RAISED}' END)"
        ),
    };
    match kind {
        Kind::Uuid => format!("{text}::uuid"),
        Kind::BigInt => format!("{text}::bigint"),
        Kind::Text => text,
    }
}

const RAISED: &str = "app.tenant_id (no tenant is set)";

fn printed(kind: Kind, unset: Unset) -> String {
    let text = match unset {
        Unset::HidesAll => "NULLIF(current_setting('app.tenant_id'::text, true), ''::text)".to_owned(),
        Unset::Raises => format!(
            "current_setting(\nCASE\n    WHEN (current_setting('app.tenant_id'::text, true) <> ''::text) \
             THEN 'app.tenant_id'::text\n    ELSE '{RAISED}'::text\nEND)"
        ),
    };
    match kind {
        Kind::Uuid => format!("({text})::uuid"),
        Kind::BigInt => format!("({text})::bigint"),
        Kind::Text => text,
    }
}

pub(super) fn steps(catalog: &Catalog, unset: Unset) -> Vec<Step> {
    let mut steps = Vec::new();
    for table in &catalog.tenants {
        let differences: Vec<_> = Planned::of(table.column(), unset)
            .iter()
            .filter_map(|planned| planned.difference(table))
            .collect();
        let stale = table.policies.iter().filter(|policy| ![FLOOR, OWN].contains(&policy.name.as_str()));
        steps.extend(differences.into_iter().map(|(reason, sql)| Step::new(table.object(), reason, sql)));
        steps.extend(stale.filter(|policy| policy.is_ours()).map(|policy| dropped(table, policy)));
        // The policies come first: a table that is secured without one shows nothing.
        let secured = [
            (table.security.enabled, "ENABLE ROW LEVEL SECURITY", "its row-level security is off"),
            (
                table.security.forced,
                "FORCE ROW LEVEL SECURITY",
                "its row-level security does not bind its owner",
            ),
        ];
        let (mut reasons, mut actions) = (Vec::new(), Vec::new());
        for (_, action, reason) in secured.iter().filter(|(is, ..)| !is) {
            reasons.push(*reason);
            actions.push(*action);
        }
        if !actions.is_empty() {
            let sql = format!("ALTER TABLE {} {};", table.name, actions.join(", "));
            steps.push(Step::new(table.object(), reasons.join(", and "), sql));
        }
    }
    for table in &catalog.shared {
        let ours: Vec<_> = table.policies.iter().filter(|policy| policy.is_ours()).collect();
        steps.extend(ours.iter().map(|policy| dropped(table, policy)));
        // Without any policy a secured table shows nothing to anybody.
        if !ours.is_empty()
            && ours.len() == table.policies.len()
            && (table.security.enabled || table.security.forced)
        {
            let sql = format!(
                "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;",
                table.name
            );
            steps.push(Step::new(table.object(), "it is shared, and would show nothing", sql));
        }
    }
    steps
}

fn dropped(table: &Table, policy: &Policy) -> Step {
    let reason = format!("its policy `{}` is not declared any more", policy.name);
    let sql = format!("DROP POLICY IF EXISTS {} ON {};", quoted(&policy.name), table.name);
    Step::new(table.object(), reason, sql)
}
