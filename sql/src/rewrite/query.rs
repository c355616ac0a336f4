//! Queries: CTEs in scope, SELECT blocks, and ORDER BY.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Cte, Distinct, Expr, GroupByExpr, GroupByWithModifier, Ident, LimitClause, LockClause,
    NamedWindowDefinition, NamedWindowExpr, Offset, OrderBy, OrderByExpr, OrderByKind, OrderByOptions,
    OrderBySort, Parens, Query, Select, SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    SetQuantifier, Statement, Values, WildcardAdditionalOptions, With,
};

use super::instead::not_about_rows;
use super::pass::{Pass, SqlResult};
use super::walk::{TreeVisitor, walk};
use crate::dialect::Dialect;
use crate::rejection::{Code, Explanation};

/// The largest number of CTEs of one statement: each table is looked up among all CTEs in scope.
const MOST_CTES: usize = 64;

/// The position of a query in the statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// The whole statement.
    Top,
    /// The body of a CTE of the statement.
    Cte,
    /// Anywhere else.
    Within,
}

impl Pass<'_> {
    /// Rewrites a statement, after it collected the names of all CTEs.
    pub(super) fn statement(&mut self, statement: &mut Statement) -> SqlResult {
        let (names, count) = cte_names(statement);
        if count > MOST_CTES {
            let why = format!("{count} CTEs in one statement; at most {MOST_CTES} are accepted");
            return self.reject(Code::TooLong, why, "split it into several statements");
        }
        self.cte_names = names;
        match statement {
            Statement::Query(query) => self.query(query, At::Top),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            _ => {
                let Explanation { why, help } = self.instead.take().unwrap_or_else(not_about_rows);
                self.reject(Code::Statement, why, help)
            }
        }
    }

    pub(super) fn query(&mut self, query: &mut Query, at: At) -> SqlResult {
        // In a query within RETURNING, other tables are in scope.
        let returning = self.returning.take();
        let checked = self.query_parts(query, at);
        self.returning = returning;
        checked
    }

    fn query_parts(&mut self, query: &mut Query, at: At) -> SqlResult {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        self.allow(
            for_clause.is_none() && settings.is_none() && format_clause.is_none(),
            "FOR, SETTINGS or FORMAT",
        );
        self.allow(pipe_operators.is_empty(), "a pipe");
        let known = self.cte_scopes.len();
        if let Some(with) = with {
            self.with(with, at)?;
        }
        for LockClause { lock_type: _, of, nonblock: _ } in &*locks {
            self.writes = true;
            let copied = self.dialect == Dialect::MySql;
            self.allow(of.is_none() || !copied, "FOR UPDATE OF");
        }
        let ordered_by: Vec<&Expr> = match order_by.as_ref().map(|order_by| &order_by.kind) {
            Some(OrderByKind::Expressions(exprs)) if self.dialect == Dialect::Postgres => {
                exprs.iter().map(|by| &by.expr).collect()
            }
            _ => Vec::new(),
        };
        let checked = self.set_expr(body, at, locks, &ordered_by);
        self.collect(checked);
        if let Some(order_by) = order_by {
            self.order_by(order_by)?;
        }
        match limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                self.allow(limit_by.is_empty(), "LIMIT BY");
                self.optional_expr(limit.as_mut())?;
                if let Some(Offset { value, rows: _ }) = offset {
                    self.expr(value)?;
                }
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.expr(offset)?;
                self.expr(limit)?;
            }
        }
        if let Some(fetch) = fetch {
            let sqlparser::ast::Fetch { with_ties: _, percent, quantity } = fetch;
            self.allow(!*percent, "FETCH PERCENT");
            self.optional_expr(quantity.as_mut())?;
        }
        self.cte_scopes.truncate(known);
        Ok(())
    }

    fn with(&mut self, with: &mut With, at: At) -> SqlResult {
        let With { with_token: _, recursive, cte_tables } = with;
        let at = if at == At::Top { At::Cte } else { At::Within };
        self.cte_scopes.push(Vec::new());
        for Cte { alias, query, from, materialized: _, closing_paren_token: _ } in cte_tables {
            self.allow(from.is_none(), "WITH .. FROM");
            self.alias(alias);
            let name = self.fold(&alias.name);
            let named = self.not_a_catalog(&name);
            self.collect(named);
            if *recursive {
                self.in_sight(name.clone());
            }
            self.query(query, at)?;
            if !*recursive {
                self.in_sight(name);
            }
        }
        Ok(())
    }

    fn in_sight(&mut self, name: String) {
        if let Some(scope) = self.cte_scopes.last_mut() {
            scope.push(name);
        }
    }

    fn set_expr(
        &mut self,
        body: &mut SetExpr,
        at: At,
        locks: &[LockClause],
        ordered_by: &[&Expr],
    ) -> SqlResult {
        match body {
            SetExpr::Select(select) => self.select(select, at, locks, ordered_by),
            SetExpr::Query(query) => self.query(query, At::Within),
            SetExpr::SetOperation { left, op: _, set_quantifier, right } => {
                let known = matches!(
                    set_quantifier,
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None
                );
                self.allow(known, "BY NAME");
                let checked = self.set_expr(left, At::Within, locks, &[]);
                self.collect(checked);
                self.set_expr(right, At::Within, locks, &[])
            }
            SetExpr::Values(values) => self.values(values),
            SetExpr::Insert(Statement::Insert(insert)) if self.may_write(at) => self.insert(insert),
            SetExpr::Update(Statement::Update(update)) if self.may_write(at) => self.update(update),
            SetExpr::Delete(Statement::Delete(delete)) if self.may_write(at) => self.delete(delete),
            SetExpr::Merge(Statement::Merge(merge)) if self.may_write(at) => self.merge(merge),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.reject_unknown("a write within a query")
            }
            SetExpr::Table(_) => {
                self.reject(Code::Construct, "TABLE reads a whole table", "write SELECT * FROM it")
            }
        }
    }

    fn may_write(&self, at: At) -> bool {
        at == At::Top || (at == At::Cte && self.dialect == Dialect::Postgres)
    }

    pub(super) fn values(&mut self, values: &mut Values) -> SqlResult {
        let Values { explicit_row: _, value_keyword: _, rows } = values;
        for Parens { opening_token: _, content, closing_token: _ } in rows {
            self.exprs(content)?;
        }
        Ok(())
    }

    fn select(
        &mut self,
        select: &mut Select,
        at: At,
        locks: &[LockClause],
        ordered_by: &[&Expr],
    ) -> SqlResult {
        let Select {
            select_token,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        self.point_at(select_token.0.span);
        self.no_hints(optimizer_hints);
        self.allow(select_modifiers.is_none(), "a modifier of SELECT");
        self.allow(into.is_none(), "SELECT INTO");
        let rare = top.is_some()
            || exclude.is_some()
            || !lateral_views.is_empty()
            || prewhere.is_some()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || qualify.is_some()
            || value_table_mode.is_some()
            || *flavor != SelectFlavor::Standard;
        self.allow(!rare, "a clause of another database");
        match distinct {
            None | Some(Distinct::All | Distinct::Distinct) => {}
            Some(Distinct::On(exprs)) => self.exprs(exprs)?,
        }
        self.items(projection)?;
        self.optional_expr(selection.as_mut())?;
        let mut grouped = false;
        match group_by {
            GroupByExpr::All(_) => self.allow(false, "GROUP BY ALL"),
            GroupByExpr::Expressions(exprs, modifiers) => {
                let known = modifiers.iter().all(|modifier| *modifier == GroupByWithModifier::Rollup);
                self.allow(known, "a modifier of GROUP BY");
                grouped = !exprs.is_empty();
                self.exprs(exprs)?;
            }
        }
        self.optional_expr(having.as_mut())?;
        for NamedWindowDefinition(_, window) in &mut *named_window {
            match window {
                NamedWindowExpr::NamedWindow(_) => {}
                NamedWindowExpr::WindowSpec(spec) => self.window(spec)?,
            }
        }
        let distinct_names = self.distinct_aliases(from);
        self.collect(distinct_names);
        let alone = at == At::Top && from.len() == 1 && from.iter().all(|item| item.joins.is_empty());
        let grouped = grouped && self.dialect == Dialect::Postgres;
        let (mut guards, mut filled_up) = (Vec::new(), Vec::new());
        for item in from {
            self.table_with_joins(item, alone || grouped, locks, &mut guards, &mut filled_up)?;
        }
        if let (true, GroupByExpr::Expressions(exprs, _)) = (grouped, group_by) {
            let on = match distinct {
                Some(Distinct::On(exprs)) => &exprs[..],
                _ => &[],
            };
            let windows = named_window.iter().filter_map(|NamedWindowDefinition(_, window)| match window {
                NamedWindowExpr::WindowSpec(spec) => Some(spec),
                NamedWindowExpr::NamedWindow(_) => None,
            });
            let windows = windows
                .flat_map(|spec| spec.partition_by.iter().chain(spec.order_by.iter().map(|by| &by.expr)));
            let others: Vec<&Expr> =
                having.iter().chain(ordered_by.iter().copied()).chain(on).chain(windows).collect();
            self.group_by_tenant(exprs, (projection, &others), (&guards, &filled_up));
        }
        self.add_guards(selection, guards.into_iter().map(|guard| (guard.alias, guard.column)));
        Ok(())
    }

    /// Checks the items of a RETURNING.
    pub(super) fn returned(&mut self, items: &mut [SelectItem], target: &Ident) -> SqlResult {
        self.returning = Some(target.clone());
        let checked = self.items(items);
        self.returning = None;
        checked
    }

    pub(super) fn items(&mut self, items: &mut [SelectItem]) -> SqlResult {
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => self.expr(expr)?,
                SelectItem::ExprWithAlias { expr, alias } => {
                    // For PostgreSQL `mood 'sad'` is a value of the type `mood`.
                    let text = alias.quote_style == Some('\'') && self.dialect == Dialect::Postgres;
                    self.expr(expr)?;
                    self.point_at_ident(alias);
                    self.allow(!text, "a text behind a name");
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    let known = self.wildcard_of(name);
                    self.collect(known);
                    self.wildcard(options);
                }
                SelectItem::Wildcard(options) => self.wildcard(options),
                SelectItem::ExprWithAliases { .. }
                | SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                    self.allow(false, "this item");
                }
            }
        }
        Ok(())
    }

    fn wildcard(&mut self, options: &WildcardAdditionalOptions) {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        let plain = opt_ilike.is_none()
            && opt_exclude.is_none()
            && opt_except.is_none()
            && opt_replace.is_none()
            && opt_rename.is_none()
            && opt_alias.is_none();
        self.allow(plain, "an option of *");
    }

    fn order_by(&mut self, order_by: &mut OrderBy) -> SqlResult {
        let OrderBy { kind, interpolate } = order_by;
        self.allow(interpolate.is_none(), "INTERPOLATE");
        match kind {
            OrderByKind::All(_) => self.reject_unknown("ORDER BY ALL"),
            OrderByKind::Expressions(exprs) => self.order_exprs(exprs),
        }
    }

    pub(super) fn order_exprs(&mut self, exprs: &mut [OrderByExpr]) -> SqlResult {
        for OrderByExpr { expr, options, with_fill } in exprs {
            let OrderByOptions { sort, nulls_first: _ } = options;
            self.allow(with_fill.is_none(), "WITH FILL");
            self.expr(expr)?;
            if let Some(OrderBySort::Using(_)) = sort {
                let known =
                    self.reject(Code::Operator, "ORDER BY USING names an operator", "write ASC or DESC");
                self.collect(known);
            }
        }
        Ok(())
    }
}

/// The names of all CTEs, in lower case, and how many there are.
fn cte_names(statement: &Statement) -> (BTreeSet<String>, usize) {
    #[derive(Default)]
    struct CteNames(BTreeSet<String>, usize);
    impl TreeVisitor for CteNames {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
            for cte in ctes {
                self.0.insert(cte.alias.name.value.to_ascii_lowercase());
                self.1 += 1;
            }
            ControlFlow::Continue(())
        }
    }
    let mut ctes = CteNames::default();
    let _ = walk(statement, &mut ctes);
    (ctes.0, ctes.1)
}
