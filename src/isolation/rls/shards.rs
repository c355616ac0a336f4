//! Tenant tables on Citus: policies that open their shards, and shards with other row-level security.

use super::plan::PolicyChange;
use super::tables::{Tables, TenantTable};
use crate::isolation::catalog::Policy;
use crate::isolation::comparison::forms;

/// Each needs a decision of a person.
pub(super) fn unguarded(tables: &Tables<'_>) -> Vec<PolicyChange> {
    let distributed = tables.tenants.iter().filter(|table| table.relation.has_shards());
    distributed.flat_map(of_table).collect()
}

fn of_table(table: &TenantTable<'_>) -> Vec<PolicyChange> {
    let TenantTable { relation, column, .. } = table;
    let known = forms(column);
    // The plan changes a generated policy.
    let opens = |policy: &&Policy| relation.is_permissive(policy) && policy.opens(&known);
    let open = relation.policies.iter().filter(opens).map(|policy| {
        format!(
            "its policy `{}` opens it: on its shards Citus creates `tenancy_floor` as a permissive policy, so each policy \
             has to compare `{}` with the tenant; drop it",
            policy.name, column.name
        )
    });
    let differing = relation.differing_shards().map(|shard| {
        format!(
            "the row-level security of the {} differs from that of the table; see `run_command_on_shards` of Citus",
            shard.display()
        )
    });
    open.chain(differing).map(|reason| PolicyChange::new(relation.object(), reason, "")).collect()
}
