//! Queries: names in sight, blocks, and the tables of a FROM.

use sqlparser::ast::{
    Cte, Distinct, FunctionArg, GroupByExpr, GroupByWithModifier, Ident, Join, JoinConstraint, JoinOperator,
    LimitClause, LockClause, NamedWindowDefinition, NamedWindowExpr, ObjectName, Offset, OrderBy,
    OrderByExpr, OrderByKind, OrderByOptions, OrderBySort, Parens, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetQuantifier, Statement, TableAlias, TableAliasColumnDef,
    TableFactor, TableFunctionArgs, TableSample, TableSampleKind, TableSampleQuantity, TableWithJoins,
    Values, WildcardAdditionalOptions, With,
};

use super::guard::plain_alias;
use super::{Pass, Verdict};
use crate::Dialect;
use crate::refused::Code;

/// Words that the parser takes for a table's name and Postgres never does: `FROM ONLY t` reads `t`.
const RESERVED_WORDS: [&str; 30] = [
    "all",
    "analyze",
    "any",
    "array",
    "as",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "default",
    "distinct",
    "do",
    "end",
    "fetch",
    "for",
    "from",
    "group",
    "lateral",
    "limit",
    "only",
    "order",
    "select",
    "table",
    "union",
    "user",
    "where",
    "with",
];

/// Where a query stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// The whole statement.
    Top,
    /// The body of a CTE of the statement.
    Cte,
    /// Anywhere else.
    Within,
}

/// How a table of a FROM is kept to the tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Derived,
    /// By a predicate in the block's WHERE.
    Predicate,
}

impl Pass<'_> {
    /// Collects the names of all CTEs, then rewrites.
    pub(super) fn statement(&mut self, statement: &mut Statement) -> Verdict {
        self.cte_names = cte_names(statement);
        match statement {
            Statement::Query(query) => self.query(query, At::Top),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            _ => self.refuse(
                Code::Statement,
                "not a statement about the rows of a tenant",
                "run it apart, as the database's owner: migrations and settings belong to no tenant",
            ),
        }
    }

    pub(super) fn query(&mut self, query: &mut Query, at: At) -> Verdict {
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
        )?;
        self.allow(pipe_operators.is_empty(), "a pipe")?;
        let known = self.scopes.len();
        if let Some(with) = with {
            self.with(with, at)?;
        }
        for LockClause { lock_type: _, of, nonblock: _ } in &*locks {
            self.writes = true;
            let copied = self.dialect == Dialect::MySql;
            self.allow(of.is_none() || !copied, "FOR UPDATE OF")?;
        }
        self.set_expr(body, at, locks)?;
        if let Some(order_by) = order_by {
            self.order_by(order_by)?;
        }
        match limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                self.allow(limit_by.is_empty(), "LIMIT BY")?;
                self.maybe(limit.as_mut())?;
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
            self.allow(!*percent, "FETCH PERCENT")?;
            self.maybe(quantity.as_mut())?;
        }
        self.scopes.truncate(known);
        Ok(())
    }

    fn with(&mut self, with: &mut With, at: At) -> Verdict {
        let With { with_token: _, recursive, cte_tables } = with;
        let at = if at == At::Top { At::Cte } else { At::Within };
        self.scopes.push(Vec::new());
        for Cte { alias, query, from, materialized: _, closing_paren_token: _ } in cte_tables {
            self.allow(from.is_none(), "WITH .. FROM")?;
            self.alias(alias)?;
            let name = self.fold(&alias.name);
            self.not_a_catalog(&name)?;
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
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(name);
        }
    }

    fn set_expr(&mut self, body: &mut SetExpr, at: At, locks: &[LockClause]) -> Verdict {
        match body {
            SetExpr::Select(select) => self.select(select, at, locks),
            SetExpr::Query(query) => self.query(query, At::Within),
            SetExpr::SetOperation { left, op: _, set_quantifier, right } => {
                let known = matches!(
                    set_quantifier,
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None
                );
                self.allow(known, "BY NAME")?;
                self.set_expr(left, At::Within, locks)?;
                self.set_expr(right, At::Within, locks)
            }
            SetExpr::Values(values) => self.values(values),
            SetExpr::Insert(Statement::Insert(insert)) if self.may_write(at) => self.insert(insert),
            SetExpr::Update(Statement::Update(update)) if self.may_write(at) => self.update(update),
            SetExpr::Delete(Statement::Delete(delete)) if self.may_write(at) => self.delete(delete),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.unknown("a write within a query")
            }
            SetExpr::Table(_) => {
                self.refuse(Code::Construct, "TABLE reads a whole table", "write SELECT * FROM it")
            }
        }
    }

    fn may_write(&self, at: At) -> bool {
        at == At::Top || (at == At::Cte && self.dialect == Dialect::Postgres)
    }

    pub(super) fn values(&mut self, values: &mut Values) -> Verdict {
        let Values { explicit_row: _, value_keyword: _, rows } = values;
        for Parens { opening_token: _, content, closing_token: _ } in rows {
            self.exprs(content)?;
        }
        Ok(())
    }

    fn select(&mut self, select: &mut Select, at: At, locks: &[LockClause]) -> Verdict {
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
        self.see(select_token.0.span);
        self.allow(optimizer_hints.is_empty(), "an optimizer hint")?;
        self.allow(select_modifiers.is_none(), "a modifier of SELECT")?;
        self.allow(into.is_none(), "SELECT INTO")?;
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
        self.allow(!rare, "a clause of another database")?;
        match distinct {
            None | Some(Distinct::All | Distinct::Distinct) => {}
            Some(Distinct::On(exprs)) => self.exprs(exprs)?,
        }
        self.items(projection)?;
        self.maybe(selection.as_mut())?;
        let mut grouped = false;
        match group_by {
            GroupByExpr::All(_) => self.unknown("GROUP BY ALL")?,
            GroupByExpr::Expressions(exprs, modifiers) => {
                let known = modifiers.iter().all(|modifier| *modifier == GroupByWithModifier::Rollup);
                self.allow(known, "a modifier of GROUP BY")?;
                grouped = !exprs.is_empty();
                self.exprs(exprs)?;
            }
        }
        self.maybe(having.as_mut())?;
        for NamedWindowDefinition(_, window) in named_window {
            match window {
                NamedWindowExpr::NamedWindow(_) => {}
                NamedWindowExpr::WindowSpec(spec) => self.window(spec)?,
            }
        }
        self.distinct_aliases(from)?;
        let alone = at == At::Top && from.len() == 1 && from.iter().all(|item| item.joins.is_empty());
        let grouped = grouped && self.dialect == Dialect::Postgres;
        let mut guards = Vec::new();
        for item in from {
            self.table_with_joins(item, alone || grouped, locks, &mut guards)?;
        }
        self.inject(selection, guards);
        Ok(())
    }

    fn table_with_joins(
        &mut self,
        item: &mut TableWithJoins,
        predicate: bool,
        locks: &[LockClause],
        guards: &mut Vec<(Ident, String)>,
    ) -> Verdict {
        let TableWithJoins { relation, joins } = item;
        // A predicate in the WHERE asks of every row, so only a table that no join fills up with NULLs may have it.
        let kept = predicate && joins.iter().all(|join| preserves_left(&join.join_operator));
        let form = |kept| if kept { Form::Predicate } else { Form::Derived };
        self.factor(relation, form(kept), locks, guards)?;
        for Join { relation, global, join_operator } in joins {
            self.allow(!*global, "GLOBAL JOIN")?;
            let own = kept && !matches!(join_operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_));
            self.factor(relation, form(own), locks, guards)?;
            self.join(join_operator)?;
        }
        Ok(())
    }

    pub(super) fn join(&mut self, operator: &mut JoinOperator) -> Verdict {
        let constraint = match operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)
            | JoinOperator::CrossJoin(constraint) => constraint,
            JoinOperator::StraightJoin(constraint) if self.dialect == Dialect::MySql => constraint,
            _ => return self.unknown("this kind of join"),
        };
        match constraint {
            JoinConstraint::On(expr) => self.expr(expr),
            JoinConstraint::Using(names) => names.iter().try_for_each(|name| self.parts(name).map(drop)),
            JoinConstraint::Natural | JoinConstraint::None => Ok(()),
        }
    }

    /// One item of a FROM that is only read.
    pub(super) fn source(&mut self, item: &mut TableWithJoins) -> Verdict {
        self.distinct_aliases(std::slice::from_ref(item))?;
        self.table_with_joins(item, false, &[], &mut Vec::new())
    }

    pub(super) fn source_factor(&mut self, factor: &mut TableFactor) -> Verdict {
        self.factor(factor, Form::Derived, &[], &mut Vec::new())
    }

    fn factor(
        &mut self,
        factor: &mut TableFactor,
        form: Form,
        locks: &[LockClause],
        guards: &mut Vec<(Ident, String)>,
    ) -> Verdict {
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
                self.allow(plain, "a clause of this table function")?;
                self.table_function(name, args, alias.as_ref())
            }
            TableFactor::Table { args: None, .. } => self.table(factor, form, locks, guards),
            TableFactor::Derived { lateral: _, subquery, alias, sample } => {
                self.allow(sample.is_none(), "TABLESAMPLE of a query")?;
                self.maybe_alias(alias.as_ref())?;
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
                self.allow(!*with_offset && with_offset_alias.is_none(), "WITH OFFSET")?;
                self.maybe_alias(alias.as_ref())?;
                self.exprs(array_exprs)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.maybe_alias(alias.as_ref())?;
                self.table_with_joins(table_with_joins, false, locks, &mut Vec::new())
            }
            _ => self.unknown("this kind of table"),
        }
    }

    fn table_function(
        &mut self,
        name: &ObjectName,
        args: &mut [FunctionArg],
        alias: Option<&TableAlias>,
    ) -> Verdict {
        self.maybe_alias(alias)?;
        self.function_name(name)?;
        self.arguments(args)
    }

    /// A named table: shared, a CTE, or put behind its guard.
    fn table(
        &mut self,
        factor: &mut TableFactor,
        form: Form,
        locks: &[LockClause],
        guards: &mut Vec<(Ident, String)>,
    ) -> Verdict {
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
            return self.unknown("this");
        };
        let plain = with_hints.is_empty() && version.is_none() && !*with_ordinality && json_path.is_none();
        let parts = self.parts(name)?;
        self.allow(plain, "a clause of this table")?;
        if let Some(TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) =
            sample
        {
            self.sample(sample)?;
        }
        self.maybe_alias(alias.as_ref())?;
        let has_sample = sample.is_some();
        let Some(column) = self.resolve(&parts)? else {
            return Ok(());
        };
        let Some(last) = parts.last() else { return Ok(()) };
        let columns = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
        let alias = alias.take().unwrap_or_else(|| plain_alias(unspanned(last)));
        if form == Form::Predicate && !columns && (!has_sample || self.dialect == Dialect::Postgres) {
            let written = if alias.name.value == last.value && alias.name.quote_style == last.quote_style {
                None
            } else {
                Some(alias.clone())
            };
            if let TableFactor::Table { alias: slot, .. } = factor {
                *slot = written;
            }
            guards.push((alias.name, column));
            return Ok(());
        }
        let copied = if self.dialect == Dialect::MySql { locks.to_vec() } else { Vec::new() };
        let table =
            std::mem::replace(factor, TableFactor::TableFunction { expr: self.tenant(), alias: None });
        *factor = self.derived(table, &column, alias, copied);
        Ok(())
    }

    /// The tenant column of a table that is read; none for a shared table and for a CTE.
    fn resolve(&mut self, parts: &[Ident]) -> Verdict<Option<String>> {
        if let [name] = parts {
            let folded = self.fold(name);
            if self.scopes.iter().flatten().any(|cte| *cte == folded) {
                return Ok(None);
            }
            self.not_a_cte(&folded)?;
        }
        let name = self.table_name(parts)?;
        let access = self.schema.access(self.dialect, &name);
        self.tables.insert(name);
        Ok(access.tenant.map(str::to_owned))
    }

    pub(super) fn not_a_cte(&self, folded: &str) -> Verdict {
        if self.cte_names.contains(&folded.to_ascii_lowercase()) {
            return self.refuse(
                Code::CteName,
                format!("`{folded}` is a CTE elsewhere in this statement and would be a table here"),
                "rename the CTE",
            );
        }
        Ok(())
    }

    /// The name of a table as the database resolves it, if it is no catalogue's.
    pub(super) fn table_name(&self, parts: &[Ident]) -> Verdict<String> {
        for part in parts {
            self.not_a_catalog(&part.value.to_ascii_lowercase())?;
            if part.quote_style == Some('\'') {
                return self.refuse(Code::Name, "a table's name in quotes for text", "quote it as a name");
            }
            let lower = part.value.to_ascii_lowercase();
            if self.dialect == Dialect::Postgres
                && part.quote_style.is_none()
                && RESERVED_WORDS.contains(&&*lower)
            {
                let why = format!("`{lower}` is a word of the database's own and no table's name");
                return self.refuse(Code::Name, why, "leave it out; if it is a name, quote it");
            }
        }
        if parts.is_empty() || parts.len() > 2 {
            return self.refuse(
                Code::Name,
                "a table's name of more than two parts",
                "leave the database's name out",
            );
        }
        Ok(parts.iter().map(|part| self.fold(part)).collect::<Vec<_>>().join("."))
    }

    fn not_a_catalog(&self, lower: &str) -> Verdict {
        let system = match self.dialect {
            Dialect::Postgres => lower.starts_with("pg_") || lower == "information_schema",
            Dialect::Sqlite => {
                lower.starts_with("sqlite_") || lower.starts_with("pragma_") || lower.starts_with("dbstat")
            }
            Dialect::MySql => {
                matches!(lower, "information_schema" | "mysql" | "performance_schema" | "sys")
            }
        };
        if system {
            return self.refuse(
                Code::Catalog,
                "the database's catalogue holds what other tenants stored",
                "read it apart, as the database's owner",
            );
        }
        Ok(())
    }

    fn sample(&mut self, sample: &mut TableSample) -> Verdict {
        let TableSample { modifier: _, name: _, quantity, seed: _, bucket, offset } = sample;
        self.allow(bucket.is_none() && offset.is_none(), "a bucket of a sample")?;
        match quantity {
            None => Ok(()),
            Some(TableSampleQuantity { parenthesized: _, value, unit: _ }) => self.expr(value),
        }
    }

    /// Two tables of one name in one FROM: which of them a column belongs to depends on the database.
    fn distinct_aliases(&mut self, from: &[TableWithJoins]) -> Verdict {
        let mut seen = Vec::new();
        for item in from {
            for factor in std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
            {
                let Some(alias) = alias_of(factor) else { continue };
                let lower = alias.value.to_ascii_lowercase();
                if seen.contains(&lower) {
                    self.see_ident(&alias);
                    let why = format!("two tables are called `{}` here", alias.value);
                    return self.refuse(Code::Name, why, "give one of them an alias");
                }
                seen.push(lower);
            }
        }
        Ok(())
    }

    pub(super) fn maybe_alias(&mut self, alias: Option<&TableAlias>) -> Verdict {
        alias.map_or(Ok(()), |alias| self.alias(alias))
    }

    fn alias(&mut self, alias: &TableAlias) -> Verdict {
        let TableAlias { explicit: _, name, columns, at } = alias;
        self.see_ident(name);
        self.allow(at.is_none(), "AT")?;
        self.allow(name.quote_style != Some('\''), "a name in quotes for text")?;
        for TableAliasColumnDef { name: _, data_type } in columns {
            if let Some(data_type) = data_type {
                self.data_type(data_type)?;
            }
        }
        Ok(())
    }

    pub(super) fn items(&mut self, items: &mut [SelectItem]) -> Verdict {
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, alias: _ } => {
                    self.expr(expr)?
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    self.parts(name)?;
                    self.wildcard(options)?;
                }
                SelectItem::Wildcard(options) => self.wildcard(options)?,
                SelectItem::ExprWithAliases { .. }
                | SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                    self.unknown("this item")?;
                }
            }
        }
        Ok(())
    }

    fn wildcard(&self, options: &WildcardAdditionalOptions) -> Verdict {
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
        self.allow(plain, "an option of *")
    }

    fn order_by(&mut self, order_by: &mut OrderBy) -> Verdict {
        let OrderBy { kind, interpolate } = order_by;
        self.allow(interpolate.is_none(), "INTERPOLATE")?;
        match kind {
            OrderByKind::All(_) => self.unknown("ORDER BY ALL"),
            OrderByKind::Expressions(exprs) => self.order_exprs(exprs),
        }
    }

    pub(super) fn order_exprs(&mut self, exprs: &mut [OrderByExpr]) -> Verdict {
        for OrderByExpr { expr, options, with_fill } in exprs {
            let OrderByOptions { sort, nulls_first: _ } = options;
            self.allow(with_fill.is_none(), "WITH FILL")?;
            if let Some(OrderBySort::Using(_)) = sort {
                self.refuse(Code::Operator, "ORDER BY USING names an operator", "write ASC or DESC")?;
            }
            self.expr(expr)?;
        }
        Ok(())
    }
}

/// Whether every row of the left side stays as it is, never filled up with NULLs.
fn preserves_left(operator: &JoinOperator) -> bool {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => {
            matches!(constraint, JoinConstraint::On(_) | JoinConstraint::None)
        }
        _ => false,
    }
}

/// The name under which a table of a FROM is known.
pub(super) fn alias_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { name, alias, .. } => alias
            .as_ref()
            .map(|alias| alias.name.clone())
            .or_else(|| name.0.last().and_then(|part| part.as_ident().cloned())),
        TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias.as_ref().map(|alias| alias.name.clone()),
        _ => None,
    }
}

fn unspanned(ident: &Ident) -> Ident {
    ident.quote_style.map_or_else(|| Ident::new(&ident.value), |quote| Ident::with_quote(quote, &ident.value))
}

fn cte_names(statement: &Statement) -> std::collections::BTreeSet<String> {
    use std::ops::ControlFlow;

    struct Names(std::collections::BTreeSet<String>);
    impl sqlparser::ast::Visitor for Names {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
            self.0.extend(ctes.map(|cte| cte.alias.name.value.to_ascii_lowercase()));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(std::collections::BTreeSet::new());
    let _ = sqlparser::ast::Visit::visit(statement, &mut names);
    names.0
}
