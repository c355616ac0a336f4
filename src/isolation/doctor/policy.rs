//! Judges the policies of a table: whether they compare with the tenant, and whether they are the generated ones.

use super::examined::Examined;
use crate::isolation::catalog::{Column, Policy};
use crate::isolation::comparison::{Kind, MissingTenant, forms};
use crate::isolation::identifier::quoted;
use crate::isolation::policy::{COMMANDS, FLOOR, OWN, Planned};

/// The result for all policies of one table.
pub(super) enum PolicyStatus<'a> {
    /// Every permitted command compares with the tenant through a restrictive policy. On Citus, which has none, every
    /// policy compares with the tenant.
    Floor,
    /// These policies permit rows without comparing them with the tenant.
    Open(Vec<&'a Policy>),
    /// Every permissive policy compares with the tenant, but no restrictive policy does.
    NoFloor,
    /// No permissive policy applies to the role.
    None,
}

pub(super) fn judge<'a>(relation: &'a Examined, column: &Column) -> PolicyStatus<'a> {
    let known = forms(column);
    let compares = |policy: &Policy, command: char| policy.compares(&known, command);
    let floor = |command: char| {
        let mut restrictive = relation
            .policies
            .iter()
            .filter(|policy| !relation.is_permissive(policy) && relation.bound_by.contains(&policy.name));
        restrictive.any(|policy| policy.is_for(command) && compares(policy, command))
    };
    let permissive = || {
        relation
            .policies
            .iter()
            .filter(|policy| relation.is_permissive(policy) && relation.reached_by.contains(&policy.name))
    };
    let without_floor: Vec<char> = COMMANDS
        .into_iter()
        .filter(|(command, right)| relation.privileges.contains(*right) && !floor(*command))
        .map(|(command, _)| command)
        .collect();
    let opens = |policy: &&Policy| {
        without_floor.iter().any(|command| policy.is_for(*command) && !compares(policy, *command))
    };
    let open: Vec<&Policy> = permissive().filter(opens).collect();
    if !open.is_empty() {
        PolicyStatus::Open(open)
    } else if permissive().next().is_none() {
        PolicyStatus::None
    } else if relation.has_shards() {
        // Citus keeps no restrictive policy. Each of its policies compares with the tenant.
        PolicyStatus::Floor
    } else if permissive().any(|policy| without_floor.iter().any(|command| policy.is_for(*command))) {
        PolicyStatus::NoFloor
    } else {
        PolicyStatus::Floor
    }
}

/// The SQL that creates the generated policies: the restrictive one, and with `permissive` the permissive one too. Or
/// the reason why the tenant column can have none.
pub(super) fn written(
    relation: &Examined,
    column: &Column,
    missing: MissingTenant,
    permissive: bool,
) -> Result<String, String> {
    let policies = Planned::both(column, Kind::of(column)?, missing);
    let planned = policies.iter().filter(|policy| permissive || !policy.permissive);
    let stale = relation.policies.iter().filter(|policy| policy.is_stale());
    let dropped = stale.map(|policy| format!("DROP POLICY {} ON {};", quoted(&policy.name), relation.ident));
    let sql: Vec<String> = planned.flat_map(|one| one.create(&relation.ident)).chain(dropped).collect();
    Ok(sql.join("\n"))
}

/// The generated policies of a table that were altered, renamed or dropped.
pub(super) fn altered<'a>(relation: &'a Examined, column: &Column) -> Vec<&'a str> {
    let named = |name: &str| relation.policies.iter().find(|policy| policy.name == name);
    let (Ok(kind), false) = (Kind::of(column), relation.is_own_table()) else { return Vec::new() };
    if !relation.policies.iter().any(Policy::is_generated) {
        return Vec::new();
    }
    let both =
        [MissingTenant::NoRows, MissingTenant::Error].map(|missing| Planned::both(column, kind, missing));
    let right = |name: &str| {
        let mut planned = both.iter().flatten().filter(|planned| planned.name == name);
        named(name).is_some_and(|policy| planned.any(|planned| planned.is(policy)))
    };
    let altered = [FLOOR, OWN].into_iter().filter(|name| !right(name));
    let stale = relation.policies.iter().filter(|policy| policy.is_stale());
    altered.chain(stale.map(|policy| policy.name.as_str())).collect()
}
