//! PostgreSQL's functional notation: `a.b` and `(expr).b` read a column or a field `b`. If there is none, they call
//! the function, the aggregate or the cast `b` with the value before the dot.

use std::ops::ControlFlow::{self, Continue};

use sqlparser::ast::{
    AccessExpr, Expr, FromTable, Ident, ObjectName, Query, Select, Statement, TableFactor, TableObject,
    TableWithJoins, UpdateTableFromKind,
};

use super::conflict::ConflictKey;
use super::identifiers::{alias_of, fold};
use super::names::{Columns, Names};
use super::walk::{TreeVisitor, walk};
use crate::dialect::Dialect;

/// Built-in functions of PostgreSQL over a row of any table that are not on the list of functions.
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

/// A name after a dot that is not a known column or field.
pub(super) struct ImplicitCall {
    pub(super) name: Ident,
    /// Whether it follows an expression, and not the name of a table.
    pub(super) field: bool,
}

/// The implicit calls of a statement.
pub(super) fn calls(names: &Names<'_>, statement: &Statement, targets: &[ConflictKey]) -> Vec<ImplicitCall> {
    let mut calls = CallFinder { names, frames: Vec::new(), alone: false, found: Vec::new() };
    let _ = walk(statement, &mut calls);
    // In a conflict target a column has no table name before it.
    calls.alone = true;
    for expr in targets.iter().flat_map(|target| target.elements.iter().chain(&target.predicate)) {
        let _ = walk(expr, &mut calls);
    }
    calls.found
}

struct CallFinder<'a, 'b> {
    names: &'a Names<'b>,
    /// The enclosing queries, blocks and writes, outermost first.
    frames: Vec<NameFrame>,
    alone: bool,
    found: Vec<ImplicitCall>,
}

/// The names of one FROM, in the order in which they come into scope.
struct NameFrame {
    kind: FrameKind,
    /// Each name with its columns, and the number of items of the FROM after which it is in scope.
    entries: Vec<(String, Columns, usize)>,
    /// The number of items before the current position: within a FROM only those are in scope.
    visible: usize,
    /// The number of items of the FROM that were read.
    read: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    /// A query as a whole: its ORDER BY sees the FROM of its block.
    Query,
    /// One SELECT.
    Block,
    /// A write with its target.
    Write,
}

impl NameFrame {
    fn new(kind: FrameKind) -> Self {
        Self { kind, entries: Vec::new(), visible: usize::MAX, read: 0 }
    }

    fn columns<'f>(&'f self, alias: &'f str) -> impl Iterator<Item = &'f Columns> {
        let seen =
            self.entries.iter().filter(move |(name, _, after)| name == alias && *after <= self.visible);
        seen.map(|(_, columns, _)| columns)
    }

    fn add(&mut self, alias: &Ident, columns: Columns, after: usize) {
        self.entries.push((alias.value.to_ascii_lowercase(), columns, after));
    }

    /// Adds the items of a FROM, in the order in which the visitor leaves them.
    fn add_item(&mut self, names: &Names<'_>, item: &TableWithJoins, count: &mut usize) {
        self.add_factor(names, &item.relation, count);
        for join in &item.joins {
            self.add_factor(names, &join.relation, count);
        }
    }

    fn add_factor(&mut self, names: &Names<'_>, factor: &TableFactor, count: &mut usize) {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.add_item(names, table_with_joins, count);
        }
        *count += 1;
        if let Some(alias) = alias_of(factor) {
            self.add(&alias, names.columns_of_factor(factor), *count);
        }
    }
}

impl CallFinder<'_, '_> {
    fn call(&self, expr: &Expr) -> Option<ImplicitCall> {
        match expr {
            Expr::CompoundIdentifier(idents) => self.column(idents),
            Expr::CompoundFieldAccess { root, access_chain } => {
                let mut chain = access_chain.iter().peekable();
                let column = match &**root {
                    Expr::Identifier(first) => {
                        let mut idents = vec![first.clone()];
                        while let Some(AccessExpr::Dot(Expr::Identifier(ident))) = chain.peek() {
                            idents.push(ident.clone());
                            chain.next();
                        }
                        self.column(&idents)
                    }
                    Expr::CompoundIdentifier(idents) => self.column(idents),
                    _ => None,
                };
                column.or_else(|| chain.find_map(|access| self.field(access)))
            }
            _ => None,
        }
    }

    fn field(&self, access: &AccessExpr) -> Option<ImplicitCall> {
        match access {
            AccessExpr::Dot(Expr::Identifier(field)) => {
                let dialect = self.names.dialect;
                let known =
                    dialect == Dialect::Postgres && self.names.schema.has_field(&fold(dialect, field));
                (!known).then(|| ImplicitCall { name: field.clone(), field: true })
            }
            AccessExpr::Dot(other) => Some(ImplicitCall { name: Ident::new(other.to_string()), field: true }),
            AccessExpr::Subscript(_) => None,
        }
    }

    /// Resolves a name to the innermost one in scope. For a name that is not in scope the database returns an error.
    fn column(&self, idents: &[Ident]) -> Option<ImplicitCall> {
        let [.., of, column] = idents else { return None };
        if self.names.dialect != Dialect::Postgres {
            return None;
        }
        let (of, name) = (of.value.to_ascii_lowercase(), fold(Dialect::Postgres, column));
        let known = |columns: &Columns| {
            columns
                .as_ref()
                .is_none_or(|columns| columns.contains(&name) || self.names.schema.has_field(&name))
        };
        let frame = self.frames.iter().rev().find(|frame| frame.columns(&of).next().is_some());
        let known = !self.alone && frame.is_none_or(|frame| frame.columns(&of).all(known));
        (!known || OVER_ANY_ROW.contains(&&*name))
            .then(|| ImplicitCall { name: column.clone(), field: false })
    }

    fn top(&mut self, kind: FrameKind) -> Option<&mut NameFrame> {
        self.frames.last_mut().filter(|frame| frame.kind == kind)
    }

    /// The names of a write: its target, and the other items of its FROM.
    fn write(&self, statement: &Statement) -> Option<[NameFrame; 2]> {
        let names = self.names;
        let (mut frame, mut returned) = (NameFrame::new(FrameKind::Write), NameFrame::new(FrameKind::Write));
        let target = match statement {
            Statement::Insert(insert) => {
                let TableObject::TableName(name) = &insert.table else { return None };
                let last = name.0.last().and_then(|part| part.as_ident())?;
                let alias = insert.table_alias.as_ref().map_or(last, |alias| &alias.alias);
                frame.add(alias, names.table(name, None), 0);
                frame.add(&Ident::new("excluded"), names.table(name, None), 0);
                Some(name)
            }
            Statement::Update(update) => {
                frame.add_item(names, &update.table, &mut 0);
                if let Some(UpdateTableFromKind::AfterSet(items) | UpdateTableFromKind::BeforeSet(items)) =
                    &update.from
                {
                    for item in items {
                        frame.add_item(names, item, &mut 0);
                    }
                }
                table_name(&update.table.relation)
            }
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(items) | FromTable::WithoutKeyword(items)) = &delete.from;
                items
                    .iter()
                    .chain(delete.using.iter().flatten())
                    .for_each(|item| frame.add_item(names, item, &mut 0));
                items.first().and_then(|item| table_name(&item.relation))
            }
            Statement::Merge(merge) => {
                frame.add_factor(names, &merge.table, &mut 0);
                frame.add_factor(names, &merge.source, &mut 0);
                table_name(&merge.table)
            }
            _ => return None,
        };
        // PostgreSQL 18 names the rows of the target `old` and `new` in RETURNING.
        if let Some(name) = target {
            returned.add(&Ident::new("old"), names.table(name, None), 0);
            returned.add(&Ident::new("new"), names.table(name, None), 0);
        }
        Some([returned, frame])
    }
}

impl TreeVisitor for CallFinder<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.frames.push(NameFrame::new(FrameKind::Query));
        Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.frames.pop();
        Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        // The blocks of a set operation have separate scopes.
        if let Some(query) = self.top(FrameKind::Query) {
            *query = NameFrame::new(FrameKind::Query);
        }
        let mut frame = NameFrame::new(FrameKind::Block);
        let mut count = 0;
        // No other database calls a function by a name after an alias.
        let from = if self.names.dialect == Dialect::Postgres { &select.from[..] } else { &[] };
        for item in from {
            frame.add_item(self.names, item, &mut count);
        }
        self.frames.push(frame);
        Continue(())
    }

    fn post_visit_select(&mut self, _: &Select) -> ControlFlow<()> {
        let Some(block) = self.frames.pop() else { return Continue(()) };
        if let Some(query) = self.top(FrameKind::Query) {
            *query = NameFrame { kind: FrameKind::Query, visible: usize::MAX, ..block };
        }
        Continue(())
    }

    fn pre_visit_table_factor(&mut self, _: &TableFactor) -> ControlFlow<()> {
        if let Some(block) = self.top(FrameKind::Block) {
            block.visible = block.read;
        }
        Continue(())
    }

    fn post_visit_table_factor(&mut self, _: &TableFactor) -> ControlFlow<()> {
        if let Some(block) = self.top(FrameKind::Block) {
            block.read += 1;
            block.visible = block.read;
        }
        Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.frames.extend(self.write(statement).into_iter().flatten());
        Continue(())
    }

    fn post_visit_statement(&mut self, _: &Statement) -> ControlFlow<()> {
        while self.top(FrameKind::Write).is_some() {
            self.frames.pop();
        }
        Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let call = self.call(expr);
        self.found.extend(call);
        Continue(())
    }
}

fn table_name(factor: &TableFactor) -> Option<&ObjectName> {
    match factor {
        TableFactor::Table { name, .. } => Some(name),
        _ => None,
    }
}
