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

pub(super) fn plain_ident(name: &str) -> Ident {
    Ident::new(name)
}

pub(super) fn plain_alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

pub(super) fn unspanned(ident: &Ident) -> Ident {
    ident.quote_style.map_or_else(|| Ident::new(&ident.value), |quote| Ident::with_quote(quote, &ident.value))
}
