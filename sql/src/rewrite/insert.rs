//! INSERT: every new row gets the tenant, and an upsert changes rows of the tenant only.

use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    Assignment, AssignmentTarget, CaseWhen, ConflictTarget, Distinct, DoUpdate, Expr, GroupByExpr, Ident,
    Insert, ObjectName, ObjectNamePart, OnConflict, OnConflictAction, OnInsert, Parens, Query, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAliasWithoutColumns, TableFactor, TableObject,
    TableWithJoins, Value, Values, WildcardAdditionalOptions,
};

use super::conflict;
use super::guard::query;
use super::identifiers::{RESERVED, factors, plain_alias, plain_ident};
use super::pass::{Pass, SqlResult};
use super::query::At;
use super::walk::{TreeVisitor, walk};
use super::write::WriteTarget;
use crate::dialect::Dialect;
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
        self.point_at(insert_token.0.span);
        if *replace_into {
            return self.replace();
        }
        let kept = self.no_replace(*or);
        self.collect(kept);
        self.no_hints(optimizer_hints);
        let rare = *overwrite
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
        self.allow(!rare, "a clause of this INSERT");
        let TableObject::TableName(name) = table else {
            return self.reject_unknown("INSERT into a function");
        };
        let alias = match &*table_alias {
            None => None,
            Some(TableAliasWithoutColumns { explicit: _, alias }) => {
                self.allow(alias.quote_style != Some('\''), "a name in quotes for text");
                Some(alias)
            }
        };
        let target = self.target(name, alias);
        let target = self.target_or_problem(target);
        let written = self.parts(name)?;
        if !assignments.is_empty() {
            return self.no_columns("INSERT .. SET");
        }
        match source {
            Some(source) => self.insert_rows(columns, source, on.as_ref(), &target, &written)?,
            None => self.default_values(columns, source, &target)?,
        }
        if let Some(on) = on {
            // This returns the conflicting row, also one of another tenant.
            let returns = matches!(on, OnInsert::DuplicateKeyUpdate(_)) && returning.is_some();
            self.allow(!returns, "RETURNING behind ON DUPLICATE KEY UPDATE");
            let checked = self.on_insert(on, &target);
            self.collect(checked);
        }
        if let Some(items) = returning {
            self.returned(items, &target.alias)?;
        }
        Ok(())
    }

    /// Adds the tenant to the columns of an INSERT, and to each row of its source.
    fn insert_rows(
        &mut self,
        columns: &mut Vec<ObjectName>,
        source: &mut Query,
        on: Option<&OnInsert>,
        target: &WriteTarget,
        table: &[Ident],
    ) -> SqlResult {
        // In MySQL, ON DUPLICATE KEY UPDATE may also name the tables of the source.
        let mut body = &*source.body;
        while let SetExpr::Query(query) = body {
            body = &query.body;
        }
        if let (Some(OnInsert::DuplicateKeyUpdate(_)), SetExpr::Select(select)) = (on, body) {
            for item in &select.from {
                let distinct = self.distinct_from(target, factors(item));
                self.collect(distinct);
            }
        }
        let Some(column) = &target.column else { return self.query(source, At::Within) };
        if columns.is_empty() {
            let listed = self.no_columns("without a list of columns");
            self.collect(listed);
        }
        for name in &*columns {
            let settable =
                self.check_settable(name, Some(column)).and_then(|()| self.no_command(name, table));
            self.collect(settable);
        }
        let last = self.stamp_source(source)?;
        if self.takes_guard() {
            let at = if last { columns.len() } else { 0 };
            columns.insert(at, ObjectName(vec![ObjectNamePart::Identifier(self.column_ident(column))]));
        }
        Ok(())
    }

    /// `INSERT INTO t DEFAULT VALUES` becomes `INSERT INTO t (tenant_id) VALUES ($1)`, which leaves every other column
    /// to its default too.
    fn default_values(
        &mut self,
        columns: &mut Vec<ObjectName>,
        source: &mut Option<Box<Query>>,
        target: &WriteTarget,
    ) -> SqlResult {
        if !columns.is_empty() || self.dialect == Dialect::MySql {
            return self.no_columns("DEFAULT VALUES");
        }
        if let Some(column) = &target.column
            && self.takes_guard()
        {
            columns.push(ObjectName(vec![ObjectNamePart::Identifier(self.column_ident(column))]));
            let row = Parens {
                opening_token: AttachedToken::empty(),
                content: vec![self.tenant()],
                closing_token: AttachedToken::empty(),
            };
            let values = Values { explicit_row: false, value_keyword: false, rows: vec![row] };
            let mut rows = query(Vec::new(), Vec::new(), None);
            *rows.body = SetExpr::Values(values);
            *source = Some(Box::new(rows));
            self.dropped.push("DEFAULT".to_owned());
        }
        Ok(())
    }

    pub(super) fn no_columns(&self, what: &str) -> SqlResult {
        let why = format!("an INSERT {what} leaves no place for the tenant");
        self.reject(Code::ColumnList, why, "write INSERT INTO t (a, b) VALUES (..)")
    }

    /// Adds the tenant to every row of a source, and returns whether it is the last column (true) or the first.
    ///
    /// The tenant is last where positions in ORDER BY or GROUP BY could count the items. An enclosing query would not
    /// do: in it `'{}'`, NULL and parameters get the type `text` before PostgreSQL sees the column that they are for.
    fn stamp_source(&mut self, source: &mut Query) -> SqlResult<bool> {
        let plain_clauses = source.with.is_none()
            && source.order_by.is_none()
            && source.limit_clause.is_none()
            && source.fetch.is_none()
            && source.locks.is_empty();
        self.query(source, At::Within)?;
        // The column and its value are one guard: a statement with only one of them cannot run.
        if self.skipped_guard == Some(self.guards) {
            return Ok(false);
        }
        if plain_clauses {
            match &mut *source.body {
                SetExpr::Values(values) => {
                    for Parens { opening_token: _, content, closing_token: _ } in &mut values.rows {
                        content.insert(0, self.tenant());
                    }
                    return Ok(false);
                }
                SetExpr::Select(select) if select.distinct.is_none() && ungrouped(&select.group_by) => {
                    select.projection.insert(0, SelectItem::UnnamedExpr(self.tenant()));
                    return Ok(false);
                }
                _ => {}
            }
        }
        if self.append_tenant(&mut source.body) {
            return Ok(true);
        }
        let name = plain_ident(&format!("{RESERVED}_q"));
        let all = SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![name.clone()])),
            WildcardAdditionalOptions::default(),
        );
        let items = vec![SelectItem::UnnamedExpr(self.tenant()), all];
        // Without a WHERE, SQLite reads the ON of ON CONFLICT as that of a join.
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

    /// Appends the tenant to every row, and returns false where that would change the result: DISTINCT and set
    /// operations compare whole rows, and type literals by them.
    fn append_tenant(&self, body: &mut SetExpr) -> bool {
        match body {
            SetExpr::Query(query) => self.append_tenant(&mut query.body),
            SetExpr::Values(values) => {
                for Parens { opening_token: _, content, closing_token: _ } in &mut values.rows {
                    content.push(self.tenant());
                }
                true
            }
            SetExpr::Select(select) if !matches!(select.distinct, Some(Distinct::Distinct)) => {
                select.projection.push(SelectItem::UnnamedExpr(self.tenant()));
                true
            }
            _ => false,
        }
    }

    fn on_insert(&mut self, on: &mut OnInsert, target: &WriteTarget) -> SqlResult {
        match on {
            OnInsert::OnConflict(OnConflict { conflict_target, action }) => {
                match conflict_target {
                    None => {}
                    // A constraint is one key already.
                    Some(ConflictTarget::OnConstraint(name)) => self.parts(name).map(drop)?,
                    Some(ConflictTarget::Columns(columns)) => {
                        let checked = self.conflict_target(columns, target);
                        self.collect(checked);
                    }
                }
                match action {
                    OnConflictAction::DoNothing => Ok(()),
                    OnConflictAction::DoUpdate(DoUpdate { assignments, selection }) => {
                        self.assignments(assignments, target, false)?;
                        self.optional_expr(selection.as_mut())?;
                        if let Some(column) = &target.column {
                            self.add_guards(selection, [(target.alias.clone(), column.clone())]);
                        }
                        Ok(())
                    }
                }
            }
            OnInsert::DuplicateKeyUpdate(assignments) => {
                self.assignments(assignments, target, false)?;
                let Some(column) = &target.column else { return Ok(()) };
                if self.takes_guard() {
                    for assignment in assignments {
                        self.keep_foreign_rows(assignment, target, column)?;
                    }
                }
                Ok(())
            }
            _ => self.reject_unknown("this clause of INSERT"),
        }
    }

    /// Adds the tenant column to a conflict target, since unique keys begin with the tenant. A target that is a
    /// declared global key (or one of the snapshot) stays as written.
    fn conflict_target(&mut self, columns: &mut Vec<Ident>, target: &WriteTarget) -> SqlResult {
        // A statement with a reserved name is rejected already, and its number may not exist.
        let number = conflict::number(columns).filter(|n| *n < self.targets.len());
        let mut elements = match number {
            None => columns.iter().cloned().map(Expr::Identifier).collect(),
            Some(n) => std::mem::take(&mut self.targets[n].elements),
        };
        let predicate = number.and_then(|n| self.targets[n].predicate.as_ref());
        let queries = elements.iter().chain(predicate).any(|expr| walk(expr, &mut QueryFinder).is_break());
        self.allow(!queries, "a query in a conflict target");
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
            self.optional_expr(predicate.as_mut())?;
            self.targets[n].elements = elements;
            self.targets[n].predicate = predicate;
        }
        Ok(())
    }

    /// Replaces `c = v` by `c = CASE WHEN t.tenant_id = ? THEN v ELSE t.c END`: there is no WHERE for a guard.
    fn keep_foreign_rows(
        &mut self,
        assignment: &mut Assignment,
        target: &WriteTarget,
        column: &str,
    ) -> SqlResult {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return self.reject_unknown("this assignment");
        };
        let parts = self.parts(name)?;
        let Some(last) = parts.last() else { return self.reject_unknown("this assignment") };
        let value = std::mem::replace(&mut assignment.value, Expr::Value(Value::Null.into()));
        assignment.value = Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen {
                condition: self.tenant_predicate(target.alias.clone(), column),
                result: value,
            }],
            else_result: Some(Box::new(Expr::CompoundIdentifier(vec![target.alias.clone(), last.clone()]))),
        };
        Ok(())
    }

    /// Rejects a column with the table's name: in a full-text table of SQLite, an insert into it is a command such as
    /// `delete-all`.
    fn no_command(&mut self, column: &ObjectName, table: &[Ident]) -> SqlResult {
        let parts = self.parts(column)?;
        let same = match (parts.last(), table.last()) {
            (Some(column), Some(table)) => column.value.eq_ignore_ascii_case(&table.value),
            _ => false,
        };
        if same && self.dialect == Dialect::Sqlite {
            return self.reject(
                Code::Name,
                "a full-text table reads a column with the table's name as a command for all rows",
                "remove it; if it is a column of your own, rename it",
            );
        }
        Ok(())
    }
}

/// Breaks at a query.
struct QueryFinder;

impl TreeVisitor for QueryFinder {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

fn ungrouped(group_by: &GroupByExpr) -> bool {
    matches!(group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty())
}
