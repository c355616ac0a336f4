//! PostgreSQL's functional notation: `a.b` and `(expr).b` read a column or a field `b`, and where there is none they
//! call the function, the aggregate or the cast `b` on what stands before the dot.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, DataType, Expr, FromTable, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, Statement,
    TableAlias, TableFactor, TableFunctionArgs, TableObject, Visit, Visitor,
};

use super::conflict::Target;
use super::fold;
use super::from::alias_of;
use crate::{Dialect, Schema};

/// PostgreSQL's own functions over a row of any table that are not on the list of functions.
const OVER_ANY_ROW: [&str; 12] = [
    "any_out",
    "anycompatible_out",
    "anycompatiblenonarray_out",
    "anyelement_out",
    "anynonarray_out",
    "hash_record",
    "pg_collation_for",
    "pg_column_compression",
    "pg_column_size",
    "pg_typeof",
    "record_out",
    "record_send",
];

/// Functions of a FROM whose rows have the columns of the type of their first argument.
const POPULATE: [&str; 4] =
    ["json_populate_record", "json_populate_recordset", "jsonb_populate_record", "jsonb_populate_recordset"];

/// The columns of a table, of a query or of what stands in a FROM; none where they are not known.
pub(super) type Columns = Option<BTreeSet<String>>;

/// What stands behind a name in a FROM.
pub(super) enum Source {
    /// These columns and no others.
    Columns(BTreeSet<String>),
    /// A row whose columns are not known here.
    Row,
}

/// Every name in a FROM of one statement, or of the target of a write, in lower case, with all that it stands for.
pub(super) struct Names<'a> {
    pub(super) dialect: Dialect,
    schema: &'a Schema,
    sources: BTreeMap<String, Vec<Source>>,
    /// The CTEs, in lower case, with their columns where those are known.
    pub(super) ctes: BTreeMap<String, Columns>,
    /// The targets of writes: PostgreSQL 18 calls their rows `old` and `new` in RETURNING.
    targets: Vec<Source>,
    /// Under which names a table of a schema is read without an alias, and whether anything else has that name.
    qualified: BTreeMap<String, Vec<Option<Vec<String>>>>,
}

impl<'a> Names<'a> {
    pub(super) fn of(
        dialect: Dialect,
        schema: &'a Schema,
        statement: &Statement,
        targets: &[Target],
    ) -> Self {
        let mut names = Self {
            dialect,
            schema,
            sources: BTreeMap::new(),
            ctes: BTreeMap::new(),
            targets: Vec::new(),
            qualified: BTreeMap::new(),
        };
        if dialect == Dialect::Postgres {
            let _ = statement.visit(&mut Ctes(&mut names));
        }
        let _ = statement.visit(&mut names);
        for expr in targets.iter().flat_map(|target| target.elements.iter().chain(&target.predicate)) {
            let _ = expr.visit(&mut names);
        }
        names
    }

    /// The name that would be called as a function, unless it is known to be a column or a field.
    pub(super) fn called(&self, expr: &Expr) -> Option<Ident> {
        match expr {
            Expr::CompoundIdentifier(idents) => self.column(idents),
            Expr::CompoundFieldAccess { root, access_chain } => {
                let mut chain = access_chain.iter().peekable();
                if let Expr::Identifier(first) = &**root {
                    let mut idents = vec![first.clone()];
                    while let Some(AccessExpr::Dot(Expr::Identifier(ident))) = chain.peek() {
                        idents.push(ident.clone());
                        chain.next();
                    }
                    if let Some(called) = self.column(&idents) {
                        return Some(called);
                    }
                } else if let Expr::CompoundIdentifier(idents) = &**root
                    && let Some(called) = self.column(idents)
                {
                    return Some(called);
                }
                chain.find_map(|access| match access {
                    AccessExpr::Dot(Expr::Identifier(field)) => self.field(field),
                    AccessExpr::Dot(other) => Some(Ident::new(other.to_string())),
                    AccessExpr::Subscript(_) => None,
                })
            }
            _ => None,
        }
    }

    fn field(&self, field: &Ident) -> Option<Ident> {
        let known = self.dialect == Dialect::Postgres && self.schema.has_field(&fold(self.dialect, field));
        (!known).then(|| field.clone())
    }

    fn column(&self, idents: &[Ident]) -> Option<Ident> {
        let [.., of, column] = idents else { return None };
        if self.dialect != Dialect::Postgres {
            return None;
        }
        let name = fold(self.dialect, column);
        let of = of.value.to_ascii_lowercase();
        let returned = matches!(&*of, "old" | "new").then_some(&self.targets);
        let sources = self.sources.get(&of).or(returned);
        let known = sources.into_iter().flatten().all(|source| match source {
            Source::Columns(columns) => columns.contains(&name) || self.schema.has_field(&name),
            Source::Row => true,
        });
        (!known || OVER_ANY_ROW.contains(&&*name)).then(|| column.clone())
    }

    /// Whether `schema.table.column` can be written as `table.column`: the name stands for that table everywhere.
    pub(super) fn only(&self, parts: &[Ident]) -> bool {
        let Some(last) = parts.last() else { return false };
        let wanted: Vec<String> = parts.iter().map(|part| fold(self.dialect, part)).collect();
        let Some(known) = self.qualified.get(&last.value.to_ascii_lowercase()) else { return false };
        let all = |wanted: &[String]| known.iter().all(|parts| parts.as_deref() == Some(wanted));
        // Without its schema everywhere, a table is found by the search path.
        let plain = &wanted[wanted.len() - 1..];
        all(&wanted) || (all(plain) && !self.ctes.contains_key(&plain[0].to_ascii_lowercase()))
    }

    fn add(&mut self, alias: &Ident, source: Source, plain: Option<Vec<String>>) {
        let alias = alias.value.to_ascii_lowercase();
        self.sources.entry(alias.clone()).or_default().push(source);
        self.qualified.entry(alias).or_default().push(plain);
    }

    fn folded(&self, name: &ObjectName) -> Vec<String> {
        let part = |part: &sqlparser::ast::ObjectNamePart| {
            part.as_ident().map_or_else(|| part.to_string(), |ident| fold(self.dialect, ident))
        };
        name.0.iter().map(part).collect()
    }

    /// The columns of a table or a CTE, where they are known.
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

    /// Under an alias that lists columns, those that it lists.
    fn under(&self, alias: Option<&TableAlias>, columns: Columns) -> Source {
        let listed: BTreeSet<String> = self.listed(alias).collect();
        match columns {
            _ if !listed.is_empty() => Source::Columns(listed),
            Some(columns) => Source::Columns(columns),
            None => Source::Row,
        }
    }

    fn table(&self, name: &ObjectName, alias: Option<&TableAlias>) -> Source {
        self.under(alias, self.columns_of(name))
    }

    /// The columns that an alias lists.
    pub(super) fn listed(&self, alias: Option<&TableAlias>) -> impl Iterator<Item = String> {
        alias.into_iter().flat_map(|alias| &alias.columns).map(|column| fold(self.dialect, &column.name))
    }

    pub(super) fn function(
        &self,
        name: &ObjectName,
        args: &[FunctionArg],
        alias: Option<&TableAlias>,
        ordinality: bool,
    ) -> Source {
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
        Source::Columns(columns)
    }
}

impl Visitor for Names<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let Some(alias) = alias_of(factor) else { return ControlFlow::Continue(()) };
        let (source, plain) = match factor {
            TableFactor::Table { name, alias: None, args: None, .. } => {
                (self.table(name, None), Some(self.folded(name)))
            }
            TableFactor::Table { name, alias, args: None, .. } => (self.table(name, alias.as_ref()), None),
            TableFactor::Table {
                name,
                alias,
                args: Some(TableFunctionArgs { args, .. }),
                with_ordinality,
                ..
            }
            | TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                (self.function(name, args, alias.as_ref(), *with_ordinality), None)
            }
            TableFactor::UNNEST { alias, with_ordinality, .. } => {
                let name = ObjectName::from(vec![Ident::new("unnest")]);
                (self.function(&name, &[], alias.as_ref(), *with_ordinality), None)
            }
            TableFactor::Derived { subquery, alias, .. } => {
                (self.under(alias.as_ref(), self.columns_of_query(subquery)), None)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                (self.under(alias.as_ref(), self.columns_of_from(table_with_joins)), None)
            }
            _ => (Source::Row, None),
        };
        self.add(&alias, source, plain);
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        let target = match statement {
            Statement::Insert(insert) => match &insert.table {
                TableObject::TableName(name) => Some(name),
                _ => None,
            },
            Statement::Update(update) => table_name(&update.table.relation),
            Statement::Merge(merge) => table_name(&merge.table),
            Statement::Delete(delete) => match &delete.from {
                FromTable::WithFromKeyword(items) | FromTable::WithoutKeyword(items) => {
                    items.first().and_then(|item| table_name(&item.relation))
                }
            },
            _ => None,
        };
        let Some(name) = target else { return ControlFlow::Continue(()) };
        self.targets.push(self.table(name, None));
        let Statement::Insert(insert) = statement else { return ControlFlow::Continue(()) };
        let Some(last) = name.0.last().and_then(|part| part.as_ident()) else {
            return ControlFlow::Continue(());
        };
        self.add(&Ident::new("excluded"), self.table(name, None), None);
        match &insert.table_alias {
            Some(alias) => self.add(&alias.alias, self.table(name, None), None),
            None => self.add(last, self.table(name, None), Some(self.folded(name))),
        }
        ControlFlow::Continue(())
    }
}

fn table_name(factor: &TableFactor) -> Option<&ObjectName> {
    match factor {
        TableFactor::Table { name, .. } => Some(name),
        _ => None,
    }
}

/// Collects the CTEs in the order in which they are in sight.
struct Ctes<'a, 'b>(&'a mut Names<'b>);

impl Visitor for Ctes<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.0.add_ctes(query);
        ControlFlow::Continue(())
    }
}
