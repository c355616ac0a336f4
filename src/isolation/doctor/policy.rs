//! Judges the policies of a table: whether they compare with the tenant, and whether they are the generated ones.

use super::examined::Examined;
use crate::isolation::catalog::{Column, Policy};
use crate::isolation::comparison::{Kind, MissingTenant, forms, in_one_line};
use crate::isolation::identifier::quoted;
use crate::isolation::policy::{FLOOR, OWN, Planned};

/// The commands of policies, as the catalogue writes them, each with the privilege that it needs.
const COMMANDS: [(char, &str); 4] = [('r', "SELECT"), ('a', "INSERT"), ('w', "UPDATE"), ('d', "DELETE")];

/// The result for all policies of one table.
pub(super) enum PolicyStatus<'a> {
    /// Every permitted command compares with the tenant through a restrictive policy.
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
    let compares = |policy: &Policy, command: char| {
        expressions(policy, command).all(|text| known.contains(&in_one_line(text)))
    };
    let of = |policy: &Policy, command: char| policy.command == '*' || policy.command == command;
    let floor = |command: char| {
        let mut restrictive = relation
            .policies
            .iter()
            .filter(|policy| !policy.permissive && relation.bound_by.contains(&policy.name));
        restrictive.any(|policy| of(policy, command) && compares(policy, command))
    };
    let permissive = || {
        relation
            .policies
            .iter()
            .filter(|policy| policy.permissive && relation.reached_by.contains(&policy.name))
    };
    let without_floor: Vec<char> = COMMANDS
        .into_iter()
        .filter(|(command, right)| relation.privileges.contains(*right) && !floor(*command))
        .map(|(command, _)| command)
        .collect();
    let opens = |policy: &&Policy| {
        without_floor.iter().any(|command| of(policy, *command) && !compares(policy, *command))
    };
    let open: Vec<&Policy> = permissive().filter(opens).collect();
    if !open.is_empty() {
        PolicyStatus::Open(open)
    } else if permissive().next().is_none() {
        PolicyStatus::None
    } else if permissive().any(|policy| without_floor.iter().any(|command| of(policy, *command))) {
        PolicyStatus::NoFloor
    } else {
        PolicyStatus::Floor
    }
}

/// The expressions of a policy that apply to a command. A missing expression counts as `true`.
fn expressions(policy: &Policy, command: char) -> impl Iterator<Item = &str> {
    let using = policy.using.as_deref().unwrap_or("true");
    let check = policy.check.as_deref().unwrap_or(using);
    let (old, new) = match command {
        'a' => (None, Some(check)),
        'w' => (Some(using), Some(check)),
        _ => (Some(using), None),
    };
    old.into_iter().chain(new)
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
    let sql: Vec<String> = planned.map(|one| one.create(&relation.ident)).chain(dropped).collect();
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
