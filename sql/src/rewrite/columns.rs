//! The columns of a query, by the names that PostgreSQL gives them.

use std::collections::BTreeSet;

use sqlparser::ast::{
    AccessExpr, Cte, Expr, FromTable, Ident, Query, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    Statement, TableObject, TableWithJoins, UpdateTableFromKind,
};

use super::identifiers::{alias_of, factors, fold};
use super::names::{Columns, Names};

impl Names<'_> {
    /// Adds the CTEs of a query. CTEs of one name share the columns of all.
    pub(super) fn add_ctes(&mut self, query: &Query) {
        let Some(with) = &query.with else { return };
        for Cte { alias, query, .. } in &with.cte_tables {
            // A recursive CTE is in its own scope, with the columns of its first part.
            let mut columns: BTreeSet<String> = self.listed(Some(alias)).collect();
            let mut known = true;
            if columns.is_empty() {
                self.add_ctes(query);
                match self.columns_of_query(query) {
                    Some(found) => columns = found,
                    None => known = false,
                }
            }
            let name = alias.name.value.to_ascii_lowercase();
            let merged = match self.ctes.remove(&name) {
                None if known => Some(columns),
                Some(Some(other)) if known => Some(other.into_iter().chain(columns).collect()),
                _ => None,
            };
            self.ctes.insert(name, merged);
        }
    }

    pub(super) fn columns_of_query(&self, query: &Query) -> Columns {
        self.columns_of_body(&query.body)
    }

    fn columns_of_body(&self, body: &SetExpr) -> Columns {
        match body {
            SetExpr::Select(select) => self.columns_of_items(&select.projection, &self.behind(&select.from)),
            SetExpr::Query(query) => self.columns_of_query(query),
            SetExpr::SetOperation { left, .. } => self.columns_of_body(left),
            SetExpr::Values(values) => {
                let count = values.rows.first().map_or(0, |row| row.content.len());
                Some((1..=count).map(|n| format!("column{n}")).collect())
            }
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => self.columns_returned(statement),
            SetExpr::Table(_) => None,
        }
    }

    fn columns_returned(&self, statement: &Statement) -> Columns {
        let (items, from) = match statement {
            Statement::Insert(insert) => {
                let TableObject::TableName(name) = &insert.table else { return None };
                let last = name.0.last().and_then(|part| part.as_ident());
                let alias = insert.table_alias.as_ref().map(|alias| &alias.alias).or(last).cloned();
                (&insert.returning, vec![(alias, self.columns_of(name))])
            }
            Statement::Update(update) => {
                let from = match &update.from {
                    Some(UpdateTableFromKind::AfterSet(items) | UpdateTableFromKind::BeforeSet(items)) => {
                        &items[..]
                    }
                    None => &[],
                };
                (&update.returning, self.behind(std::iter::once(&update.table).chain(from)))
            }
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(items) | FromTable::WithoutKeyword(items)) = &delete.from;
                (&delete.returning, self.behind(items.iter().chain(delete.using.iter().flatten())))
            }
            _ => return None,
        };
        self.columns_of_items(items.as_deref().unwrap_or_default(), &from)
    }

    /// The names of a FROM, each with its columns.
    fn behind<'f>(
        &self,
        from: impl IntoIterator<Item = &'f TableWithJoins>,
    ) -> Vec<(Option<Ident>, Columns)> {
        from.into_iter()
            .flat_map(factors)
            .map(|factor| (alias_of(factor), self.columns_of_factor(factor)))
            .collect()
    }

    fn columns_of_items(&self, items: &[SelectItem], from: &[(Option<Ident>, Columns)]) -> Columns {
        let mut columns = BTreeSet::new();
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => columns.extend(name_of(self, expr)),
                SelectItem::ExprWithAlias { expr: _, alias } => {
                    columns.insert(fold(self.dialect, alias));
                }
                SelectItem::Wildcard(_) => {
                    for (_, behind) in from {
                        columns.extend(behind.as_ref()?.iter().cloned());
                    }
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let wanted = name.0.last().and_then(|part| part.as_ident())?;
                    let is = |alias: &Ident| fold(self.dialect, alias) == fold(self.dialect, wanted);
                    let (_, behind) = from.iter().find(|(alias, _)| alias.as_ref().is_some_and(is))?;
                    columns.extend(behind.as_ref()?.iter().cloned());
                }
                _ => return None,
            }
        }
        Some(columns)
    }

    /// The columns of an item of a FROM, of all its tables.
    pub(super) fn columns_of_from(&self, item: &TableWithJoins) -> Columns {
        let mut columns = BTreeSet::new();
        for factor in factors(item) {
            columns.extend(self.columns_of_factor(factor)?);
        }
        Some(columns)
    }
}

/// The name that PostgreSQL derives from an expression; `None` for its generated names.
fn name_of(names: &Names<'_>, expr: &Expr) -> Option<String> {
    let of = |ident: &Ident| Some(fold(names.dialect, ident));
    let word = |word: &str| Some(word.to_owned());
    match expr {
        Expr::Identifier(ident) => of(ident),
        Expr::CompoundIdentifier(idents) => of(idents.last()?),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some(ident),
                _ => None,
            });
            field.map_or_else(|| name_of(names, root), of)
        }
        Expr::Function(function) => of(function.name.0.last()?.as_ident()?),
        Expr::Nested(expr) | Expr::Collate { expr, .. } => name_of(names, expr),
        Expr::Cast { expr, data_type, .. } => {
            name_of(names, expr).or_else(|| Some(data_type.to_string().to_ascii_lowercase()))
        }
        Expr::Case { else_result, .. } => {
            else_result.as_deref().and_then(|expr| name_of(names, expr)).or_else(|| word("case"))
        }
        Expr::Subquery(query) => match &*query.body {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => name_of(names, expr),
                SelectItem::ExprWithAlias { alias, .. } => of(alias),
                _ => None,
            },
            _ => None,
        },
        Expr::Exists { .. } => word("exists"),
        Expr::Array(_) => word("array"),
        Expr::Extract { .. } => word("extract"),
        Expr::Position { .. } => word("position"),
        Expr::Substring { .. } => word("substring"),
        Expr::Overlay { .. } => word("overlay"),
        Expr::Trim { .. } => word("btrim"),
        Expr::Ceil { .. } => word("ceil"),
        Expr::Floor { .. } => word("floor"),
        Expr::AtTimeZone { .. } => word("timezone"),
        Expr::Interval(_) => word("interval"),
        Expr::TypedString(typed) => Some(typed.data_type.to_string().to_ascii_lowercase()),
        Expr::Tuple(_) => word("row"),
        _ => None,
    }
}
