//! The names in the FROMs of a statement: the tables that they refer to, and their columns.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, Statement, TableAlias,
    TableFactor, TableFunctionArgs, TableObject,
};

use super::identifiers::{alias_of, fold};
use super::walk::{TreeVisitor, walk};
use crate::dialect::Dialect;
use crate::schema::Schema;

/// Functions of a FROM whose rows have the columns of the type of their first argument.
const POPULATE: [&str; 4] =
    ["json_populate_record", "json_populate_recordset", "jsonb_populate_record", "jsonb_populate_recordset"];

/// The columns of a table, a query or an item of a FROM; `None` if they are not known.
pub(super) type Columns = Option<BTreeSet<String>>;

/// Every name in a FROM of one statement, or of the target of a write, in lower case, with all tables it refers to.
pub(super) struct Names<'a> {
    pub(super) dialect: Dialect,
    pub(super) schema: &'a Schema,
    /// The CTEs, in lower case, with their columns if those are known.
    pub(super) ctes: BTreeMap<String, Columns>,
    /// The names of tables without an alias, with the parts of each; `None` for anything else of that name.
    qualified: BTreeMap<String, Vec<Option<Vec<String>>>>,
}

impl<'a> Names<'a> {
    pub(super) fn of(dialect: Dialect, schema: &'a Schema, statement: &Statement) -> Self {
        let mut names = Self { dialect, schema, ctes: BTreeMap::new(), qualified: BTreeMap::new() };
        if dialect == Dialect::Postgres {
            let _ = walk(statement, &mut Ctes(&mut names));
        }
        let _ = walk(statement, &mut names);
        names
    }

    /// Whether `schema.table.column` can be written as `table.column`: the name refers to that table everywhere.
    pub(super) fn only(&self, parts: &[Ident]) -> bool {
        let Some(last) = parts.last() else { return false };
        let wanted: Vec<String> = parts.iter().map(|part| fold(self.dialect, part)).collect();
        let Some(known) = self.qualified.get(&last.value.to_ascii_lowercase()) else { return false };
        let all = |wanted: &[String]| known.iter().all(|parts| parts.as_deref() == Some(wanted));
        // Without a schema everywhere, the search path finds the table.
        let plain = &wanted[wanted.len() - 1..];
        all(&wanted) || (all(plain) && !self.ctes.contains_key(&plain[0].to_ascii_lowercase()))
    }

    fn add(&mut self, alias: &Ident, plain: Option<Vec<String>>) {
        self.qualified.entry(alias.value.to_ascii_lowercase()).or_default().push(plain);
    }

    fn folded(&self, name: &ObjectName) -> Vec<String> {
        let part = |part: &sqlparser::ast::ObjectNamePart| {
            part.as_ident().map_or_else(|| part.to_string(), |ident| fold(self.dialect, ident))
        };
        name.0.iter().map(part).collect()
    }

    /// The columns of a table or a CTE, if they are known.
    pub(super) fn columns_of(&self, name: &ObjectName) -> Columns {
        let parts = self.folded(name);
        let cte = match &parts[..] {
            [only] => self.ctes.get(&only.to_ascii_lowercase()),
            _ => None,
        };
        match cte {
            Some(columns) => columns.clone(),
            None => self.schema.columns_of(&parts.join(".")).cloned(),
        }
    }

    /// The columns that the alias lists, or else `columns`.
    fn under(&self, alias: Option<&TableAlias>, columns: Columns) -> Columns {
        let listed: BTreeSet<String> = self.listed(alias).collect();
        if listed.is_empty() { columns } else { Some(listed) }
    }

    pub(super) fn table(&self, name: &ObjectName, alias: Option<&TableAlias>) -> Columns {
        self.under(alias, self.columns_of(name))
    }

    /// The columns of an item of a FROM.
    pub(super) fn columns_of_factor(&self, factor: &TableFactor) -> Columns {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => self.table(name, alias.as_ref()),
            TableFactor::Table {
                name,
                alias,
                args: Some(TableFunctionArgs { args, .. }),
                with_ordinality,
                ..
            }
            | TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                self.function(name, args, alias.as_ref(), *with_ordinality)
            }
            TableFactor::UNNEST { alias, with_ordinality, .. } => {
                let name = ObjectName::from(vec![Ident::new("unnest")]);
                self.function(&name, &[], alias.as_ref(), *with_ordinality)
            }
            TableFactor::Derived { subquery, alias, .. } => {
                self.under(alias.as_ref(), self.columns_of_query(subquery))
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.under(alias.as_ref(), self.columns_of_from(table_with_joins))
            }
            _ => None,
        }
    }

    /// The columns that an alias lists.
    pub(super) fn listed(&self, alias: Option<&TableAlias>) -> impl Iterator<Item = String> {
        alias.into_iter().flat_map(|alias| &alias.columns).map(|column| fold(self.dialect, &column.name))
    }

    fn function(
        &self,
        name: &ObjectName,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
        ordinality: bool,
    ) -> Columns {
        let function = self.folded(name).pop().unwrap_or_default();
        if POPULATE.contains(&&*function) {
            let mut row = match args.first() {
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => Some(expr),
                _ => None,
            };
            while let Some(Expr::Nested(inner)) = row {
                row = Some(inner);
            }
            return match row {
                Some(Expr::Cast { data_type: DataType::Custom(row, _), .. }) => self.table(row, alias),
                _ => self.under(alias, Some(BTreeSet::new())),
            };
        }
        let mut columns: BTreeSet<String> = self.listed(alias).collect();
        if columns.is_empty() {
            match &*function {
                "json_each" | "json_each_text" | "jsonb_each" | "jsonb_each_text" => {
                    columns.extend(["key".to_owned(), "value".to_owned()]);
                }
                "json_array_elements"
                | "json_array_elements_text"
                | "jsonb_array_elements"
                | "jsonb_array_elements_text" => columns.extend(["value".to_owned()]),
                _ => columns.extend([alias.map_or(function, |alias| fold(self.dialect, &alias.name))]),
            }
        }
        if ordinality {
            columns.insert("ordinality".to_owned());
        }
        Some(columns)
    }
}

impl TreeVisitor for Names<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let Some(alias) = alias_of(factor) else { return ControlFlow::Continue(()) };
        let plain = match factor {
            TableFactor::Table { name, alias: None, args: None, .. } => Some(self.folded(name)),
            _ => None,
        };
        self.add(&alias, plain);
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        let Statement::Insert(insert) = statement else { return ControlFlow::Continue(()) };
        let TableObject::TableName(name) = &insert.table else { return ControlFlow::Continue(()) };
        match (&insert.table_alias, name.0.last().and_then(|part| part.as_ident())) {
            (Some(alias), _) => self.add(&alias.alias, None),
            (None, Some(last)) => self.add(last, Some(self.folded(name))),
            (None, None) => {}
        }
        ControlFlow::Continue(())
    }
}

/// Collects the CTEs in the order of their scopes.
struct Ctes<'a, 'b>(&'a mut Names<'b>);

impl TreeVisitor for Ctes<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.0.add_ctes(query);
        ControlFlow::Continue(())
    }
}
