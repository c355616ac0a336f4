//! The second pass over writes: each write must be limited to the tenant.

use super::{Prover, name_start};
use crate::dialect::Dialect;
use crate::rewrite::identifiers::alias_of;
use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Ident, Insert, Merge, MergeAction,
    MergeClauseKind, MergeInsertKind, ObjectName, OnConflictAction, OnInsert, SelectItem, SetExpr,
    TableFactor, TableObject, Update,
};

/// The position of the tenant in a list of columns and in each row.
#[derive(Clone, Copy)]
enum TenantPosition {
    First,
    Last,
}

impl TenantPosition {
    fn of<T>(self, list: &[T]) -> Option<&T> {
        match self {
            Self::First => list.first(),
            Self::Last => list.last(),
        }
    }
}

impl Prover<'_> {
    /// Whether `condition` limits the target of a write to the tenant; marks it as proven.
    fn target(&mut self, factor: &TableFactor, condition: Option<&Expr>, sets: &[Assignment]) -> bool {
        let TableFactor::Table { name, args: None, .. } = factor else { return false };
        let Some(alias) = alias_of(factor) else { return false };
        self.check_target(name, |this, column| {
            this.requires_tenant(condition, &alias, column) && this.keeps_tenant_column(sets, column)
        })
    }

    fn check_target(&mut self, name: &ObjectName, kept: impl Fn(&Self, &str) -> bool) -> bool {
        let access = self.access(name);
        let kept = access.writable && access.tenant.is_none_or(|column| kept(self, column));
        if kept {
            self.proven.extend(name_start(name));
        }
        kept
    }

    pub(super) fn update(&mut self, update: &Update) -> bool {
        let joined = !update.table.joins.is_empty();
        let plain =
            |set: &Assignment| matches!(&set.target, AssignmentTarget::ColumnName(name) if name.0.len() == 2);
        (!joined || update.assignments.iter().all(plain))
            && self.target(&update.table.relation, update.selection.as_ref(), &update.assignments)
    }

    pub(super) fn delete(&mut self, delete: &Delete) -> bool {
        let FromTable::WithFromKeyword(items) = &delete.from else { return false };
        let [item] = &items[..] else { return false };
        delete.tables.is_empty()
            && item.joins.is_empty()
            && self.target(&item.relation, delete.selection.as_ref(), &[])
    }

    pub(super) fn insert(&mut self, insert: &Insert) -> bool {
        let TableObject::TableName(name) = &insert.table else { return false };
        let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return false };
        let alias = insert.table_alias.as_ref().map_or(last, |alias| &alias.alias);
        let replaces = insert.replace_into || insert.or == Some(sqlparser::ast::SqliteOnConflict::Replace);
        !replaces
            && self.check_target(name, |this, column| {
                let stamped =
                    |end| insert.source.as_ref().is_some_and(|source| this.has_tenant(&source.body, end));
                let others = match &insert.columns[..] {
                    [first, others @ ..]
                        if is_column(Some(first), column) && stamped(TenantPosition::First) =>
                    {
                        others
                    }
                    [others @ .., last] if is_column(Some(last), column) && stamped(TenantPosition::Last) => {
                        others
                    }
                    _ => return false,
                };
                others.iter().all(|name| this.may_set(name, column) && !this.is_fts_command(name, last))
                    && match &insert.on {
                        None => true,
                        Some(OnInsert::OnConflict(on)) => match &on.action {
                            OnConflictAction::DoNothing => true,
                            OnConflictAction::DoUpdate(set) => {
                                this.requires_tenant(set.selection.as_ref(), alias, column)
                                    && this.keeps_tenant_column(&set.assignments, column)
                            }
                        },
                        Some(OnInsert::DuplicateKeyUpdate(sets)) => {
                            this.keeps_tenant_column(sets, column)
                                && sets.iter().all(|set| this.keeps_foreign_rows(set, alias, column))
                        }
                        _ => false,
                    }
            })
    }

    /// Whether no assignment can move a row to another tenant.
    fn keeps_tenant_column(&self, sets: &[Assignment], column: &str) -> bool {
        sets.iter().all(|set| match &set.target {
            AssignmentTarget::ColumnName(name) => self.may_set(name, column),
            AssignmentTarget::Tuple(names) => names.iter().all(|name| self.may_set(name, column)),
        })
    }

    /// On SQLite a tenant column that is an INTEGER PRIMARY KEY has three other names.
    fn may_set(&self, name: &ObjectName, column: &str) -> bool {
        let more: &[&str] = if self.dialect == Dialect::Sqlite { &["rowid", "oid", "_rowid_"] } else { &[] };
        !more.iter().copied().chain([column]).any(|column| is_column(Some(name), column))
    }

    /// Whether an insert into this column is a command to a full-text table of SQLite.
    fn is_fts_command(&self, name: &ObjectName, table: &Ident) -> bool {
        self.dialect == Dialect::Sqlite && is_column(Some(name), &table.value)
    }

    /// Whether every row has the tenant at this position.
    fn has_tenant(&self, source: &SetExpr, end: TenantPosition) -> bool {
        match source {
            SetExpr::Values(values) => {
                values.rows.iter().all(|row| end.of(&row.content).is_some_and(|expr| self.is_tenant(expr)))
            }
            SetExpr::Select(select) => {
                matches!(end.of(&select.projection), Some(SelectItem::UnnamedExpr(expr)) if self.is_tenant(expr))
            }
            SetExpr::Query(query) => self.has_tenant(&query.body, end),
            _ => false,
        }
    }

    /// `c = CASE WHEN alias.tenant_id = ? THEN .. ELSE alias.c END`
    fn keeps_foreign_rows(&self, set: &Assignment, alias: &Ident, column: &str) -> bool {
        let AssignmentTarget::ColumnName(name) = &set.target else { return false };
        let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return false };
        let Expr::Case { operand: None, conditions, else_result: Some(otherwise), .. } = &set.value else {
            return false;
        };
        let Expr::CompoundIdentifier(idents) = &**otherwise else { return false };
        matches!(&conditions[..], [only] if self.requires_tenant(Some(&only.condition), alias, column))
            && matches!(&idents[..], [of, own] if of == alias && own == last)
    }

    pub(super) fn merge(&mut self, merge: &Merge) -> bool {
        let TableFactor::Table { name, args: None, .. } = &merge.table else { return false };
        let Some(alias) = alias_of(&merge.table) else { return false };
        self.check_target(name, |this, column| {
            this.requires_tenant(Some(&*merge.on), &alias, column)
                && merge.clauses.iter().all(|clause| {
                    clause.clause_kind != MergeClauseKind::NotMatchedBySource
                        && match &clause.action {
                            MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => true,
                            MergeAction::Update(update) => match &update.kind {
                                sqlparser::ast::MergeUpdateKind::Set(sets) => {
                                    this.keeps_tenant_column(sets, column)
                                }
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

fn is_column(name: Option<&ObjectName>, column: &str) -> bool {
    let last = name.and_then(|name| name.0.last()).and_then(|part| part.as_ident());
    last.is_some_and(|ident| ident.value.eq_ignore_ascii_case(column))
}
