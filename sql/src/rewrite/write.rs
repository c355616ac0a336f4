//! Writes: the target keeps its predicate. INSERT is in `insert.rs`.

use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Ident, Join, JoinOperator, Merge, MergeAction,
    MergeClause, MergeClauseKind, MergeInsertExpr, MergeInsertKind, MergeUpdateExpr, MergeUpdateKind,
    ObjectName, ObjectNamePart, Parens, SelectItem, SqliteOnConflict, TableFactor, TableWithJoins, Update,
    UpdateTableFromKind, Value,
};

use super::from::alias_of;
use super::guard::both;
use super::{Pass, SqlResult};
use crate::Dialect;
use crate::rejection::Code;

/// The table that a statement writes to.
pub(super) struct Target {
    /// The name by which its columns are known.
    pub(super) alias: Ident,
    /// None for a shared table that may be written.
    pub(super) column: Option<String>,
    /// The table's name as the database resolves it.
    pub(super) table: String,
}

impl Pass<'_> {
    pub(super) fn target(&mut self, name: &ObjectName, alias: Option<&Ident>) -> SqlResult<Target> {
        self.writes = true;
        let parts = self.parts(name)?;
        if let [name] = &parts[..] {
            let folded = self.fold(name);
            self.not_a_cte(&folded)?;
        }
        let name = self.table_name(&parts)?;
        let access = self.access(&name)?;
        if !access.writable {
            return self.refuse(
                Code::ReadOnlyTable,
                format!("`{name}` is declared as read only"),
                "write to it apart, or declare it under `shared_writable` in tenancy.toml",
            );
        }
        let column = access.tenant.map(str::to_owned);
        self.tables.insert(name.clone());
        match alias.or(parts.last()) {
            Some(alias) => Ok(Target { alias: alias.clone(), column, table: name }),
            None => self.unknown("a table without a name"),
        }
    }

    /// The target of an UPDATE, a DELETE or a MERGE.
    fn target_factor(&mut self, factor: &TableFactor) -> SqlResult<Target> {
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
            return self.unknown("a write to something that is not a table");
        };
        let plain = args.is_none()
            && with_hints.is_empty()
            && version.is_none()
            && !*with_ordinality
            && json_path.is_none()
            && sample.is_none()
            && alias.as_ref().is_none_or(|alias| alias.columns.is_empty());
        self.allow(plain, "a clause of this table")?;
        self.maybe_alias(alias.as_ref())?;
        self.target(name, alias.as_ref().map(|alias| &alias.name))
    }

    /// A source that is called like the target would stand for it in the guard.
    pub(super) fn apart<'f>(
        &mut self,
        target: &Target,
        sources: impl IntoIterator<Item = &'f TableFactor>,
    ) -> SqlResult {
        for factor in sources {
            if let TableFactor::NestedJoin { .. } = factor {
                self.unknown("a join in parentheses beside the target of a write")?;
            }
            let Some(alias) = alias_of(factor) else { continue };
            if alias.value.eq_ignore_ascii_case(&target.alias.value) {
                self.see_ident(&alias);
                let why = format!("`{}` is the name of the target and of a source", alias.value);
                return self.refuse(Code::Name, why, "give the source an alias");
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
        self.see(update_token.0.span);
        self.allow(optimizer_hints.is_empty() && output.is_none(), "a clause of another database")?;
        self.no_replace(*or)?;
        let target = self.target_factor(relation)?;
        self.apart(&target, joins.iter().map(|join| &join.relation))?;
        let joined = !joins.is_empty();
        for Join { relation: source, global, join_operator } in &mut *joins {
            self.allow(!*global && self.dialect == Dialect::MySql, "a join as the target of a write")?;
            let known = matches!(
                join_operator,
                JoinOperator::Join(_)
                    | JoinOperator::Inner(_)
                    | JoinOperator::Left(_)
                    | JoinOperator::LeftOuter(_)
                    | JoinOperator::CrossJoin(_)
            );
            self.allow(known, "this kind of join in an UPDATE")?;
            self.source_factor(source)?;
            self.join(join_operator)?;
        }
        match from {
            None => {}
            Some(UpdateTableFromKind::BeforeSet(_)) => self.unknown("FROM before SET")?,
            Some(UpdateTableFromKind::AfterSet(items)) => {
                for item in items {
                    self.apart(&target, factors(item))?;
                    self.source(item)?;
                }
            }
        }
        self.assignments(assignments, &target, joined)?;
        self.maybe(selection.as_mut())?;
        self.order_exprs(order_by)?;
        self.maybe(limit.as_mut())?;
        self.keep(target, selection, returning.as_mut())
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
        self.see(delete_token.0.span);
        self.allow(optimizer_hints.is_empty() && output.is_none(), "a clause of another database")?;
        self.allow(tables.is_empty(), "DELETE from several tables")?;
        let FromTable::WithFromKeyword(items) = from else { return self.unknown("DELETE without FROM") };
        let [TableWithJoins { relation, joins }] = &items[..] else {
            return self.unknown("DELETE from several tables");
        };
        self.allow(joins.is_empty(), "DELETE from a join")?;
        let target = self.target_factor(relation)?;
        for item in using.iter_mut().flatten() {
            self.allow(self.dialect == Dialect::Postgres, "USING")?;
            self.apart(&target, factors(item))?;
            self.source(item)?;
        }
        self.maybe(selection.as_mut())?;
        self.order_exprs(order_by)?;
        self.maybe(limit.as_mut())?;
        self.keep(target, selection, returning.as_mut())
    }

    /// Keeps an UPDATE or a DELETE to the tenant's rows, when all that was written in it has been read.
    fn keep(
        &mut self,
        target: Target,
        selection: &mut Option<Expr>,
        returning: Option<&mut Vec<SelectItem>>,
    ) -> SqlResult {
        if let Some(items) = returning {
            self.items(items)?;
        }
        if self.dialect == Dialect::MySql && self.read.contains(&target.table) {
            let why = format!(
                "`{}` is read while it is written, which MySQL refuses without the guard",
                target.table
            );
            return self.refuse(Code::Construct, why, "read the rows first, in a statement of its own");
        }
        if let Some(column) = target.column {
            self.inject(selection, [(target.alias, column)]);
        }
        Ok(())
    }

    pub(super) fn no_replace(&self, or: Option<SqliteOnConflict>) -> SqlResult {
        if or == Some(SqliteOnConflict::Replace) { self.replace() } else { Ok(()) }
    }

    pub(super) fn replace(&self) -> SqlResult {
        self.refuse(
            Code::Replace,
            "REPLACE deletes whatever row is in the way, whosever it is",
            "write INSERT .. ON CONFLICT DO UPDATE, or ON DUPLICATE KEY UPDATE",
        )
    }

    pub(super) fn assignments(
        &mut self,
        assignments: &mut [Assignment],
        target: &Target,
        qualified: bool,
    ) -> SqlResult {
        for Assignment { target: place, value } in assignments {
            match place {
                AssignmentTarget::ColumnName(name) => {
                    self.settable(name, target.column.as_deref())?;
                    let parts = self.parts(name)?;
                    let own = parts.len() == 2 && parts[0].value == target.alias.value;
                    if qualified && !own {
                        let why = "in a join it is not plain which table this column belongs to";
                        return self.refuse(Code::Name, why, "write the target's name before it");
                    }
                }
                AssignmentTarget::Tuple(names) => {
                    self.allow(!qualified, "a list of columns in an UPDATE of a join")?;
                    for name in names {
                        self.settable(name, target.column.as_deref())?;
                    }
                }
            }
            self.expr(value)?;
        }
        Ok(())
    }

    /// A column that a statement may set: any but the tenant's.
    pub(super) fn settable(&mut self, name: &ObjectName, column: Option<&str>) -> SqlResult {
        const ROWID: [&str; 3] = ["rowid", "_rowid_", "oid"];
        for part in self.parts(name)? {
            // On SQLite an INTEGER PRIMARY KEY is the rowid, and the key of the table of tenants is the tenant.
            let lower = part.value.to_ascii_lowercase();
            if column.is_some() && self.dialect == Dialect::Sqlite && ROWID.contains(&lower.as_str()) {
                return self.refuse(
                    Code::SystemColumn,
                    format!("`{lower}` can be another name of the tenant column"),
                    "set a column of your own",
                );
            }
            if column.is_some_and(|column| part.value.eq_ignore_ascii_case(column)) {
                return self.refuse(
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
        self.see(merge_token.0.span);
        self.allow(optimizer_hints.is_empty() && output.is_none(), "a clause of this MERGE")?;
        self.allow(self.dialect == Dialect::Postgres, "MERGE")?;
        let target = self.target_factor(table)?;
        self.apart(&target, [&*source])?;
        self.source_factor(source)?;
        self.expr(on)?;
        for MergeClause { when_token: _, clause_kind, predicate, action } in clauses {
            self.allow(*clause_kind != MergeClauseKind::NotMatchedBySource, "NOT MATCHED BY SOURCE")?;
            self.maybe(predicate.as_mut())?;
            match action {
                MergeAction::Delete { delete_token: _ }
                | MergeAction::DoNothing { do_token: _, nothing_token: _ } => {}
                MergeAction::Update(MergeUpdateExpr {
                    update_token: _,
                    kind,
                    update_predicate,
                    delete_predicate,
                }) => {
                    self.allow(update_predicate.is_none() && delete_predicate.is_none(), "WHERE in a MERGE")?;
                    let MergeUpdateKind::Set(assignments) = kind else { return self.unknown("UPDATE *") };
                    self.assignments(assignments, &target, false)?;
                }
                MergeAction::Insert(insert) => self.merge_insert(insert, &target)?,
            }
        }
        if let Some(column) = &target.column
            && self.guarding()
        {
            let guard = self.owned(target.alias, column);
            let asked = std::mem::replace(&mut **on, Expr::Value(Value::Null.into()));
            **on = both(guard, Some(asked));
        }
        Ok(())
    }

    fn merge_insert(&mut self, insert: &mut MergeInsertExpr, target: &Target) -> SqlResult {
        let MergeInsertExpr { insert_token, columns, kind_token: _, kind, insert_predicate } = insert;
        self.see(insert_token.0.span);
        self.allow(insert_predicate.is_none(), "WHERE in a MERGE")?;
        let MergeInsertKind::Values(values) = kind else { return self.unknown("INSERT ROW") };
        self.values(values)?;
        let Some(column) = &target.column else { return Ok(()) };
        if columns.is_empty() {
            return self.no_columns("without a list of columns");
        }
        for name in &*columns {
            self.settable(name, Some(column))?;
        }
        if self.guarding() {
            columns.insert(0, ObjectName(vec![ObjectNamePart::Identifier(self.column_ident(column))]));
            for Parens { opening_token: _, content, closing_token: _ } in &mut values.rows {
                content.insert(0, self.tenant());
            }
        }
        Ok(())
    }
}

pub(super) fn factors(item: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
}
