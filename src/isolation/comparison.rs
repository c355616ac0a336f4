//! The comparison of a tenant column with the tenant of the transaction: as SQL, and as PostgreSQL prints it.

use super::catalog::Column;

/// The name of a setting that does not exist: reading it is the error of [`MissingTenant::Error`].
pub(super) const RAISED: &str = "app.tenant_id (no tenant is set)";

/// What a policy does for a statement that runs without a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MissingTenant {
    /// The statement sees no rows.
    #[default]
    NoRows,
    /// The statement fails as soon as it reads a row or an index. A missing tenant is then noticed at once; a scan
    /// that uses no index takes about a tenth longer.
    Error,
}

/// The type of a tenant column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uuid,
    BigInt,
    Text,
}

impl Kind {
    /// The kind of a tenant column, or why no policy is generated for its type.
    pub(super) fn of(column: &Column) -> Result<Self, String> {
        match &*column.declared {
            "uuid" => Ok(Self::Uuid),
            "bigint" => Ok(Self::BigInt),
            "text" if column.deterministic => Ok(Self::Text),
            "text" => {
                Err("has a collation that treats different ids as equal; use a deterministic one, such as \
                           \"C\""
                    .to_owned())
            }
            other => Err(format!("is of the type `{other}`; make it `uuid`, `bigint` or `text`")),
        }
    }
}

/// The tenant of the transaction, as SQL. After a finished `SET LOCAL` the setting is an empty string, and not unset.
pub(super) fn value(kind: Kind, missing_tenant: MissingTenant) -> String {
    let text = match missing_tenant {
        MissingTenant::NoRows => "nullif(current_setting('app.tenant_id', true), '')".to_owned(),
        // Reading a setting that does not exist is an error with its name.
        MissingTenant::Error => format!(
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

/// The same expression as PostgreSQL prints it.
pub(super) fn printed_value(kind: Kind, missing_tenant: MissingTenant) -> String {
    let text = printed_text(missing_tenant);
    match kind {
        Kind::Uuid => format!("({text})::uuid"),
        Kind::BigInt => format!("({text})::bigint"),
        Kind::Text => text,
    }
}

fn printed_text(missing_tenant: MissingTenant) -> String {
    match missing_tenant {
        MissingTenant::NoRows => "NULLIF(current_setting('app.tenant_id'::text, true), ''::text)".to_owned(),
        MissingTenant::Error => format!(
            "current_setting(\nCASE\n    WHEN (current_setting('app.tenant_id'::text, true) <> ''::text) \
             THEN 'app.tenant_id'::text\n    ELSE '{RAISED}'::text\nEND)"
        ),
    }
}

/// Every form in which PostgreSQL prints a comparison with the tenant. No other form counts as one.
pub(super) fn forms(column: &Column) -> Vec<String> {
    const PLAIN: [&str; 2] =
        ["current_setting('app.tenant_id'::text, true)", "current_setting('app.tenant_id'::text)"];

    let (ident, text) = (&column.ident, is_text(column));
    let casts = match &*column.r#type {
        "integer" => vec!["integer", "bigint"],
        other => vec![other],
    };
    let mut values = Vec::new();
    // After its transaction the plain setting is '', which no uuid or number equals, but a text might.
    let plain = PLAIN.into_iter().filter(|_| !text).map(str::to_owned);
    let planned =
        [MissingTenant::NoRows, MissingTenant::Error].map(|missing| in_one_line(&printed_text(missing)));
    for setting in planned.into_iter().chain(plain) {
        if text {
            values.push((setting.clone(), "nullif"));
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
pub(super) fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the default of the column is the current tenant.
pub(super) fn is_tenant(column: &Column, default: &str) -> bool {
    forms(column).contains(&format!("({} = {default})", column.ident))
}

fn is_text(column: &Column) -> bool {
    matches!(&*column.r#type, "text" | "character varying" | "character")
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
