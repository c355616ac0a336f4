//! What differs between the policies of tenants' tables and the planned ones.

use super::catalog::{Catalog, Table};
use super::plan::PolicyChange;
use super::relations::{Column, Policy};
use crate::isolation::policy::MissingTenant;
use crate::isolation::policy::{FLOOR, MARK, OWN, Planned, quoted};

impl Planned {
    fn is(&self, policy: &Policy) -> bool {
        policy.permissive == self.permissive
            && policy.of_all
            && policy.using.as_deref() == Some(&self.printed)
            && policy.check.is_none()
    }

    /// What is wrong with it as it stands, and the SQL that fixes that.
    fn difference(&self, table: &Table) -> Option<(String, String)> {
        let (name, mark) = (self.name, self.mark());
        let reason = match table.policies.iter().find(|policy| policy.name == name) {
            None => format!("it has no policy `{name}`"),
            Some(policy) if self.is(policy) => {
                let kept = policy.comment.as_deref() == Some(&mark);
                return (!kept).then(|| {
                    (format!("its policy `{name}` is as planned and not marked"), self.comment(&table.name))
                });
            }
            Some(policy) if policy.comment.as_deref() == Some(&mark) => {
                format!("its policy `{name}` was altered by hand")
            }
            Some(_) => format!("its policy `{name}` is of another declaration"),
        };
        Some((reason, self.create(&table.name)))
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

fn planned(column: &Column, unset: MissingTenant) -> [Planned; 2] {
    Planned::both(&column.name, &column.printed, column.kind, unset)
}

pub(super) fn steps(catalog: &Catalog, unset: MissingTenant) -> Vec<PolicyChange> {
    let mut steps = Vec::new();
    for table in &catalog.tenants {
        let differences: Vec<_> =
            planned(table.column(), unset).iter().filter_map(|planned| planned.difference(table)).collect();
        let stale = table.policies.iter().filter(|policy| ![FLOOR, OWN].contains(&policy.name.as_str()));
        steps.extend(
            differences.into_iter().map(|(reason, sql)| PolicyChange::new(table.object(), reason, sql)),
        );
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
            steps.push(PolicyChange::new(table.object(), reasons.join(", and "), sql));
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
            steps.push(PolicyChange::new(table.object(), "it is shared, and would show nothing", sql));
        }
    }
    steps
}

fn dropped(table: &Table, policy: &Policy) -> PolicyChange {
    let reason = format!("its policy `{}` is not declared any more", policy.name);
    let sql = format!("DROP POLICY IF EXISTS {} ON {};", quoted(&policy.name), table.name);
    PolicyChange::new(table.object(), reason, sql)
}
