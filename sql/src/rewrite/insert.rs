//! INSERT: a new row gets its tenant, and an upsert changes rows of the tenant only.

use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    Assignment, AssignmentTarget, CaseWhen, ConflictTarget, Distinct, DoUpdate, Expr, GroupByExpr, Ident,
    Insert, ObjectName, ObjectNamePart, OnConflict, OnConflictAction, OnInsert, Parens, Query, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAliasWithoutColumns, TableFactor, TableObject,
    TableWithJoins, Value, Visit, Visitor, WildcardAdditionalOptions,
};

use super::guard::{plain_alias, plain_ident, query};
use super::query::At;
use super::text::RESERVED;
use super::write::{Target, factors};
use super::{Pass, SqlResult, conflict};
use crate::Dialect;
use crate::rejection::Code;
use crate::schema::key_elements;

impl Pass<'_> {
    pub(super) fn insert(&mut self, insert: &mut Insert) -> SqlResult {
        let Insert {
            insert_token,
            optimizer_hints,
            or,
            ignore: _,
            into: _,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority: _,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        self.see(insert_token.0.span);
        if *replace_into {
            return self.replace();
        }
        self.no_replace(*or)?;
        let rare = !optimizer_hints.is_empty()
            || *overwrite
            || partitioned.is_some()
            || !after_columns.is_empty()
            || *has_table_keyword
            || output.is_some()
            || insert_alias.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || multi_table_insert_type.is_some()
            || !multi_table_into_clauses.is_empty()
            || !multi_table_when_clauses.is_empty()
            || multi_table_else_clause.is_some();
        self.allow(!rare, "a clause of this INSERT")?;
        let TableObject::TableName(name) = table else { return self.unknown("INSERT into a function") };
        let alias = match &*table_alias {
            None => None,
            Some(TableAliasWithoutColumns { explicit: _, alias }) => {
                self.allow(alias.quote_style != Some('\''), "a name in quotes for text")?;
                Some(alias)
            }
        };
        let target = self.target(name, alias)?;
        let written = self.parts(name)?;
        if !assignments.is_empty() {
            return self.no_columns("INSERT .. SET");
        }
        let Some(source) = source else { return self.no_columns("DEFAULT VALUES") };
        // MySQL lets ON DUPLICATE KEY UPDATE name the tables of the source as well.
        let mut body = &*source.body;
        while let SetExpr::Query(query) = body {
            body = &query.body;
        }
        if let (Some(OnInsert::DuplicateKeyUpdate(_)), SetExpr::Select(select)) = (&*on, body) {
            for item in &select.from {
                self.apart(&target, factors(item))?;
            }
        }
        match &target.column {
            Some(column) => {
                if columns.is_empty() {
                    return self.no_columns("without a list of columns");
                }
                for name in &*columns {
                    self.settable(name, Some(column))?;
                    self.no_command(name, &written)?;
                }
                let last = self.stamp_source(source)?;
                if self.guarding() {
                    let at = if last { columns.len() } else { 0 };
                    columns
                        .insert(at, ObjectName(vec![ObjectNamePart::Identifier(self.column_ident(column))]));
                }
            }
            None => self.query(source, At::Within)?,
        }
        if let Some(on) = on {
            // The row that is in the way is returned, whosever it is.
            let returns = matches!(on, OnInsert::DuplicateKeyUpdate(_)) && returning.is_some();
            self.allow(!returns, "RETURNING behind ON DUPLICATE KEY UPDATE")?;
            self.on_insert(on, &target)?;
        }
        if let Some(items) = returning {
            self.items(items)?;
        }
        Ok(())
    }

    pub(super) fn no_columns(&self, what: &str) -> SqlResult {
        let why = format!("an INSERT {what} leaves no place for the tenant");
        self.refuse(Code::ColumnList, why, "write INSERT INTO t (a, b) VALUES (..)")
    }

    /// Puts the tenant into every row of a source, and says whether it is the last column there or the first.
    ///
    /// Where a position in ORDER BY or GROUP BY could count the items it comes last: a query around the source would
    /// give `'{}'`, NULL and parameters the type `text` before PostgreSQL sees the column that they are for.
    fn stamp_source(&mut self, source: &mut Query) -> SqlResult<bool> {
        let plain_clauses = source.with.is_none()
            && source.order_by.is_none()
            && source.limit_clause.is_none()
            && source.fetch.is_none()
            && source.locks.is_empty();
        self.query(source, At::Within)?;
        // The column and its value are one guard: leaving out one alone cannot run.
        if self.without == Some(self.guards) {
            return Ok(false);
        }
        let tenant = self.tenant();
        if plain_clauses {
            match &mut *source.body {
                SetExpr::Values(values) => {
                    for Parens { opening_token: _, content, closing_token: _ } in &mut values.rows {
                        content.insert(0, tenant.clone());
                    }
                    return Ok(false);
                }
                SetExpr::Select(select) if select.distinct.is_none() && ungrouped(&select.group_by) => {
                    select.projection.insert(0, SelectItem::UnnamedExpr(tenant));
                    return Ok(false);
                }
                _ => {}
            }
        }
        if append(&mut source.body, &tenant) {
            return Ok(true);
        }
        let name = plain_ident(&format!("{RESERVED}_q"));
        let all = SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![name.clone()])),
            WildcardAdditionalOptions::default(),
        );
        let items = vec![SelectItem::UnnamedExpr(tenant), all];
        // SQLite would take the ON of ON CONFLICT for a join's if there were no WHERE.
        let yes = Expr::Value(Value::Boolean(true).into());
        let inner = std::mem::replace(source, query(Vec::new(), Vec::new(), None));
        let relation = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(inner),
            alias: Some(plain_alias(name)),
            sample: None,
        };
        *source = query(items, vec![TableWithJoins { relation, joins: Vec::new() }], Some(yes));
        Ok(false)
    }

    fn on_insert(&mut self, on: &mut OnInsert, target: &Target) -> SqlResult {
        match on {
            OnInsert::OnConflict(OnConflict { conflict_target, action }) => {
                match conflict_target {
                    None => {}
                    // A constraint is one key, whatever its columns.
                    Some(ConflictTarget::OnConstraint(name)) => self.parts(name).map(drop)?,
                    Some(ConflictTarget::Columns(columns)) => self.conflict_target(columns, target)?,
                }
                match action {
                    OnConflictAction::DoNothing => Ok(()),
                    OnConflictAction::DoUpdate(DoUpdate { assignments, selection }) => {
                        self.assignments(assignments, target, false)?;
                        self.maybe(selection.as_mut())?;
                        if let Some(column) = &target.column {
                            self.inject(selection, [(target.alias.clone(), column.clone())]);
                        }
                        Ok(())
                    }
                }
            }
            OnInsert::DuplicateKeyUpdate(assignments) => {
                self.assignments(assignments, target, false)?;
                let Some(column) = &target.column else { return Ok(()) };
                if self.guarding() {
                    for assignment in assignments {
                        self.keep_unless_own(assignment, target, column)?;
                    }
                }
                Ok(())
            }
            _ => self.unknown("this clause of INSERT"),
        }
    }

    /// Keys are led by the tenant, so a target without the tenant column gets it, unless a key for all tenants
    /// together is declared (or listed by the snapshot) that is just what was written.
    fn conflict_target(&mut self, columns: &mut Vec<Ident>, target: &Target) -> SqlResult {
        let number = conflict::number(columns);
        let mut elements = match number {
            None => columns.iter().cloned().map(Expr::Identifier).collect(),
            Some(n) => std::mem::take(&mut self.targets[n].elements),
        };
        let predicate = number.and_then(|n| self.targets[n].predicate.as_ref());
        let queries = elements.iter().chain(predicate).any(|expr| expr.visit(&mut Queries).is_break());
        self.allow(!queries, "a query in a conflict target")?;
        self.exprs(&mut elements)?;
        if let Some(column) = &target.column {
            let key = elements.iter().map(Expr::to_string).collect::<Vec<_>>().join(",");
            let is_tenant = |element: &Expr| matches!(element, Expr::Identifier(name) if name.value.eq_ignore_ascii_case(column));
            let stays = elements.iter().any(is_tenant)
                || self.schema.is_global_key(self.dialect, &target.table, &key_elements(&key));
            if !stays {
                let tenant = self.column_ident(column);
                elements.insert(0, Expr::Identifier(tenant.clone()));
                if number.is_none() {
                    columns.insert(0, tenant);
                }
            }
        }
        if let Some(n) = number {
            let mut predicate = self.targets[n].predicate.take();
            self.maybe(predicate.as_mut())?;
            self.targets[n].elements = elements;
            self.targets[n].predicate = predicate;
        }
        Ok(())
    }

    /// `c = v` becomes `c = CASE WHEN t.tenant_id = ? THEN v ELSE t.c END`: there is no WHERE to put a guard in.
    fn keep_unless_own(&mut self, assignment: &mut Assignment, target: &Target, column: &str) -> SqlResult {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return self.unknown("this assignment");
        };
        let parts = self.parts(name)?;
        let Some(last) = parts.last() else { return self.unknown("this assignment") };
        let value = std::mem::replace(&mut assignment.value, Expr::Value(Value::Null.into()));
        assignment.value = Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition: self.owned(target.alias.clone(), column), result: value }],
            else_result: Some(Box::new(Expr::CompoundIdentifier(vec![target.alias.clone(), last.clone()]))),
        };
        Ok(())
    }

    /// To a full-text table of SQLite, an insert into the column of its own name is a command: `delete-all`.
    fn no_command(&mut self, column: &ObjectName, table: &[Ident]) -> SqlResult {
        let parts = self.parts(column)?;
        let same = match (parts.last(), table.last()) {
            (Some(column), Some(table)) => column.value.eq_ignore_ascii_case(&table.value),
            _ => false,
        };
        if same && self.dialect == Dialect::Sqlite {
            return self.refuse(
                Code::Name,
                "a column named like its table is where a full-text table takes commands about all rows",
                "leave it out; if it is a column of your own, rename it",
            );
        }
        Ok(())
    }
}

/// Breaks at a query.
struct Queries;

impl Visitor for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

/// Puts the tenant last into every row, if that leaves the rows as they are: DISTINCT and set operations compare
/// whole rows, and give literals a type by that.
fn append(body: &mut SetExpr, tenant: &Expr) -> bool {
    match body {
        SetExpr::Query(query) => append(&mut query.body, tenant),
        SetExpr::Values(values) => {
            for Parens { opening_token: _, content, closing_token: _ } in &mut values.rows {
                content.push(tenant.clone());
            }
            true
        }
        SetExpr::Select(select) if !matches!(select.distinct, Some(Distinct::Distinct)) => {
            select.projection.push(SelectItem::UnnamedExpr(tenant.clone()));
            true
        }
        _ => false,
    }
}

fn ungrouped(group_by: &GroupByExpr) -> bool {
    matches!(group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty())
}
