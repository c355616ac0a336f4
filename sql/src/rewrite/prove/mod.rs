//! The second pass: proves that every tenant table of a printed statement has a guard.
//!
//! It shares no code for the walk with the first pass, which visits node by node. This pass uses the parser's
//! visitor, which reports every table name. Each must be guarded, a CTE, shared, or the target of a write that is
//! limited to the tenant. Anything else is rejected.

mod writes;

use std::collections::BTreeSet;
use std::ops::ControlFlow::{self, Break, Continue};

use sqlparser::ast::{
    BinaryOperator, Cte, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, SetExpr,
    Statement, TableFactor, TableWithJoins, TypedString,
};
use sqlparser::tokenizer::Location;

use super::conflict::ConflictKey;
use super::identifiers::{RESERVED, alias_of, fold, is_dual};
use super::names::Names;
use super::walk::{TreeVisitor, walk};
use super::{allowed, functional_notation};
use crate::dialect::Dialect;
use crate::functions::is_pure;
use crate::schema::{Access, Schema};

pub(super) fn prove(
    dialect: Dialect,
    schema: &Schema,
    statement: &Statement,
    targets: &[ConflictKey],
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
    let mut visited = walk(statement, &mut prover);
    for expr in targets.iter().flat_map(|target| target.elements.iter().chain(&target.predicate)) {
        if visited.is_continue() {
            visited = walk(expr, &mut prover);
        }
    }
    let names = Names::of(dialect, schema, statement);
    match visited {
        Continue(()) if !functional_notation::calls(&names, statement, targets).is_empty() => {
            Err("a name after a dot can call any function".to_owned())
        }
        Continue(()) => Ok(()),
        Break(why) => Err(why),
    }
}

struct Prover<'a> {
    dialect: Dialect,
    schema: &'a Schema,
    tenant: &'a Expr,
    /// The position of the outermost SELECT.
    top: Option<Location>,
    /// The CTEs of the enclosing queries, outermost first.
    open: Vec<Vec<CteScope>>,
    /// The positions of the proven table names.
    proven: BTreeSet<Location>,
}

struct CteScope {
    name: String,
    /// The position of the name; a recursive CTE is in scope from here on.
    start: Location,
    /// The parenthesis after the body; every CTE is in scope from here on.
    end: Location,
    recursive: bool,
}

impl TreeVisitor for Prover<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let named = |cte: &Cte, recursive| CteScope {
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
            // In a subquery, SQLite and MySQL search enclosing queries for a column that the table does not have.
            // There only a reserved alias is a proof.
            let own = alias.value.to_ascii_lowercase().starts_with(RESERVED);
            if !(self.dialect == Dialect::Postgres || top || own) {
                continue;
            }
            let same = |other: &&&TableFactor| {
                alias_of(other).is_some_and(|other| other.value.eq_ignore_ascii_case(&alias.value))
            };
            let Some(column) = self.access(name).tenant else { continue };
            if factors.iter().filter(same).count() == 1
                && (self.requires_tenant(select.selection.as_ref(), &alias, column)
                    || self.join_requires_tenant(&select.from, name, &alias, column))
            {
                self.proven.extend(name_start(name));
            }
        }
        Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor
            && self.may_call(name)
        {
            self.proven.extend(name_start(name));
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
            | Expr::AllOp { compare_op: op, .. } => allowed::operator(self.dialect, self.schema, op),
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
        let Some(at) = name_start(name) else { return Break("a table without a name".to_owned()) };
        let dual =
            matches!(&name.0[..], [only] if only.as_ident().is_some_and(|name| is_dual(self.dialect, name)));
        let known =
            dual || self.proven.contains(&at) || self.is_cte(name, at) || self.access(name).tenant.is_none();
        if known { Continue(()) } else { Break(format!("the table `{name}` has no guard")) }
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
        if kept { Continue(()) } else { Break("a write is not limited to the tenant".to_owned()) }
    }
}

impl Prover<'_> {
    fn may_call(&self, name: &ObjectName) -> bool {
        let mut function = self.name(name);
        if self.dialect == Dialect::MySql {
            // MySQL folds the names of functions, but not those of tables.
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

    /// Whether the condition requires `alias.column = tenant`: it is one of the terms joined by AND.
    fn requires_tenant(&self, condition: Option<&Expr>, alias: &Ident, column: &str) -> bool {
        match condition {
            Some(Expr::BinaryOp { left, op: BinaryOperator::And, right }) => {
                self.requires_tenant(Some(left), alias, column)
                    || self.requires_tenant(Some(right), alias, column)
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

    /// Whether the ON of a join requires the tenant, and the table is on a side whose rows must match the ON.
    fn join_requires_tenant(
        &self,
        from: &[TableWithJoins],
        name: &ObjectName,
        alias: &Ident,
        column: &str,
    ) -> bool {
        use JoinOperator as J;
        let here = |factor: &TableFactor| matches!(factor, TableFactor::Table { name: other, .. } if name_start(other) == name_start(name));
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
                        && self.requires_tenant(Some(on), alias, column)
                })
            })
    }

    fn is_tenant(&self, expr: &Expr) -> bool {
        expr == self.tenant
    }
}

/// Rejects `TABLE t`, whose name the visitor does not report.
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

fn name_start(name: &ObjectName) -> Option<Location> {
    name.0.first().and_then(|part| part.as_ident()).map(|ident| ident.span.start)
}
