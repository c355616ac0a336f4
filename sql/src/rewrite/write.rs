//! Writes: the target keeps its predicate, and a new row gets its tenant.

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    Assignment, AssignmentTarget, CaseWhen, ConflictTarget, Delete, Distinct, DoUpdate, Expr, FromTable,
    GroupByExpr, Ident, Insert, Join, JoinOperator, Merge, MergeAction, MergeClause, MergeClauseKind,
    MergeInsertExpr, MergeInsertKind, MergeUpdateExpr, MergeUpdateKind, ObjectName, ObjectNamePart,
    OnConflict, OnConflictAction, OnInsert, Parens, Query, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, SqliteOnConflict, TableAliasWithoutColumns, TableFactor, TableObject, TableWithJoins, Update,
    UpdateTableFromKind, Value, WildcardAdditionalOptions,
};

use super::from::alias_of;
use super::guard::{both, plain_alias, plain_ident, query};
use super::query::At;
use super::text::RESERVED;
use super::{Pass, Verdict, conflict};
use crate::Dialect;
use crate::refused::Code;
use crate::schema::key_elements;

/// The table that a statement writes to.
struct Target {
    /// The name by which its columns are known.
    alias: Ident,
    /// None for a shared table that may be written.
    column: Option<String>,
    /// The table's name as the database resolves it.
    table: String,
}

impl Pass<'_> {
    fn target(&mut self, name: &ObjectName, alias: Option<&Ident>) -> Verdict<Target> {
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
    fn target_factor(&mut self, factor: &TableFactor) -> Verdict<Target> {
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
    fn apart<'f>(&mut self, target: &Target, sources: impl IntoIterator<Item = &'f TableFactor>) -> Verdict {
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

    pub(super) fn update(&mut self, update: &mut Update) -> Verdict {
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

    pub(super) fn delete(&mut self, delete: &mut Delete) -> Verdict {
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
    ) -> Verdict {
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

    pub(super) fn insert(&mut self, insert: &mut Insert) -> Verdict {
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
        if let (Some(OnInsert::DuplicateKeyUpdate(_)), SetExpr::Select(select)) = (&*on, &*source.body) {
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

    fn no_columns(&self, what: &str) -> Verdict {
        let why = format!("an INSERT {what} leaves no place for the tenant");
        self.refuse(Code::ColumnList, why, "write INSERT INTO t (a, b) VALUES (..)")
    }

    fn no_replace(&self, or: Option<SqliteOnConflict>) -> Verdict {
        if or == Some(SqliteOnConflict::Replace) { self.replace() } else { Ok(()) }
    }

    fn replace(&self) -> Verdict {
        self.refuse(
            Code::Replace,
            "REPLACE deletes whatever row is in the way, whosever it is",
            "write INSERT .. ON CONFLICT DO UPDATE, or ON DUPLICATE KEY UPDATE",
        )
    }

    /// Puts the tenant into every row of a source, and says whether it is the last column there or the first.
    ///
    /// Where a position in ORDER BY or GROUP BY could count the items it comes last: a query around the source would
    /// give `'{}'`, NULL and parameters the type `text` before PostgreSQL sees the column that they are for.
    fn stamp_source(&mut self, source: &mut Query) -> Verdict<bool> {
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

    fn on_insert(&mut self, on: &mut OnInsert, target: &Target) -> Verdict {
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
    fn conflict_target(&mut self, columns: &mut Vec<Ident>, target: &Target) -> Verdict {
        let number = conflict::number(columns);
        let mut elements = match number {
            None => columns.iter().cloned().map(Expr::Identifier).collect(),
            Some(n) => std::mem::take(&mut self.targets[n].elements),
        };
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
    fn keep_unless_own(&mut self, assignment: &mut Assignment, target: &Target, column: &str) -> Verdict {
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

    fn assignments(&mut self, assignments: &mut [Assignment], target: &Target, qualified: bool) -> Verdict {
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
    fn settable(&mut self, name: &ObjectName, column: Option<&str>) -> Verdict {
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

    /// To a full-text table of SQLite, an insert into the column of its own name is a command: `delete-all`.
    fn no_command(&mut self, column: &ObjectName, table: &[Ident]) -> Verdict {
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

    pub(super) fn merge(&mut self, merge: &mut Merge) -> Verdict {
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

    fn merge_insert(&mut self, insert: &mut MergeInsertExpr, target: &Target) -> Verdict {
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

fn factors(item: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
}

fn ungrouped(group_by: &GroupByExpr) -> bool {
    matches!(group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty())
}
