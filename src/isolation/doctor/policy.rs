//! Judges the policies of a table: whether they compare with the tenant, and whether they are the generated ones.

use super::relation::{Column, Policy, Relation};
use crate::isolation::policy::{FLOOR, MissingTenant, OWN, Planned, quoted};

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

pub(super) fn judge<'a>(relation: &'a Relation, column: &Column) -> PolicyStatus<'a> {
    let known = forms(column);
    let compares = |policy: &Policy, command: char| {
        expressions(policy, command).all(|text| known.contains(&in_one_line(text)))
    };
    let of = |policy: &Policy, command: char| policy.command == '*' || policy.command == command;
    let floor = |command: char| {
        let mut restrictive = relation.policies.iter().filter(|policy| !policy.permissive && policy.binds);
        restrictive.any(|policy| of(policy, command) && compares(policy, command))
    };
    let permissive = || relation.policies.iter().filter(|policy| policy.permissive && policy.reaches);
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

/// Every form in which PostgreSQL prints a comparison with the tenant. No other form counts as one.
fn forms(column: &Column) -> Vec<String> {
    const UNSET_IS_NULL: &str = "NULLIF(current_setting('app.tenant_id'::text, true), ''::text)";
    const UNSET_IS_ERROR: &str = "current_setting( CASE WHEN (current_setting('app.tenant_id'::text, true) <> ''::text) \
        THEN 'app.tenant_id'::text ELSE 'app.tenant_id (no tenant is set)'::text END)";
    const PLAIN: [&str; 2] =
        ["current_setting('app.tenant_id'::text, true)", "current_setting('app.tenant_id'::text)"];

    let (ident, text) = (&column.ident, is_text(column));
    let casts = match &*column.r#type {
        "integer" => vec!["integer", "bigint"],
        other => vec![other],
    };
    let mut values = Vec::new();
    // After its transaction the plain setting is '', which no uuid or number equals, but a text might.
    for setting in [UNSET_IS_NULL, UNSET_IS_ERROR].into_iter().chain(PLAIN.into_iter().filter(|_| !text)) {
        if text {
            values.push((setting.to_owned(), "nullif"));
        }
        values.extend(casts.iter().map(|cast| {
            (
                format!("({setting})::{cast}"),
                if setting.starts_with('N') { "nullif" } else { "current_setting" },
            )
        }));
    }
    let mut forms = Vec::new();
    for (value, name) in values {
        for term in [ident.clone(), format!("({ident})::{}", if text { "text" } else { &column.r#type })] {
            forms.push(format!("({term} = {value})"));
            forms.push(format!("({value} = {term})"));
            forms.push(format!("({term} = ( SELECT {value} AS \"{name}\"))"));
            forms.push(format!("({term} = ( SELECT {value} AS {name}))"));
        }
        if column.r#type == "character varying" {
            forms.push(format!("(({ident})::text = ({value})::text)"));
        }
    }
    forms
}

/// Joins the lines into which PostgreSQL prints a `CASE`.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the default of the column is the current tenant.
pub(super) fn is_tenant(column: &Column, default: &str) -> bool {
    forms(column).contains(&format!("({} = {default})", column.ident))
}

fn is_text(column: &Column) -> bool {
    matches!(&*column.r#type, "text" | "character varying" | "character")
}

/// The SQL that creates the generated policies: the restrictive one, and with `permissive` the permissive one too. Or
/// the reason why the tenant column can have none.
pub(super) fn written(
    relation: &Relation,
    column: &Column,
    missing: MissingTenant,
    permissive: bool,
) -> Result<String, String> {
    let policies = Planned::both(&column.name, &column.ident, column.kind()?, missing);
    let planned = policies.iter().filter(|policy| permissive || !policy.permissive);
    let dropped = renamed(relation)
        .map(|policy| format!("DROP POLICY {} ON {};", quoted(&policy.name), relation.ident));
    let sql: Vec<String> = planned.map(|one| one.create(&relation.ident)).chain(dropped).collect();
    Ok(sql.join("\n"))
}

/// The generated policies of a table that were altered, renamed or dropped.
pub(super) fn altered<'a>(relation: &'a Relation, column: &Column) -> Vec<&'a str> {
    let named = |name: &str| relation.policies.iter().find(|policy| policy.name == name);
    let (Ok(kind), false) = (column.kind(), relation.is_own_table()) else { return Vec::new() };
    if renamed(relation).next().is_none() && named(FLOOR).or(named(OWN)).is_none() {
        return Vec::new();
    }
    let is = |planned: &Planned, policy: &Policy| {
        policy.permissive == planned.permissive
            && policy.command == '*'
            && policy.everybody
            && policy.using.as_deref() == Some(&planned.printed)
            && policy.check.is_none()
    };
    let both = [MissingTenant::NoRows, MissingTenant::Error]
        .map(|missing| Planned::both(&column.name, &column.ident, kind, missing));
    let right = |name: &str| {
        let mut planned = both.iter().flatten().filter(|planned| planned.name == name);
        named(name).is_some_and(|policy| planned.any(|planned| is(planned, policy)))
    };
    let altered = [FLOOR, OWN].into_iter().filter(|name| !right(name));
    altered.chain(renamed(relation).map(|policy| policy.name.as_str())).collect()
}

/// Generated policies under other names.
fn renamed(relation: &Relation) -> impl Iterator<Item = &Policy> {
    relation.policies.iter().filter(|policy| policy.marked && ![FLOOR, OWN].contains(&&*policy.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(r#type: &str) -> Column {
        Column {
            name: "tenant_id".to_owned(),
            ident: "tenant_id".to_owned(),
            r#type: r#type.to_owned(),
            declared: r#type.to_owned(),
            deterministic: true,
            r#enum: false,
            array: false,
            not_null: true,
            tenant_not_null: true,
            default: None,
            generated: false,
            identity: false,
            choice: None,
        }
    }

    #[test]
    fn only_a_comparison_with_the_tenant_is_known() {
        let known = |kind: &str, text: &str| forms(&column(kind)).contains(&text.to_owned());
        assert!(known(
            "uuid",
            "(tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid)"
        ));
        assert!(known(
            "text",
            "(tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))"
        ));
        assert!(known(
            "character varying",
            "((tenant_id)::text = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))"
        ));
        assert!(known("uuid", "(tenant_id = (current_setting('app.tenant_id'::text))::uuid)"));
        assert!(known(
            "uuid",
            "(tenant_id = ( SELECT (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid AS \"nullif\"))"
        ));
        // After the transaction the setting is '', which a text column could hold.
        assert!(!known("text", "(tenant_id = current_setting('app.tenant_id'::text, true))"));
        assert!(!known(
            "uuid",
            "(owner_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid)"
        ));
        assert!(!known("uuid", "true"));
    }
}
