//! GROUP BY a primary key, which other columns depend on: if the tenant is a part of the key, the rewriter adds it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, ObjectNamePart, SelectItem, Value, ValueWithSpan};

use super::guard::Guard;
use super::pass::Pass;
use super::walk::{TreeVisitor, walk};
use crate::dialect::Dialect;

/// The built-in aggregates of PostgreSQL, whose arguments need not be grouped by.
const AGGREGATES: &str = "
any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp every json_agg
json_object_agg jsonb_agg jsonb_object_agg max min mode percentile_cont percentile_disc range_agg range_intersect_agg
regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop
stddev_samp string_agg sum var_pop var_samp variance
";

impl Pass<'_> {
    /// Adds the tenant column of each table to the GROUP BY, if the statement reads a column of it that is not
    /// grouped by.
    ///
    /// The tenant is the same in all rows, so this splits no group. For a table that a join fills with NULLs
    /// (`filled_up`) this holds only if its primary key is grouped by too, which is never NULL in rows of the table.
    pub(super) fn group_by_tenant(
        &self,
        exprs: &mut Vec<Expr>,
        (items, others): (&[SelectItem], &[&Expr]),
        (guards, filled_up): (&[Guard], &[Guard]),
    ) {
        // With grouping sets alone it would remove the group of no rows.
        if self.dialect != Dialect::Postgres || !exprs.iter().any(is_plain) {
            return;
        }
        let read = self.read_beside(exprs, items, others);
        let needed = |guard: &&Guard| {
            read.iter().any(|column| match column {
                None => true,
                Some(of) => self.fold(of) == self.fold(&guard.alias),
            })
        };
        // A known primary key without the tenant column is enough.
        let led = |guard: &&Guard| {
            self.schema.primary_key(&guard.table).is_none_or(|columns| columns.contains(&guard.column))
        };
        let by_key = |guard: &&Guard| {
            let by = |column: &&String| {
                exprs.iter().flat_map(|expr| grouped_exprs(expr, items)).any(|expr| {
                    matches!(expr, Expr::CompoundIdentifier(idents) if matches!(&idents[..], [of, name]
                        if self.fold(of) == self.fold(&guard.alias) && self.fold(name) == **column))
                })
            };
            let others = |columns: &BTreeSet<String>| {
                columns.len() > 1
                    && columns.iter().filter(|column| **column != guard.column).all(|column| by(&column))
            };
            self.schema.primary_key(&guard.table).is_some_and(others)
        };
        let own: Vec<Expr> = guards
            .iter()
            .chain(filled_up.iter().filter(by_key))
            .filter(|guard| led(guard) && needed(guard))
            .map(|guard| {
                Expr::CompoundIdentifier(vec![guard.alias.clone(), self.column_ident(&guard.column)])
            })
            .collect();
        exprs.extend(own);
    }

    /// The tables whose columns are read and not grouped by; `None` for a column without a table name.
    fn read_beside(&self, grouped: &[Expr], items: &[SelectItem], others: &[&Expr]) -> Vec<Option<Ident>> {
        let mut reader = Reader { pass: self, grouped, hidden: 0, found: Vec::new() };
        for (n, item) in (1..).zip(items) {
            let (expr, alias) = match item {
                SelectItem::UnnamedExpr(expr) => (expr, None),
                SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
                _ => {
                    reader.found.push(None);
                    continue;
                }
            };
            let by_place = grouped.iter().any(|by| match by {
                Expr::Value(ValueWithSpan { value: Value::Number(place, _), .. }) => *place == n.to_string(),
                Expr::Identifier(name) => alias.is_some_and(|alias| self.fold(alias) == self.fold(name)),
                _ => false,
            });
            if !by_place {
                let _ = walk(expr, &mut reader);
            }
        }
        // ORDER BY may name a selected item.
        let named = |expr: &&Expr| {
            let is = |name: &Ident| {
                items.iter().any(|item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if self.fold(alias) == self.fold(name)))
            };
            matches!(expr, Expr::Identifier(name) if is(name))
        };
        for expr in others.iter().filter(|expr| !named(expr)) {
            let _ = walk(*expr, &mut reader);
        }
        reader.found
    }
}

/// Whether this is a plain item of a GROUP BY, not a grouping set.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => false,
        Expr::Tuple(exprs) => !exprs.is_empty(),
        _ => true,
    }
}

/// The expressions of one item of a GROUP BY: an item of the SELECT by its position, or each part of a tuple.
fn grouped_exprs<'e>(expr: &'e Expr, items: &'e [SelectItem]) -> Vec<&'e Expr> {
    match expr {
        Expr::Tuple(exprs) => exprs.iter().collect(),
        Expr::Nested(expr) => vec![expr],
        Expr::Value(ValueWithSpan { value: Value::Number(place, _), .. }) => {
            let item = place.parse::<usize>().ok().and_then(|n| items.get(n.checked_sub(1)?));
            match item {
                Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => vec![expr],
                _ => Vec::new(),
            }
        }
        _ => vec![expr],
    }
}

struct Reader<'a> {
    pass: &'a Pass<'a>,
    grouped: &'a [Expr],
    /// The number of enclosing expressions that are grouped by, or are aggregates.
    hidden: usize,
    found: Vec<Option<Ident>>,
}

impl Reader<'_> {
    fn hides(&self, expr: &Expr) -> bool {
        self.grouped.contains(expr) || is_aggregate(expr) || self.is_grouped(expr)
    }

    /// `o.id` is grouped by where `id` is.
    fn is_grouped(&self, expr: &Expr) -> bool {
        let parts = |expr: &Expr| match expr {
            Expr::Identifier(name) => Some((None, self.pass.fold(name))),
            Expr::CompoundIdentifier(idents) => match &idents[..] {
                [.., of, name] => Some((Some(self.pass.fold(of)), self.pass.fold(name))),
                _ => None,
            },
            _ => None,
        };
        let Some((of, name)) = parts(expr) else { return false };
        self.grouped
            .iter()
            .filter_map(parts)
            .any(|(other, by)| by == name && (of.is_none() || other.is_none() || of == other))
    }
}

impl TreeVisitor for Reader<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.hides(expr) {
            self.hidden += 1;
        } else if self.hidden == 0 {
            match expr {
                Expr::Identifier(_) => self.found.push(None),
                Expr::CompoundIdentifier(idents) => {
                    self.found.extend(idents.iter().rev().nth(1).cloned().map(Some));
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.hidden -= usize::from(self.hides(expr));
        ControlFlow::Continue(())
    }
}

fn is_aggregate(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    let [ObjectNamePart::Identifier(name)] = &function.name.0[..] else { return false };
    function.over.is_none()
        && AGGREGATES.split_whitespace().any(|known| name.value.eq_ignore_ascii_case(known))
}
