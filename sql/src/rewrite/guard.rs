//! The guards: a derived table of the tenant's rows in place of a table, or a predicate in front of a condition.

use super::identifiers::{RESERVED, plain_alias, plain_ident};
use super::pass::Pass;
use crate::dialect::Dialect;
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, LockClause, ObjectName, ObjectNamePart, Query, Select,
    SelectFlavor, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};
use sqlparser::keywords::ALL_KEYWORDS;

/// A table that a predicate limits to the tenant's rows.
pub(super) struct Guard {
    pub(super) alias: Ident,
    pub(super) column: String,
    pub(super) table: String,
}

impl Pass<'_> {
    /// `(SELECT * FROM t AS __tnt_t WHERE __tnt_t.tenant_id = $n) AS a`. The guard's alias depends only on the
    /// table's name, so that two equal subqueries stay equal.
    pub(super) fn derived(
        &mut self,
        mut table: TableFactor,
        column: &str,
        alias: TableAlias,
        locks: Vec<LockClause>,
    ) -> TableFactor {
        let own = match &mut table {
            TableFactor::Table { name, alias, .. } => {
                let own = guard_alias(name);
                *alias = Some(plain_alias(own.clone()));
                own
            }
            _ => plain_ident(RESERVED),
        };
        let selection = self.takes_guard().then(|| self.tenant_predicate(own, column));
        let from = vec![TableWithJoins { relation: table, joins: Vec::new() }];
        let mut query =
            query(vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())], from, selection);
        query.locks = locks;
        TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: Some(alias), sample: None }
    }

    /// `a.tenant_id = $n`
    pub(super) fn tenant_predicate(&self, alias: Ident, column: &str) -> Expr {
        Expr::BinaryOp {
            left: Box::new(Expr::CompoundIdentifier(vec![alias, self.column_ident(column)])),
            op: BinaryOperator::Eq,
            right: Box::new(self.tenant()),
        }
    }

    /// Puts the guards in front of the caller's condition.
    pub(super) fn add_guards(
        &mut self,
        selection: &mut Option<Expr>,
        guards: impl IntoIterator<Item = (Ident, String)>,
    ) {
        let mut all = None;
        for (alias, column) in guards {
            if self.takes_guard() {
                let guard = self.tenant_predicate(alias, &column);
                all = Some(match all {
                    None => guard,
                    Some(before) => and(before, guard),
                });
            }
        }
        if let Some(guard) = all {
            *selection = Some(guarded(guard, selection.take()));
        }
    }

    /// The tenant column, in quotes if it is a keyword or has upper-case letters.
    pub(super) fn column_ident(&self, column: &str) -> Ident {
        let keyword = ALL_KEYWORDS.binary_search(&column.to_ascii_uppercase().as_str()).is_ok();
        if !keyword && !column.bytes().any(|b| b.is_ascii_uppercase()) {
            return plain_ident(column);
        }
        Ident::with_quote(if self.dialect == Dialect::Postgres { '"' } else { '`' }, column)
    }
}

/// The guard AND the caller's condition, in parentheses: an OR within must not include the guard.
pub(super) fn guarded(guard: Expr, asked: Option<Expr>) -> Expr {
    match asked {
        None => guard,
        Some(asked @ Expr::Nested(_)) => and(guard, asked),
        Some(asked) => and(guard, Expr::Nested(Box::new(asked))),
    }
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) }
}

fn guard_alias(name: &ObjectName) -> Ident {
    let (value, quote_style) = match name.0.last() {
        Some(ObjectNamePart::Identifier(ident)) => (ident.value.as_str(), ident.quote_style),
        _ => ("", None),
    };
    let value = format!("{RESERVED}_{value}");
    quote_style.map_or_else(|| Ident::new(&value), |quote| Ident::with_quote(quote, &value))
}

/// `SELECT projection FROM from WHERE selection`
pub(super) fn query(
    projection: Vec<SelectItem>,
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
) -> Query {
    let select = Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from,
        lateral_views: Vec::new(),
        prewhere: None,
        selection,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    };
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}
