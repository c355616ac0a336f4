//! Identifiers of a statement: how a database resolves them, and the names of the items of a FROM.

use crate::dialect::Dialect;
use sqlparser::ast::{Ident, TableAlias, TableFactor, TableWithJoins};
use std::collections::HashSet;
use std::sync::LazyLock;

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

/// Words that PostgreSQL, or the parser, does not read as the name of a table, unless they follow a dot or are quoted.
const POSTGRES_RESERVED: &str = "
    between coalesce exists extract greatest grouping interval least merge nullif overlay position row rows setof substring
    treat trim truncate values xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlparse xmlpi xmlroot xmlserialize
    by conflict convert cube delete div escape except exec explain filter first glob insert last lock locked match matched mod next nowait
    nothing nulls over partition preceding range recursive regexp rlike rollup schema set sets share skip ties top union update
    within xor
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
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| POSTGRES_RESERVED.split_whitespace().collect());
    if dialect != Dialect::Postgres || name.quote_style.is_some() {
        return name.clone();
    }
    let lower = name.value.to_ascii_lowercase();
    if WORDS.contains(&*lower) { Ident::with_quote('"', lower) } else { name.clone() }
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

#[cfg(test)]
mod tests {
    use super::super::rewrite;
    use super::*;
    use crate::schema::Schema;
    use sqlparser::keywords::ALL_KEYWORDS;

    /// After a dot PostgreSQL reads every word as a name, also `values` and `between`.
    #[test]
    fn a_table_with_its_schema_can_have_any_name() {
        let schema = Schema::new("tenant_id").unwrap();
        for word in ALL_KEYWORDS.iter().filter(|word| !word.contains('-')) {
            for (sql, guards) in [
                (format!("UPDATE x.{word} SET a = $1 WHERE x.{word}.b = $2"), 1),
                (format!("SELECT x.{word}.a FROM u JOIN x.{word} ON u.id = x.{word}.id"), 2),
            ] {
                let rewritten = rewrite(Dialect::Postgres, &sql, &schema);
                assert!(
                    rewritten
                        .as_ref()
                        .is_ok_and(|text| text.text().matches("tenant_id = ").count() == guards),
                    "{sql}: {rewritten:?}"
                );
            }
        }
        assert!(ALL_KEYWORDS.len() > 500);
    }
}
