//! The second pass: proves of a printed statement that no table of tenants in it stands unguarded.
//!
//! It shares no walk with the first pass. Where that one goes by hand from node to node, this one lets the
//! parser's own visitor report every name of a table, and asks of each: guarded, a CTE, shared, or the target of a
//! write that keeps to the tenant? What it cannot answer it refuses.

use std::collections::BTreeSet;
use std::ops::ControlFlow::{self, Break, Continue};

use sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, Cte, Delete, Expr, FromTable, Ident, Insert,
    JoinConstraint, JoinOperator, Merge, MergeAction, MergeClauseKind, MergeInsertKind, ObjectName,
    OnConflictAction, OnInsert, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TableObject,
    TableWithJoins, TypedString, Update, Visit, Visitor,
};
use sqlparser::tokenizer::Location;

use super::conflict::Target;
use super::from::{alias_of, is_dual};
use super::names::Names;
use super::text::RESERVED;
use super::{allowed, calls, fold};
use crate::functions::is_pure;
use crate::schema::Access;
use crate::{Dialect, Schema};

pub(super) fn prove(
    dialect: Dialect,
    schema: &Schema,
    statement: &Statement,
    targets: &[Target],
    tenant: &Expr,
) -> Result<(), String> {
    let top = match statement {
        Statement::Query(query) => match &*query.body {
            SetExpr::Select(select) => Some(select.select_token.0.span.start),
            _ => None,
        },
        _ => None,
    };
    let mut prover = Prover { dialect, schema, tenant, top, open: Vec::new(), proven: BTreeSet::new() };
    let mut visited = statement.visit(&mut prover);
    for expr in targets.iter().flat_map(|target| target.elements.iter().chain(&target.predicate)) {
        if visited.is_continue() {
            visited = expr.visit(&mut prover);
        }
    }
    let names = Names::of(dialect, schema, statement);
    match visited {
        Continue(()) if calls::first(&names, statement, targets).is_some() => {
            Err("a name behind a dot can call any function".to_owned())
        }
        Continue(()) => Ok(()),
        Break(why) => Err(why),
    }
}

struct Prover<'a> {
    dialect: Dialect,
    schema: &'a Schema,
    tenant: &'a Expr,
    /// The SELECT of the whole statement, if it is one.
    top: Option<Location>,
    /// The CTEs of the queries around, outermost first.
    open: Vec<Vec<Named>>,
    /// Where the names stand that are proven.
    proven: BTreeSet<Location>,
}

/// Where the tenant stands in a list of columns and in each row for it.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

impl End {
    fn of<T>(self, list: &[T]) -> Option<&T> {
        match self {
            Self::First => list.first(),
            Self::Last => list.last(),
        }
    }
}

struct Named {
    name: String,
    /// Where the name is; a recursive CTE is in sight from here on.
    start: Location,
    /// The parenthesis after the body; any CTE is in sight from here on.
    end: Location,
    recursive: bool,
}

impl Visitor for Prover<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let named = |cte: &Cte, recursive| Named {
            name: fold(self.dialect, &cte.alias.name),
            start: cte.alias.name.span.start,
            end: cte.closing_paren_token.0.span.start,
            recursive,
        };
        let with = query.with.iter();
        let ctes =
            with.flat_map(|with| with.cte_tables.iter().map(|cte| named(cte, with.recursive))).collect();
        self.open.push(ctes);
        without_table(&query.body)
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<String> {
        self.open.pop();
        Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        let top = self.top.is_some_and(|top| top == select.select_token.0.span.start);
        let factors: Vec<_> = select
            .from
            .iter()
            .flat_map(|item| {
                std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
            })
            .collect();
        for factor in &factors {
            let TableFactor::Table { name, args: None, .. } = factor else { continue };
            let Some(alias) = alias_of(factor) else { continue };
            // Within a subquery SQLite and MySQL look further out for a column that the table does not have, so
            // there only an alias that nobody else can have proves anything.
            let own = alias.value.to_ascii_lowercase().starts_with(RESERVED);
            if !(self.dialect == Dialect::Postgres || top || own) {
                continue;
            }
            let same = |other: &&&TableFactor| {
                alias_of(other).is_some_and(|other| other.value.eq_ignore_ascii_case(&alias.value))
            };
            let Some(column) = self.access(name).tenant else { continue };
            if factors.iter().filter(same).count() == 1
                && (self.holds(select.selection.as_ref(), &alias, column)
                    || self.joined(&select.from, name, &alias, column))
            {
                self.proven.extend(place(name));
            }
        }
        Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor
            && self.may_call(name)
        {
            self.proven.extend(place(name));
        }
        Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        let known = match expr {
            Expr::Function(function) => self.may_call(&function.name),
            Expr::Identifier(ident) if allowed::is_call(self.dialect, ident) => {
                self.may_call(&ObjectName::from(vec![ident.clone()]))
            }
            Expr::RLike { .. } => self.dialect == Dialect::MySql,
            Expr::BinaryOp { op, .. }
            | Expr::AnyOp { compare_op: op, .. }
            | Expr::AllOp { compare_op: op, .. } => allowed::operator(self.dialect, op),
            Expr::UnaryOp { op, .. } => allowed::unary(*op),
            Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. }) => {
                allowed::data_type(self.dialect, data_type)
            }
            Expr::Convert { data_type, .. } => {
                data_type.as_ref().is_none_or(|data_type| allowed::data_type(self.dialect, data_type))
            }
            _ => true,
        };
        if known { Continue(()) } else { Break(format!("`{expr}` can call any function")) }
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<String> {
        let Some(at) = place(name) else { return Break("a table without a name".to_owned()) };
        let dual =
            matches!(&name.0[..], [only] if only.as_ident().is_some_and(|name| is_dual(self.dialect, name)));
        let known =
            dual || self.proven.contains(&at) || self.is_cte(name, at) || self.access(name).tenant.is_none();
        if known { Continue(()) } else { Break(format!("the table `{name}` stands unguarded")) }
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<String> {
        let kept = match statement {
            Statement::Query(_) => true,
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            _ => false,
        };
        if kept { Continue(()) } else { Break("a write does not keep to the tenant".to_owned()) }
    }
}

impl Prover<'_> {
    fn may_call(&self, name: &ObjectName) -> bool {
        let mut function = self.name(name);
        if self.dialect == Dialect::MySql {
            // It folds the names of functions, and not those of tables.
            function.make_ascii_lowercase();
        }
        is_pure(self.dialect, &function) || self.schema.allows_function(&function)
    }

    fn name(&self, name: &ObjectName) -> String {
        let parts = name
            .0
            .iter()
            .map(|part| part.as_ident().map_or_else(|| part.to_string(), |ident| fold(self.dialect, ident)));
        parts.collect::<Vec<_>>().join(".")
    }

    fn access(&self, name: &ObjectName) -> Access<'_> {
        self.schema.access(self.dialect, &self.name(name))
    }

    fn is_cte(&self, name: &ObjectName, at: Location) -> bool {
        let folded = self.name(name);
        name.0.len() == 1
            && self
                .open
                .iter()
                .flatten()
                .any(|cte| cte.name == folded && (at > cte.end || (cte.recursive && at > cte.start)))
    }

    /// Whether `alias.column = tenant` is one of the conditions that all must hold.
    fn holds(&self, condition: Option<&Expr>, alias: &Ident, column: &str) -> bool {
        match condition {
            Some(Expr::BinaryOp { left, op: BinaryOperator::And, right }) => {
                self.holds(Some(left), alias, column) || self.holds(Some(right), alias, column)
            }
            Some(Expr::BinaryOp { left, op: BinaryOperator::Eq, right }) => {
                let Expr::CompoundIdentifier(idents) = &**left else { return false };
                let [of, own] = &idents[..] else { return false };
                fold(self.dialect, of) == fold(self.dialect, alias)
                    && own.value == column
                    && self.is_tenant(right)
            }
            _ => false,
        }
    }

    /// Whether the table stands on a side of a join whose rows must fulfil the join's ON, and the ON holds the tenant.
    fn joined(&self, from: &[TableWithJoins], name: &ObjectName, alias: &Ident, column: &str) -> bool {
        use JoinOperator as J;
        let here = |factor: &TableFactor| matches!(factor, TableFactor::Table { name: other, .. } if place(other) == place(name));
        self.dialect == Dialect::Postgres
            && from.iter().any(|item| {
                item.joins.iter().enumerate().any(|(n, join)| {
                    let (left, right, constraint) = match &join.join_operator {
                        J::Join(constraint) | J::Inner(constraint) => (true, true, constraint),
                        J::Left(constraint) | J::LeftOuter(constraint) => (false, true, constraint),
                        J::Right(constraint) | J::RightOuter(constraint) => (true, false, constraint),
                        _ => return false,
                    };
                    let JoinConstraint::On(on) = constraint else { return false };
                    ((right && here(&join.relation)) || (left && n == 0 && here(&item.relation)))
                        && self.holds(Some(on), alias, column)
                })
            })
    }

    fn is_tenant(&self, expr: &Expr) -> bool {
        expr == self.tenant
    }

    /// The target of a write and whether it is kept by `condition`; marks it as proven.
    fn target(&mut self, factor: &TableFactor, condition: Option<&Expr>, sets: &[Assignment]) -> bool {
        let TableFactor::Table { name, args: None, .. } = factor else { return false };
        let Some(alias) = alias_of(factor) else { return false };
        self.written(name, |this, column| this.holds(condition, &alias, column) && this.leaves(sets, column))
    }

    fn written(&mut self, name: &ObjectName, kept: impl Fn(&Self, &str) -> bool) -> bool {
        let access = self.access(name);
        let kept = access.writable && access.tenant.is_none_or(|column| kept(self, column));
        if kept {
            self.proven.extend(place(name));
        }
        kept
    }

    fn update(&mut self, update: &Update) -> bool {
        let joined = !update.table.joins.is_empty();
        let plain =
            |set: &Assignment| matches!(&set.target, AssignmentTarget::ColumnName(name) if name.0.len() == 2);
        (!joined || update.assignments.iter().all(plain))
            && self.target(&update.table.relation, update.selection.as_ref(), &update.assignments)
    }

    fn delete(&mut self, delete: &Delete) -> bool {
        let FromTable::WithFromKeyword(items) = &delete.from else { return false };
        let [item] = &items[..] else { return false };
        delete.tables.is_empty()
            && item.joins.is_empty()
            && self.target(&item.relation, delete.selection.as_ref(), &[])
    }

    fn insert(&mut self, insert: &Insert) -> bool {
        let TableObject::TableName(name) = &insert.table else { return false };
        let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return false };
        let alias = insert.table_alias.as_ref().map_or(last, |alias| &alias.alias);
        let replaces = insert.replace_into || insert.or == Some(sqlparser::ast::SqliteOnConflict::Replace);
        !replaces
            && self.written(name, |this, column| {
                let stamped =
                    |end| insert.source.as_ref().is_some_and(|source| this.stamped(&source.body, end));
                let others = match &insert.columns[..] {
                    [first, others @ ..] if is_column(Some(first), column) && stamped(End::First) => others,
                    [others @ .., last] if is_column(Some(last), column) && stamped(End::Last) => others,
                    _ => return false,
                };
                others.iter().all(|name| this.may_set(name, column) && !this.commands(name, last))
                    && match &insert.on {
                        None => true,
                        Some(OnInsert::OnConflict(on)) => match &on.action {
                            OnConflictAction::DoNothing => true,
                            OnConflictAction::DoUpdate(set) => {
                                this.holds(set.selection.as_ref(), alias, column)
                                    && this.leaves(&set.assignments, column)
                            }
                        },
                        Some(OnInsert::DuplicateKeyUpdate(sets)) => {
                            this.leaves(sets, column) && sets.iter().all(|set| this.keeps(set, alias, column))
                        }
                        _ => false,
                    }
            })
    }

    /// Whether no assignment can move a row to another tenant.
    fn leaves(&self, sets: &[Assignment], column: &str) -> bool {
        sets.iter().all(|set| match &set.target {
            AssignmentTarget::ColumnName(name) => self.may_set(name, column),
            AssignmentTarget::Tuple(names) => names.iter().all(|name| self.may_set(name, column)),
        })
    }

    /// On SQLite a tenant column that is an INTEGER PRIMARY KEY has three names more.
    fn may_set(&self, name: &ObjectName, column: &str) -> bool {
        let more: &[&str] = if self.dialect == Dialect::Sqlite { &["rowid", "oid", "_rowid_"] } else { &[] };
        !more.iter().copied().chain([column]).any(|column| is_column(Some(name), column))
    }

    /// Whether an insert into this column is a command to a full-text table of SQLite.
    fn commands(&self, name: &ObjectName, table: &Ident) -> bool {
        self.dialect == Dialect::Sqlite && is_column(Some(name), &table.value)
    }

    /// Whether the tenant stands at this end of every row.
    fn stamped(&self, source: &SetExpr, end: End) -> bool {
        match source {
            SetExpr::Values(values) => {
                values.rows.iter().all(|row| end.of(&row.content).is_some_and(|expr| self.is_tenant(expr)))
            }
            SetExpr::Select(select) => {
                matches!(end.of(&select.projection), Some(SelectItem::UnnamedExpr(expr)) if self.is_tenant(expr))
            }
            SetExpr::Query(query) => self.stamped(&query.body, end),
            _ => false,
        }
    }

    /// `c = CASE WHEN alias.tenant_id = ? THEN .. ELSE alias.c END`
    fn keeps(&self, set: &Assignment, alias: &Ident, column: &str) -> bool {
        let AssignmentTarget::ColumnName(name) = &set.target else { return false };
        let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return false };
        let Expr::Case { operand: None, conditions, else_result: Some(otherwise), .. } = &set.value else {
            return false;
        };
        let Expr::CompoundIdentifier(idents) = &**otherwise else { return false };
        matches!(&conditions[..], [only] if self.holds(Some(&only.condition), alias, column))
            && matches!(&idents[..], [of, own] if of == alias && own == last)
    }

    fn merge(&mut self, merge: &Merge) -> bool {
        let TableFactor::Table { name, args: None, .. } = &merge.table else { return false };
        let Some(alias) = alias_of(&merge.table) else { return false };
        self.written(name, |this, column| {
            this.holds(Some(&*merge.on), &alias, column)
                && merge.clauses.iter().all(|clause| {
                    clause.clause_kind != MergeClauseKind::NotMatchedBySource
                        && match &clause.action {
                            MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => true,
                            MergeAction::Update(update) => match &update.kind {
                                sqlparser::ast::MergeUpdateKind::Set(sets) => this.leaves(sets, column),
                                sqlparser::ast::MergeUpdateKind::Wildcard => false,
                            },
                            MergeAction::Insert(insert) => match &insert.kind {
                                MergeInsertKind::Values(values) => {
                                    is_column(insert.columns.first(), column)
                                        && values.rows.iter().all(|row| {
                                            row.content.first().is_some_and(|first| this.is_tenant(first))
                                        })
                                }
                                _ => false,
                            },
                        }
                })
        })
    }
}

/// `TABLE t` is no name to the visitor.
fn without_table(body: &SetExpr) -> ControlFlow<String> {
    match body {
        SetExpr::Table(_) => Break("TABLE reads a whole table".to_owned()),
        SetExpr::SetOperation { left, right, .. } => {
            without_table(left)?;
            without_table(right)
        }
        _ => Continue(()),
    }
}

fn is_column(name: Option<&ObjectName>, column: &str) -> bool {
    let last = name.and_then(|name| name.0.last()).and_then(|part| part.as_ident());
    last.is_some_and(|ident| ident.value.eq_ignore_ascii_case(column))
}

fn place(name: &ObjectName) -> Option<Location> {
    name.0.first().and_then(|part| part.as_ident()).map(|ident| ident.span.start)
}
