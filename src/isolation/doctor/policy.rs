//! Whether the policies of a table compare with the tenant.

use super::relation::{Column, Policy, Relation};
use crate::isolation::policy::{FLOOR, MissingTenant, OWN, Planned, quoted};

/// The commands that policies are for, as the catalogue writes them, and what one must be given to run them.
const COMMANDS: [(char, &str); 4] = [('r', "SELECT"), ('a', "INSERT"), ('w', "UPDATE"), ('d', "DELETE")];

/// What the policies of one table come to.
pub(super) enum PolicyStatus<'a> {
    /// Nothing opens the table, and a floor stands below what is permitted.
    Floor,
    /// These open it.
    Open(Vec<&'a Policy>),
    /// All that is permitted compares with the tenant, and nothing says that the next policy has to.
    NoFloor,
    /// Nothing is permitted.
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
    let bare: Vec<char> = COMMANDS
        .into_iter()
        .filter(|(command, right)| relation.privileges.contains(*right) && !floor(*command))
        .map(|(command, _)| command)
        .collect();
    let opens =
        |policy: &&Policy| bare.iter().any(|command| of(policy, *command) && !compares(policy, *command));
    let open: Vec<&Policy> = permissive().filter(opens).collect();
    if !open.is_empty() {
        PolicyStatus::Open(open)
    } else if permissive().next().is_none() {
        PolicyStatus::None
    } else if permissive().any(|policy| bare.iter().any(|command| of(policy, *command))) {
        PolicyStatus::NoFloor
    } else {
        PolicyStatus::Floor
    }
}

/// What a policy asks of the rows of a command; nothing is what asks for nothing.
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

/// How PostgreSQL prints a comparison with the tenant: the only forms that are taken for one.
fn forms(column: &Column) -> Vec<String> {
    const UNSET_IS_NULL: &str = "NULLIF(current_setting('app.tenant_id'::text, true), ''::text)";
    const UNSET_RAISES: &str = "current_setting( CASE WHEN (current_setting('app.tenant_id'::text, true) <> ''::text) \
        THEN 'app.tenant_id'::text ELSE 'app.tenant_id (no tenant is set)'::text END)";
    const PLAIN: [&str; 2] =
        ["current_setting('app.tenant_id'::text, true)", "current_setting('app.tenant_id'::text)"];

    let (own, text) = (&column.ident, is_text(column));
    let casts = match &*column.r#type {
        "integer" => vec!["integer", "bigint"],
        other => vec![other],
    };
    let mut values = Vec::new();
    // A plain setting is '' after its transaction, which no uuid and no number is; but a text could be.
    for setting in [UNSET_IS_NULL, UNSET_RAISES].into_iter().chain(PLAIN.into_iter().filter(|_| !text)) {
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
        for own in [own.clone(), format!("({own})::{}", if text { "text" } else { &column.r#type })] {
            forms.push(format!("({own} = {value})"));
            forms.push(format!("({value} = {own})"));
            forms.push(format!("({own} = ( SELECT {value} AS \"{name}\"))"));
            forms.push(format!("({own} = ( SELECT {value} AS {name}))"));
        }
        if column.r#type == "character varying" {
            forms.push(format!("(({own})::text = ({value})::text)"));
        }
    }
    forms
}

/// PostgreSQL breaks a `CASE` into lines.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a default of the column is the tenant itself.
pub(super) fn is_tenant(column: &Column, default: &str) -> bool {
    forms(column).contains(&format!("({} = {default})", column.ident))
}

fn is_text(column: &Column) -> bool {
    matches!(&*column.r#type, "text" | "character varying" | "character")
}

/// The SQL that writes the generated policies: the restrictive one, and with `own` the permissive one too; or why none is
/// generated for the tenant column.
pub(super) fn written(
    relation: &Relation,
    column: &Column,
    unset: MissingTenant,
    own: bool,
) -> Result<String, String> {
    let policies = Planned::both(&column.name, &column.ident, column.kind()?, unset);
    let planned = policies.iter().filter(|policy| own || !policy.permissive);
    let dropped = renamed(relation)
        .map(|policy| format!("DROP POLICY {} ON {};", quoted(&policy.name), relation.ident));
    let sql: Vec<String> = planned.map(|one| one.create(&relation.ident)).chain(dropped).collect();
    Ok(sql.join("\n"))
}

/// Of a table with generated policies, those that are not as they are generated.
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
        .map(|unset| Planned::both(&column.name, &column.ident, kind, unset));
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
    fn a_comparison_with_the_tenant_is_known_and_nothing_that_looks_like_it() {
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
