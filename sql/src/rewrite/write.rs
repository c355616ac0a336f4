//! UPDATE, DELETE and MERGE: a predicate limits the target to the tenant's rows. INSERT is in `insert.rs`.

use super::guard::guarded;
use super::identifiers::{alias_of, factors, referable};
use super::pass::{Pass, SqlResult};
use crate::dialect::Dialect;
use crate::rejection::Code;
use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Ident, Join, JoinOperator, Merge, MergeAction,
    MergeClause, MergeClauseKind, MergeInsertExpr, MergeInsertKind, MergeUpdateExpr, MergeUpdateKind,
    ObjectName, ObjectNamePart, Parens, SelectItem, SqliteOnConflict, TableFactor, TableWithJoins, Update,
    UpdateTableFromKind, Value,
};

/// The table that a statement writes to.
pub(super) struct WriteTarget {
    /// Its alias, or else its name.
    pub(super) alias: Ident,
    /// The tenant column; `None` for a shared table.
    pub(super) column: Option<String>,
    /// The table's name as the database resolves it.
    pub(super) table: String,
}

impl WriteTarget {
    /// The target of a write that is rejected because of its target. The rest of the write is checked too.
    fn rejected() -> Self {
        Self { alias: Ident::new(""), column: None, table: String::new() }
    }
}

impl Pass<'_> {
    /// The target of a write; of a rejected target, a stand-in for the check of the rest.
    pub(super) fn target_or_problem(&mut self, target: SqlResult<WriteTarget>) -> WriteTarget {
        target.unwrap_or_else(|problem| {
            self.problems.push(problem);
            WriteTarget::rejected()
        })
    }

    pub(super) fn target(&mut self, name: &ObjectName, alias: Option<&Ident>) -> SqlResult<WriteTarget> {
        self.writes = true;
        let parts = self.parts(name)?;
        if let [name] = &parts[..] {
            let folded = self.fold(name);
            self.not_a_cte(&folded)?;
        }
        let name = self.table_name(&parts)?;
        let access = self.access(&name)?;
        if !access.writable {
            return self.reject(
                Code::ReadOnlyTable,
                format!("`{name}` is declared as read only"),
                "write to it outside of a scope, or declare it under `shared_writable` in tenancy.toml",
            );
        }
        let column = access.tenant.map(str::to_owned);
        self.tables.insert(name.clone());
        match (alias, parts.last()) {
            (Some(alias), _) => Ok(WriteTarget { alias: alias.clone(), column, table: name }),
            (None, Some(last)) => {
                Ok(WriteTarget { alias: referable(self.dialect, last), column, table: name })
            }
            (None, None) => self.reject_unknown("a table without a name"),
        }
    }

    /// The target of an UPDATE, a DELETE or a MERGE.
    fn target_factor(&mut self, factor: &TableFactor) -> SqlResult<WriteTarget> {
        let TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions: _,
            json_path,
            sample,
            index_hints: _,
        } = factor
        else {
            return self.reject_unknown("a write to something that is not a table");
        };
        let plain = args.is_none()
            && with_hints.is_empty()
            && version.is_none()
            && !*with_ordinality
            && json_path.is_none()
            && sample.is_none()
            && alias.as_ref().is_none_or(|alias| alias.columns.is_empty());
        self.allow(plain, "a clause of this table");
        self.optional_alias(alias.as_ref());
        self.target(name, alias.as_ref().map(|alias| &alias.name))
    }

    /// Rejects a source with the name of the target: the guard would refer to the source.
    pub(super) fn distinct_from<'f>(
        &mut self,
        target: &WriteTarget,
        sources: impl IntoIterator<Item = &'f TableFactor>,
    ) -> SqlResult {
        for factor in sources {
            if let TableFactor::NestedJoin { .. } = factor {
                self.allow(false, "a join in parentheses beside the target of a write");
            }
            let Some(alias) = alias_of(factor) else { continue };
            if alias.value.eq_ignore_ascii_case(&target.alias.value) {
                self.point_at_ident(&alias);
                let why = format!("`{}` is the name of the target and of a source", alias.value);
                return self.reject(Code::Name, why, "give the source an alias");
            }
        }
        Ok(())
    }

    pub(super) fn update(&mut self, update: &mut Update) -> SqlResult {
        let Update {
            update_token,
            optimizer_hints,
            table: TableWithJoins { relation, joins },
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        self.point_at(update_token.0.span);
        self.no_hints(optimizer_hints);
        self.allow(output.is_none(), "a clause of another database");
        let kept = self.no_replace(*or);
        self.collect(kept);
        let target = self.target_factor(relation);
        let target = self.target_or_problem(target);
        let distinct = self.distinct_from(&target, joins.iter().map(|join| &join.relation));
        self.collect(distinct);
        let joined = !joins.is_empty();
        for Join { relation: source, global, join_operator } in &mut *joins {
            self.allow(!*global && self.dialect == Dialect::MySql, "a join as the target of a write");
            let known = matches!(
                join_operator,
                JoinOperator::Join(_)
                    | JoinOperator::Inner(_)
                    | JoinOperator::Left(_)
                    | JoinOperator::LeftOuter(_)
                    | JoinOperator::CrossJoin(_)
            );
            self.allow(known, "this kind of join in an UPDATE");
            self.source_factor(source);
            let checked = self.join(join_operator);
            self.collect(checked);
        }
        match from {
            None => {}
            Some(UpdateTableFromKind::BeforeSet(_)) => self.allow(false, "FROM before SET"),
            Some(UpdateTableFromKind::AfterSet(items)) => {
                for item in items {
                    let distinct = self.distinct_from(&target, factors(item));
                    self.collect(distinct);
                    self.source(item)?;
                }
            }
        }
        self.assignments(assignments, &target, joined)?;
        self.optional_expr(selection.as_mut())?;
        self.order_exprs(order_by)?;
        self.optional_expr(limit.as_mut())?;
        self.guard_write(target, selection, returning.as_mut())
    }

    pub(super) fn delete(&mut self, delete: &mut Delete) -> SqlResult {
        let Delete {
            delete_token,
            optimizer_hints,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        self.point_at(delete_token.0.span);
        self.no_hints(optimizer_hints);
        self.allow(output.is_none(), "a clause of another database");
        self.allow(tables.is_empty(), "DELETE from several tables");
        let FromTable::WithFromKeyword(items) = from else {
            return self.reject_unknown("DELETE without FROM");
        };
        let [TableWithJoins { relation, joins }] = &items[..] else {
            return self.reject_unknown("DELETE from several tables");
        };
        self.allow(joins.is_empty(), "DELETE from a join");
        let target = self.target_factor(relation);
        let target = self.target_or_problem(target);
        for item in using.iter_mut().flatten() {
            self.allow(self.dialect == Dialect::Postgres, "USING");
            let distinct = self.distinct_from(&target, factors(item));
            self.collect(distinct);
            self.source(item)?;
        }
        self.optional_expr(selection.as_mut())?;
        self.order_exprs(order_by)?;
        self.optional_expr(limit.as_mut())?;
        self.guard_write(target, selection, returning.as_mut())
    }

    /// Adds the guard of an UPDATE or a DELETE, after all other parts were checked.
    fn guard_write(
        &mut self,
        target: WriteTarget,
        selection: &mut Option<Expr>,
        returning: Option<&mut Vec<SelectItem>>,
    ) -> SqlResult {
        if let Some(items) = returning {
            self.returned(items, &target.alias)?;
        }
        if self.dialect == Dialect::MySql && self.tables_read.contains(&target.table) {
            let why = format!(
                "`{}` is read while it is written, which MySQL rejects without the guard",
                target.table
            );
            return self.reject(Code::Construct, why, "read the rows first, in a separate statement");
        }
        if let Some(column) = target.column {
            self.add_guards(selection, [(target.alias, column)]);
        }
        Ok(())
    }

    pub(super) fn no_replace(&self, or: Option<SqliteOnConflict>) -> SqlResult {
        if or == Some(SqliteOnConflict::Replace) { self.replace() } else { Ok(()) }
    }

    pub(super) fn replace(&self) -> SqlResult {
        self.reject(
            Code::Replace,
            "REPLACE deletes any conflicting row, also one of another tenant",
            "write INSERT .. ON CONFLICT DO UPDATE, or ON DUPLICATE KEY UPDATE",
        )
    }

    pub(super) fn assignments(
        &mut self,
        assignments: &mut [Assignment],
        target: &WriteTarget,
        qualified: bool,
    ) -> SqlResult {
        for Assignment { target: place, value } in assignments {
            let settable = match place {
                AssignmentTarget::ColumnName(name) => self.assigned(name, target, qualified),
                AssignmentTarget::Tuple(names) => {
                    self.allow(!qualified, "a list of columns in an UPDATE of a join");
                    names.iter().try_for_each(|name| self.check_settable(name, target.column.as_deref()))
                }
            };
            self.collect(settable);
            self.expr(value)?;
        }
        Ok(())
    }

    fn assigned(&mut self, name: &ObjectName, target: &WriteTarget, qualified: bool) -> SqlResult {
        self.check_settable(name, target.column.as_deref())?;
        let parts = self.parts(name)?;
        let own = parts.len() == 2 && parts[0].value == target.alias.value;
        if qualified && !own {
            let why = "in a join it is ambiguous which table this column belongs to";
            return self.reject(Code::Name, why, "write the target's name before it");
        }
        Ok(())
    }

    /// Rejects the tenant column as a column to set.
    pub(super) fn check_settable(&mut self, name: &ObjectName, column: Option<&str>) -> SqlResult {
        const ROWID: [&str; 3] = ["rowid", "_rowid_", "oid"];
        for part in self.parts(name)? {
            // On SQLite, `rowid` is an INTEGER PRIMARY KEY, and the primary key of the table of tenants is the
            // tenant.
            let lower = part.value.to_ascii_lowercase();
            if column.is_some() && self.dialect == Dialect::Sqlite && ROWID.contains(&lower.as_str()) {
                return self.reject(
                    Code::SystemColumn,
                    format!("`{lower}` can be another name of the tenant column"),
                    "set a column of your own",
                );
            }
            if column.is_some_and(|column| part.value.eq_ignore_ascii_case(column)) {
                return self.reject(
                    Code::TenantColumn,
                    format!("`{}` is the tenant column, which is set for you", part.value),
                    "leave it out",
                );
            }
        }
        Ok(())
    }

    pub(super) fn merge(&mut self, merge: &mut Merge) -> SqlResult {
        let Merge { merge_token, optimizer_hints, into: _, table, source, on, clauses, output } = merge;
        self.point_at(merge_token.0.span);
        self.no_hints(optimizer_hints);
        self.allow(output.is_none(), "a clause of this MERGE");
        self.allow(self.dialect == Dialect::Postgres, "MERGE");
        let target = self.target_factor(table);
        let target = self.target_or_problem(target);
        let distinct = self.distinct_from(&target, [&*source]);
        self.collect(distinct);
        self.source_factor(source);
        self.expr(on)?;
        for MergeClause { when_token: _, clause_kind, predicate, action } in clauses {
            self.allow(*clause_kind != MergeClauseKind::NotMatchedBySource, "NOT MATCHED BY SOURCE");
            self.optional_expr(predicate.as_mut())?;
            match action {
                MergeAction::Delete { delete_token: _ }
                | MergeAction::DoNothing { do_token: _, nothing_token: _ } => {}
                MergeAction::Update(MergeUpdateExpr {
                    update_token: _,
                    kind,
                    update_predicate,
                    delete_predicate,
                }) => {
                    self.allow(update_predicate.is_none() && delete_predicate.is_none(), "WHERE in a MERGE");
                    let MergeUpdateKind::Set(assignments) = kind else {
                        return self.reject_unknown("UPDATE *");
                    };
                    self.assignments(assignments, &target, false)?;
                }
                MergeAction::Insert(insert) => {
                    let checked = self.merge_insert(insert, &target);
                    self.collect(checked);
                }
            }
        }
        if let Some(column) = &target.column
            && self.takes_guard()
        {
            let guard = self.tenant_predicate(target.alias, column);
            let condition = std::mem::replace(&mut **on, Expr::Value(Value::Null.into()));
            **on = guarded(guard, Some(condition));
        }
        Ok(())
    }

    fn merge_insert(&mut self, insert: &mut MergeInsertExpr, target: &WriteTarget) -> SqlResult {
        let MergeInsertExpr { insert_token, columns, kind_token: _, kind, insert_predicate } = insert;
        self.point_at(insert_token.0.span);
        self.allow(insert_predicate.is_none(), "WHERE in a MERGE");
        let MergeInsertKind::Values(values) = kind else { return self.reject_unknown("INSERT ROW") };
        self.values(values)?;
        let Some(column) = &target.column else { return Ok(()) };
        if columns.is_empty() {
            return self.no_columns("without a list of columns");
        }
        for name in &*columns {
            self.check_settable(name, Some(column))?;
        }
        if self.takes_guard() {
            columns.insert(0, ObjectName(vec![ObjectNamePart::Identifier(self.column_ident(column))]));
            for Parens { opening_token: _, content, closing_token: _ } in &mut values.rows {
                content.insert(0, self.tenant());
            }
        }
        Ok(())
    }
}
