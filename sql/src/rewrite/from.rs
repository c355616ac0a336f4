//! The tables of a FROM: which tables get a guard, and in which form.

use super::guard::Guard;
use super::identifiers::{is_dual, plain_alias, referable, unspanned};
use super::join::{GuardPosition, condition_of, guard_position};
use super::pass::{Pass, SqlResult};
use super::query::At;
use crate::dialect::Dialect;
use crate::rejection::Code;
use sqlparser::ast::{
    Expr, FunctionArg, Ident, Join, JoinConstraint, JoinOperator, LockClause, ObjectName, TableAlias,
    TableFactor, TableFunctionArgs, TableSample, TableSampleKind, TableSampleQuantity, TableWithJoins, Value,
};

/// The largest number of tables of one statement, counted each time they are named: the proof compares all pairs.
const MOST_TABLES: usize = 256;

/// How a table of a FROM is limited to the tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GuardForm {
    Derived,
    /// By a predicate in the block's WHERE.
    Predicate,
}

impl Pass<'_> {
    /// Collects the guards for the block's WHERE in `guards`, and those of the ON of an outer join in `filled_up`:
    /// the join can fill the columns of their tables with NULLs.
    pub(super) fn table_with_joins(
        &mut self,
        item: &mut TableWithJoins,
        predicate: bool,
        locks: &[LockClause],
        guards: &mut Vec<Guard>,
        filled_up: &mut Vec<Guard>,
    ) -> SqlResult {
        let TableWithJoins { relation, joins } = item;
        let places: Vec<GuardPosition> = (0..=joins.len())
            .map(|n| if predicate { guard_position(joins, n) } else { GuardPosition::Behind })
            .collect();
        let form =
            |place| if place == GuardPosition::Behind { GuardForm::Derived } else { GuardForm::Predicate };
        let mut beside = Vec::new();
        let checked = self.factor(relation, form(places[0]), locks, &mut beside);
        self.collect(checked);
        if places[0] == GuardPosition::Where {
            guards.append(&mut beside);
        }
        for (Join { relation, global, join_operator }, place) in joins.iter_mut().zip(&places[1..]) {
            self.allow(!*global, "GLOBAL JOIN");
            // The parser nests the next join in parentheses that are not in the text.
            let bare = matches!(
                join_operator,
                JoinOperator::Join(JoinConstraint::None)
                    | JoinOperator::Inner(JoinConstraint::None)
                    | JoinOperator::StraightJoin(JoinConstraint::None)
            );
            if bare && self.dialect == Dialect::MySql && matches!(relation, TableFactor::NestedJoin { .. }) {
                let why = "a join without ON before another join is ambiguous";
                return self.reject(Code::Construct, why, "write CROSS JOIN, or ON true");
            }
            let own = if *place == GuardPosition::Where { &mut *guards } else { &mut beside };
            let checked = self.factor(relation, form(*place), locks, own);
            self.collect(checked);
            let checked = self.join(join_operator);
            self.collect(checked);
            if let (false, Some(on)) = (beside.is_empty(), condition_of(join_operator)) {
                let mut both = Some(std::mem::replace(on, Expr::Value(Value::Null.into())));
                self.add_guards(
                    &mut both,
                    beside.iter().map(|guard| (guard.alias.clone(), guard.column.clone())),
                );
                filled_up.append(&mut beside);
                *on = both.unwrap_or_else(|| Expr::Value(Value::Null.into()));
            }
        }
        Ok(())
    }

    /// One item of a FROM that is only read.
    pub(super) fn source(&mut self, item: &mut TableWithJoins) -> SqlResult {
        let distinct_names = self.distinct_aliases(std::slice::from_ref(item));
        self.collect(distinct_names);
        self.table_with_joins(item, false, &[], &mut Vec::new(), &mut Vec::new())
    }

    pub(super) fn source_factor(&mut self, factor: &mut TableFactor) {
        let checked = self.factor(factor, GuardForm::Derived, &[], &mut Vec::new());
        self.collect(checked);
    }

    fn factor(
        &mut self,
        factor: &mut TableFactor,
        form: GuardForm,
        locks: &[LockClause],
        guards: &mut Vec<Guard>,
    ) -> SqlResult {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: Some(TableFunctionArgs { args, settings }),
                with_hints,
                version,
                with_ordinality: _,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                let plain = settings.is_none()
                    && with_hints.is_empty()
                    && version.is_none()
                    && partitions.is_empty()
                    && json_path.is_none()
                    && sample.is_none()
                    && index_hints.is_empty();
                self.allow(plain, "a clause of this table function");
                self.table_function(name, args, alias.as_ref())
            }
            TableFactor::Table { args: None, .. } => self.table(factor, form, locks, guards),
            TableFactor::Derived { lateral: _, subquery, alias, sample } => {
                self.allow(sample.is_none(), "TABLESAMPLE of a query");
                self.optional_alias(alias.as_ref());
                self.query(subquery, At::Within)
            }
            TableFactor::Function { lateral: _, name, args, with_ordinality: _, alias } => {
                self.table_function(name, args, alias.as_ref())
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality: _,
            } => {
                self.allow(!*with_offset && with_offset_alias.is_none(), "WITH OFFSET");
                self.optional_alias(alias.as_ref());
                self.exprs(array_exprs)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.optional_alias(alias.as_ref());
                self.table_with_joins(table_with_joins, false, locks, &mut Vec::new(), &mut Vec::new())
            }
            _ => self.reject_unknown("this kind of table"),
        }
    }

    fn table_function(
        &mut self,
        name: &ObjectName,
        args: &mut [FunctionArg],
        alias: Option<&TableAlias>,
    ) -> SqlResult {
        self.optional_alias(alias);
        let named = self.function_name(name).map(drop);
        self.collect(named);
        self.arguments(args)
    }

    /// A named table: a shared table, a CTE, or a tenant table that gets its guard.
    fn table(
        &mut self,
        factor: &mut TableFactor,
        form: GuardForm,
        locks: &[LockClause],
        guards: &mut Vec<Guard>,
    ) -> SqlResult {
        let TableFactor::Table {
            name,
            alias,
            args: _,
            with_hints,
            version,
            with_ordinality,
            partitions: _,
            json_path,
            sample,
            index_hints: _,
        } = &mut *factor
        else {
            return self.reject_unknown("this");
        };
        let plain = with_hints.is_empty() && version.is_none() && !*with_ordinality && json_path.is_none();
        let parts = self.parts(name)?;
        self.allow(plain, "a clause of this table");
        self.no_text(&parts)?;
        if let Some(TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) =
            sample
        {
            self.sample(sample)?;
        }
        let has_sample = sample.is_some();
        let resolved = self.resolve(&parts)?;
        self.optional_alias(alias.as_ref());
        let Some((table, column)) = resolved else { return Ok(()) };
        let Some(last) = parts.last() else { return Ok(()) };
        let columns = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
        let own = alias.is_none();
        let alias = alias.take().unwrap_or_else(|| plain_alias(referable(self.dialect, &unspanned(last))));
        if form == GuardForm::Predicate && !columns && (!has_sample || self.dialect == Dialect::Postgres) {
            let name = alias.name.clone();
            if let TableFactor::Table { alias: slot, .. } = factor {
                let same = name.value == last.value && name.quote_style == last.quote_style;
                *slot = (!same && !own).then_some(alias);
            }
            guards.push(Guard { alias: name, column, table });
            return Ok(());
        }
        let copied =
            if self.dialect == Dialect::MySql { locks.iter().map(copy_lock).collect() } else { Vec::new() };
        let table =
            std::mem::replace(factor, TableFactor::TableFunction { expr: self.tenant(), alias: None });
        *factor = self.derived(table, &column, alias, copied);
        Ok(())
    }

    /// The name and the tenant column of a table; `None` for a shared table and for a CTE.
    fn resolve(&mut self, parts: &[Ident]) -> SqlResult<Option<(String, String)>> {
        self.table_count += 1;
        if self.table_count > MOST_TABLES {
            let why = format!("more than {MOST_TABLES} tables in one statement");
            return self.reject(Code::TooLong, why, "split it into several statements");
        }
        if let [name] = parts {
            if is_dual(self.dialect, name) {
                return Ok(None);
            }
            let folded = self.fold(name);
            if self.cte_scopes.iter().flatten().any(|cte| *cte == folded) {
                return Ok(None);
            }
            self.not_a_cte(&folded)?;
        }
        let name = self.table_name(parts)?;
        let access = self.access(&name)?;
        self.tables_read.insert(name.clone());
        self.tables.insert(name.clone());
        Ok(access.tenant.map(|column| (name, column.to_owned())))
    }

    fn sample(&mut self, sample: &mut TableSample) -> SqlResult {
        let TableSample { modifier: _, name: _, quantity, seed: _, bucket, offset } = sample;
        self.allow(bucket.is_none() && offset.is_none(), "a bucket of a sample");
        match quantity {
            None => Ok(()),
            Some(TableSampleQuantity { parenthesized: _, value, unit: _ }) => self.expr(value),
        }
    }
}

/// A lock without `OF`, which [`Pass::query`] rejects on MySQL.
fn copy_lock(lock: &LockClause) -> LockClause {
    let LockClause { lock_type, of: _, nonblock } = lock;
    LockClause { lock_type: *lock_type, of: None, nonblock: *nonblock }
}
