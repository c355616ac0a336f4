//! Compares the policies of each table with the planned ones.

use super::plan::PolicyChange;
use super::tables::{SharedTable, Tables, TenantTable};
use crate::isolation::catalog::{Policy, Relation};
use crate::isolation::comparison::MissingTenant;
use crate::isolation::identifier::quoted;
use crate::isolation::policy::Planned;

impl Planned {
    /// How the policy in the database differs, and the statements that fix it.
    fn difference(&self, table: &Relation) -> Option<(String, Vec<String>)> {
        let (name, mark) = (self.name, self.mark());
        let reason = match table.policies.iter().find(|policy| policy.name == name) {
            None => format!("it has no policy `{name}`"),
            Some(policy) if self.is(policy) => {
                let kept = policy.comment.as_deref() == Some(&mark);
                return (!kept).then(|| {
                    (
                        format!("its policy `{name}` is as planned, but not marked"),
                        vec![self.comment(&table.quoted())],
                    )
                });
            }
            Some(policy) if policy.comment.as_deref() == Some(&mark) => {
                format!("its policy `{name}` was altered by hand")
            }
            Some(_) => format!("its policy `{name}` is from another declaration"),
        };
        Some((reason, self.create(&table.quoted())))
    }
}

/// The changes to policies and row-level security, table by table.
pub(super) fn changes(tables: &Tables<'_>, missing_tenant: MissingTenant) -> Vec<PolicyChange> {
    let mut changes = Vec::new();
    for TenantTable { relation, column, kind } in &tables.tenants {
        let planned = Planned::both(column, *kind, missing_tenant);
        let differences = planned.iter().filter_map(|planned| planned.difference(relation));
        changes.extend(
            differences.map(|(reason, sql)| PolicyChange::of_statements(relation.object(), reason, sql)),
        );
        let stale = relation.policies.iter().filter(|policy| policy.is_stale());
        changes.extend(stale.map(|policy| dropped(relation, policy)));
        // The policies come first: with row-level security and no policy a table shows no rows.
        let secured = [
            (relation.rls, "ENABLE ROW LEVEL SECURITY", "its row-level security is off"),
            (
                relation.forced,
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
            let sql = format!("ALTER TABLE {} {};", relation.quoted(), actions.join(", "));
            changes.push(PolicyChange::new(relation.object(), reasons.join(", and "), sql));
        }
    }
    for SharedTable { relation, .. } in &tables.shared {
        let ours: Vec<_> = relation.policies.iter().filter(|policy| policy.is_generated()).collect();
        changes.extend(ours.iter().map(|policy| dropped(relation, policy)));
        // With row-level security and no policy a table shows no rows to any role.
        if !ours.is_empty() && ours.len() == relation.policies.len() && (relation.rls || relation.forced) {
            let sql = format!(
                "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;",
                relation.quoted()
            );
            changes.push(PolicyChange::new(
                relation.object(),
                "it is shared, and row-level security without a policy would hide all rows",
                sql,
            ));
        }
    }
    changes
}

fn dropped(table: &Relation, policy: &Policy) -> PolicyChange {
    let reason = format!("its policy `{}` is no longer declared", policy.name);
    let sql = format!("DROP POLICY IF EXISTS {} ON {};", quoted(&policy.name), table.quoted());
    PolicyChange::new(table.object(), reason, sql)
}
