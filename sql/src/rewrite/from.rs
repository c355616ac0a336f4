//! The tables of a FROM: which of them are guarded, and in which form.

use std::collections::BTreeSet;

use sqlparser::ast::{
    Expr, FunctionArg, Ident, Join, JoinConstraint, JoinOperator, LockClause, ObjectName, TableAlias,
    TableAliasColumnDef, TableFactor, TableFunctionArgs, TableSample, TableSampleKind, TableSampleQuantity,
    TableWithJoins, Value,
};

use super::guard::plain_alias;
use super::query::At;
use super::{Pass, SqlResult};
use crate::Dialect;
use crate::rejection::Code;
use crate::schema::Access;

/// The most tables that one statement reads, counted each time they are named: the proof compares each with each.
const MOST_TABLES: usize = 256;

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

/// A table that a predicate keeps to the tenant.
pub(super) struct Guard {
    pub(super) alias: Ident,
    pub(super) column: String,
    pub(super) table: String,
}

/// How a table of a FROM is kept to the tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Derived,
    /// By a predicate in the block's WHERE.
    Predicate,
}

impl<'a> Pass<'a> {
    /// What may be done with a table, given its name as the database resolves it.
    pub(super) fn access(&self, name: &str) -> SqlResult<Access<'a>> {
        if name.rsplit('.').next().is_some_and(|last| last.to_ascii_lowercase().starts_with("tenancy_")) {
            return self.refuse(
                Code::Reserved,
                format!("`{name}` is a table of `tenancy`, which is not for SQL of your own"),
                "use the methods of the crate for it; a table of your own must have another name",
            );
        }
        let access = self.schema.access(self.dialect, name);
        if let (Some(column), true) = (access.tenant, self.schema.lacks_tenant(self.dialect, name)) {
            return self.refuse(
                Code::NoTenantColumn,
                format!("`{name}` has no column `{column}`, so it cannot be said whose its rows are"),
                "give it one; or, if every tenant may read all of it, declare it under `shared` in tenancy.toml",
            );
        }
        Ok(access)
    }
}

impl Pass<'_> {
    /// Collects the guards for the block's WHERE, and those that went into the ON of a join, which can fill their
    /// tables up with NULLs.
    pub(super) fn table_with_joins(
        &mut self,
        item: &mut TableWithJoins,
        predicate: bool,
        locks: &[LockClause],
        guards: &mut Vec<Guard>,
        filled_up: &mut Vec<Guard>,
    ) -> SqlResult {
        let TableWithJoins { relation, joins } = item;
        let places: Vec<Place> =
            (0..=joins.len()).map(|n| if predicate { place(joins, n) } else { Place::Behind }).collect();
        let form = |place| if place == Place::Behind { Form::Derived } else { Form::Predicate };
        let mut beside = Vec::new();
        self.factor(relation, form(places[0]), locks, &mut beside)?;
        if places[0] == Place::Where {
            guards.append(&mut beside);
        }
        for (Join { relation, global, join_operator }, place) in joins.iter_mut().zip(&places[1..]) {
            self.allow(!*global, "GLOBAL JOIN")?;
            // The parser takes what follows such a join into parentheses that nobody wrote.
            let bare = matches!(
                join_operator,
                JoinOperator::Join(JoinConstraint::None)
                    | JoinOperator::Inner(JoinConstraint::None)
                    | JoinOperator::StraightJoin(JoinConstraint::None)
            );
            if bare && self.dialect == Dialect::MySql && matches!(relation, TableFactor::NestedJoin { .. }) {
                let why = "a join without ON in front of another one can be read in two ways";
                return self.refuse(Code::Construct, why, "write CROSS JOIN, or ON true");
            }
            let own = if *place == Place::Where { &mut *guards } else { &mut beside };
            self.factor(relation, form(*place), locks, own)?;
            self.join(join_operator)?;
            if let (false, Some(on)) = (beside.is_empty(), condition_of(join_operator)) {
                let mut both = Some(std::mem::replace(on, Expr::Value(Value::Null.into())));
                self.inject(
                    &mut both,
                    beside.iter().map(|guard| (guard.alias.clone(), guard.column.clone())),
                );
                filled_up.append(&mut beside);
                *on = both.unwrap_or_else(|| Expr::Value(Value::Null.into()));
            }
        }
        Ok(())
    }

    pub(super) fn join(&mut self, operator: &mut JoinOperator) -> SqlResult {
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
    pub(super) fn source(&mut self, item: &mut TableWithJoins) -> SqlResult {
        self.distinct_aliases(std::slice::from_ref(item))?;
        self.table_with_joins(item, false, &[], &mut Vec::new(), &mut Vec::new())
    }

    pub(super) fn source_factor(&mut self, factor: &mut TableFactor) -> SqlResult {
        self.factor(factor, Form::Derived, &[], &mut Vec::new())
    }

    fn factor(
        &mut self,
        factor: &mut TableFactor,
        form: Form,
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
                self.table_with_joins(table_with_joins, false, locks, &mut Vec::new(), &mut Vec::new())
            }
            _ => self.unknown("this kind of table"),
        }
    }

    fn table_function(
        &mut self,
        name: &ObjectName,
        args: &mut [FunctionArg],
        alias: Option<&TableAlias>,
    ) -> SqlResult {
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
            return self.unknown("this");
        };
        let plain = with_hints.is_empty() && version.is_none() && !*with_ordinality && json_path.is_none();
        let parts = self.parts(name)?;
        self.allow(plain, "a clause of this table")?;
        self.no_text(&parts)?;
        if let Some(TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) =
            sample
        {
            self.sample(sample)?;
        }
        self.maybe_alias(alias.as_ref())?;
        let has_sample = sample.is_some();
        let Some((table, column)) = self.resolve(&parts)? else {
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
            guards.push(Guard { alias: alias.name, column, table });
            return Ok(());
        }
        let copied = if self.dialect == Dialect::MySql { locks.to_vec() } else { Vec::new() };
        let table =
            std::mem::replace(factor, TableFactor::TableFunction { expr: self.tenant(), alias: None });
        *factor = self.derived(table, &column, alias, copied);
        Ok(())
    }

    /// A table that is read, and its tenant column; none for a shared table and for a CTE.
    fn resolve(&mut self, parts: &[Ident]) -> SqlResult<Option<(String, String)>> {
        self.sources += 1;
        if self.sources > MOST_TABLES {
            let why = format!("more than {MOST_TABLES} tables in one statement");
            return self.refuse(Code::TooLong, why, "split it into several statements");
        }
        if let [name] = parts {
            if is_dual(self.dialect, name) {
                return Ok(None);
            }
            let folded = self.fold(name);
            if self.scopes.iter().flatten().any(|cte| *cte == folded) {
                return Ok(None);
            }
            self.not_a_cte(&folded)?;
        }
        let name = self.table_name(parts)?;
        let access = self.access(&name)?;
        self.read.insert(name.clone());
        self.tables.insert(name.clone());
        Ok(access.tenant.map(|column| (name, column.to_owned())))
    }

    pub(super) fn not_a_cte(&self, folded: &str) -> SqlResult {
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
    pub(super) fn table_name(&self, parts: &[Ident]) -> SqlResult<String> {
        self.no_dot(parts)?;
        self.no_text(parts)?;
        for part in parts {
            self.not_a_catalog(&part.value.to_ascii_lowercase())?;
            let lower = part.value.to_ascii_lowercase();
            let reserved =
                lower == "select" || (self.dialect == Dialect::Postgres && RESERVED_WORDS.contains(&&*lower));
            if part.quote_style.is_none() && reserved {
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

    fn no_text(&self, parts: &[Ident]) -> SqlResult {
        if parts.iter().any(|part| part.quote_style == Some('\'')) {
            return self.refuse(Code::Name, "a table's name in quotes for text", "quote it as a name");
        }
        Ok(())
    }

    /// `"public.plans"` is one name and not the table `plans` of the schema `public`.
    pub(super) fn no_dot(&self, parts: &[Ident]) -> SqlResult {
        if parts.iter().any(|part| part.value.contains('.')) {
            return self.refuse(Code::Name, "a name with a dot in it", "quote each part on its own");
        }
        Ok(())
    }

    pub(super) fn not_a_catalog(&self, lower: &str) -> SqlResult {
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

    fn sample(&mut self, sample: &mut TableSample) -> SqlResult {
        let TableSample { modifier: _, name: _, quantity, seed: _, bucket, offset } = sample;
        self.allow(bucket.is_none() && offset.is_none(), "a bucket of a sample")?;
        match quantity {
            None => Ok(()),
            Some(TableSampleQuantity { parenthesized: _, value, unit: _ }) => self.expr(value),
        }
    }

    /// Two tables of one name in one FROM: which of them a column belongs to depends on the database.
    pub(super) fn distinct_aliases(&mut self, from: &[TableWithJoins]) -> SqlResult {
        let mut seen = BTreeSet::new();
        for item in from {
            for factor in std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
            {
                let Some(alias) = alias_of(factor) else { continue };
                if !seen.insert(alias.value.to_ascii_lowercase()) {
                    self.see_ident(&alias);
                    let why = format!("two tables are called `{}` here", alias.value);
                    return self.refuse(Code::Name, why, "give one of them an alias");
                }
            }
        }
        Ok(())
    }

    pub(super) fn maybe_alias(&mut self, alias: Option<&TableAlias>) -> SqlResult {
        alias.map_or(Ok(()), |alias| self.alias(alias))
    }

    pub(super) fn alias(&mut self, alias: &TableAlias) -> SqlResult {
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
}

/// Where the predicate of a table of a join stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the block's WHERE: no join fills the table up with NULLs.
    Where,
    /// In the ON of the join that the table takes part in first, which keeps none of its rows that do not fit.
    On,
    /// Nowhere: the table goes behind a guard.
    Behind,
}

/// The place for the table `n` of a chain of joins; the first one stands before them all.
fn place(joins: &[Join], n: usize) -> Place {
    use JoinOperator as J;
    let filled_up =
        |join: &Join| matches!(join.join_operator, J::Right(_) | J::RightOuter(_) | J::FullOuter(_));
    let stays = !joins[n..].iter().any(filled_up);
    let own = match n {
        0 => joins.first(),
        n => joins.get(n - 1),
    };
    let Some(own) = own else { return Place::Where };
    let on = match &own.join_operator {
        J::Join(JoinConstraint::On(_)) | J::Inner(JoinConstraint::On(_)) => Place::On,
        J::Left(JoinConstraint::On(_)) | J::LeftOuter(JoinConstraint::On(_)) if n > 0 => Place::On,
        J::Right(JoinConstraint::On(_)) | J::RightOuter(JoinConstraint::On(_)) if n == 0 => Place::On,
        _ => Place::Behind,
    };
    match &own.join_operator {
        _ if n == 0 && stays => Place::Where,
        J::Join(_) | J::Inner(_) | J::CrossJoin(_) | J::Right(_) | J::RightOuter(_) if n > 0 && stays => {
            Place::Where
        }
        _ => on,
    }
}

/// The condition of a join.
pub(super) fn condition_of(operator: &mut JoinOperator) -> Option<&mut Expr> {
    match operator {
        JoinOperator::Join(JoinConstraint::On(expr))
        | JoinOperator::Inner(JoinConstraint::On(expr))
        | JoinOperator::Left(JoinConstraint::On(expr))
        | JoinOperator::LeftOuter(JoinConstraint::On(expr))
        | JoinOperator::Right(JoinConstraint::On(expr))
        | JoinOperator::RightOuter(JoinConstraint::On(expr)) => Some(expr),
        _ => None,
    }
}

/// MySQL's `FROM DUAL`, which is no table; in quotes it is the name of one.
pub(super) fn is_dual(dialect: Dialect, name: &Ident) -> bool {
    dialect == Dialect::MySql && name.quote_style.is_none() && name.value.eq_ignore_ascii_case("dual")
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
