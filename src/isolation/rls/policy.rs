//! Compares the policies of each table with the planned ones.

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

    /// How the policy in the database differs, and the SQL that fixes it.
    fn difference(&self, table: &Table) -> Option<(String, String)> {
        let (name, mark) = (self.name, self.mark());
        let reason = match table.policies.iter().find(|policy| policy.name == name) {
            None => format!("it has no policy `{name}`"),
            Some(policy) if self.is(policy) => {
                let kept = policy.comment.as_deref() == Some(&mark);
                return (!kept).then(|| {
                    (format!("its policy `{name}` is as planned, but not marked"), self.comment(&table.name))
                });
            }
            Some(policy) if policy.comment.as_deref() == Some(&mark) => {
                format!("its policy `{name}` was altered by hand")
            }
            Some(_) => format!("its policy `{name}` is from another declaration"),
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

fn planned(column: &Column, missing_tenant: MissingTenant) -> [Planned; 2] {
    Planned::both(&column.name, &column.printed, column.kind, missing_tenant)
}

/// The changes to policies and row-level security, table by table.
pub(super) fn changes(catalog: &Catalog, missing_tenant: MissingTenant) -> Vec<PolicyChange> {
    let mut changes = Vec::new();
    for table in &catalog.tenants {
        let differences: Vec<_> = planned(table.column(), missing_tenant)
            .iter()
            .filter_map(|planned| planned.difference(table))
            .collect();
        let stale = table.policies.iter().filter(|policy| ![FLOOR, OWN].contains(&policy.name.as_str()));
        changes.extend(
            differences.into_iter().map(|(reason, sql)| PolicyChange::new(table.object(), reason, sql)),
        );
        changes.extend(stale.filter(|policy| policy.is_ours()).map(|policy| dropped(table, policy)));
        // The policies come first: with row-level security and no policy a table shows no rows.
        let secured = [
            (table.security.enabled, "ENABLE ROW LEVEL SECURITY", "its row-level security is off"),
            (
                table.security.forced,
                "FORCE ROW LEVEL SECURITY",
                "its row-level security does not apply to its owner",
            ),
        ];
        let (mut reasons, mut actions) = (Vec::new(), Vec::new());
        for (_, action, reason) in secured.iter().filter(|(is, ..)| !is) {
            reasons.push(*reason);
            actions.push(*action);
        }
        if !actions.is_empty() {
            let sql = format!("ALTER TABLE {} {};", table.name, actions.join(", "));
            changes.push(PolicyChange::new(table.object(), reasons.join(", and "), sql));
        }
    }
    for table in &catalog.shared {
        let ours: Vec<_> = table.policies.iter().filter(|policy| policy.is_ours()).collect();
        changes.extend(ours.iter().map(|policy| dropped(table, policy)));
        // With row-level security and no policy a table shows no rows to any role.
        if !ours.is_empty()
            && ours.len() == table.policies.len()
            && (table.security.enabled || table.security.forced)
        {
            let sql = format!(
                "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;",
                table.name
            );
            changes.push(PolicyChange::new(
                table.object(),
                "it is shared, and row-level security without a policy would hide all rows",
                sql,
            ));
        }
    }
    changes
}

fn dropped(table: &Table, policy: &Policy) -> PolicyChange {
    let reason = format!("its policy `{}` is no longer declared", policy.name);
    let sql = format!("DROP POLICY IF EXISTS {} ON {};", quoted(&policy.name), table.name);
    PolicyChange::new(table.object(), reason, sql)
}
