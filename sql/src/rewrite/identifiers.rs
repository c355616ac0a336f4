//! Identifiers of a statement: how a database resolves them, and the names of the items of a FROM.

use crate::dialect::Dialect;
use sqlparser::ast::{Ident, TableAlias, TableFactor, TableWithJoins};

/// The prefix of every name that the rewriter generates.
pub(super) const RESERVED: &str = "__tnt";

pub(super) fn fold(dialect: Dialect, ident: &Ident) -> String {
    match (dialect, ident.quote_style) {
        (Dialect::Postgres, None) | (Dialect::Sqlite, _) => ident.value.to_ascii_lowercase(),
        _ => ident.value.clone(),
    }
}

/// MySQL's `FROM DUAL`, which is not a table; in quotes it is a table name.
pub(super) fn is_dual(dialect: Dialect, name: &Ident) -> bool {
    dialect == Dialect::MySql && name.quote_style.is_none() && name.value.eq_ignore_ascii_case("dual")
}

/// The name of an item of a FROM: its alias, or the table's name.
pub(super) fn alias_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { name, alias, .. } => alias
            .as_ref()
            .map(|alias| alias.name.clone())
            .or_else(|| name.0.last().and_then(|part| part.as_ident().cloned())),
        TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias.as_ref().map(|alias| alias.name.clone()),
        _ => None,
    }
}

pub(super) fn factors(item: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
}

/// Words that PostgreSQL does not read as the name of a table, unless they follow a dot or are quoted.
const POSTGRES_RESERVED: &str = "
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze from
    full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true union
    unique user using variadic verbose when where window with
";

/// A name after which a dot and a column can follow: `user` in quotes, where it was `iam.user`.
pub(super) fn referable(dialect: Dialect, name: &Ident) -> Ident {
    let lower = name.value.to_ascii_lowercase();
    let reserved = dialect == Dialect::Postgres
        && name.quote_style.is_none()
        && POSTGRES_RESERVED.split_whitespace().any(|word| word == lower);
    if reserved { Ident::with_quote('"', lower) } else { name.clone() }
}

pub(super) fn plain_ident(name: &str) -> Ident {
    Ident::new(name)
}

pub(super) fn plain_alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

pub(super) fn unspanned(ident: &Ident) -> Ident {
    ident.quote_style.map_or_else(|| Ident::new(&ident.value), |quote| Ident::with_quote(quote, &ident.value))
}
