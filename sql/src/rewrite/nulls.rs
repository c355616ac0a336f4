//! Finds columns that an outer join makes null, but that sqlx's macros would take for never null.
//!
//! sqlx finds outer joins in the plan that PostgreSQL makes with NULL for every parameter. A guard then compares the
//! tenant with NULL, which is never true, so the plan is empty and shows no join. sqlx then relies on the NOT NULL of
//! the tables. So a statement with an outer join must mark the columns that may be null.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, Expr, Ident, Join, JoinOperator, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, Spanned, Statement, TableFactor, TableWithJoins, UpdateTableFromKind,
};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token};

use super::identifiers::fold;
use super::parse::statements_of;
use super::text;
use super::tokens::place;
use super::walk::{TreeVisitor, walk};
use crate::dialect::Dialect;
use crate::rejection::{Code, Rejection, explain};

/// Rejects a PostgreSQL statement with a column that an outer join could make null, unless the column has one of
/// sqlx's markers: `AS "name?"` or `AS "name!"`.
///
/// For statements that [`rewrite`](super::rewrite) accepts.
///
/// # Errors
/// [`Code::Nullability`] at the first such column.
pub fn check_nullability(sql: &str) -> Result<(), Rejection> {
    let text = text::read(Dialect::Postgres, sql)?;
    let outer = |keyword| matches!(keyword, Keyword::LEFT | Keyword::RIGHT | Keyword::FULL);
    if !text.tokens.iter().any(|token| matches!(&token.token, Token::Word(word) if outer(word.keyword))) {
        return Ok(());
    }
    let statements = statements_of(Dialect::Postgres, sql, text)?;
    let Some((column, span)) = statements.iter().find_map(maybe_null) else { return Ok(()) };
    Err(Rejection::new(
        Code::Nullability,
        sql,
        place(span),
        explain(
            format!("the outer join could make `{column}` null, and sqlx cannot see that through the guard"),
            format!("write AS \"{column}?\" if it may be null, or AS \"{column}!\" if it never is"),
        ),
    ))
}

/// The first column of the result that could be null and has no marker.
fn maybe_null(statement: &Statement) -> Option<(String, Span)> {
    if walk(statement, &mut OuterJoins).is_continue() {
        return None;
    }
    maybe_null_in_statement(statement, &[])
}

/// `ctes` are those of the enclosing queries.
fn maybe_null_in_statement(statement: &Statement, ctes: &[&Ident]) -> Option<(String, Span)> {
    match statement {
        Statement::Query(query) => maybe_null_in_query(query, ctes),
        // It returns columns of its target only.
        Statement::Insert(_) => None,
        Statement::Update(update) => maybe_null_in_items(update.returning.as_deref()?, |_| false),
        Statement::Delete(delete) => maybe_null_in_items(delete.returning.as_deref()?, |_| false),
        _ => Some(("*".to_owned(), statement.span())),
    }
}

fn maybe_null_in_query(query: &Query, around: &[&Ident]) -> Option<(String, Span)> {
    let own = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| &cte.alias.name);
    let ctes: Vec<&Ident> = around.iter().copied().chain(own).collect();
    match &*query.body {
        SetExpr::Query(query) => maybe_null_in_query(query, &ctes),
        SetExpr::Select(select) => {
            let never_null = never_null_tables(select, &ctes);
            maybe_null_in_items(&select.projection, |table| never_null.iter().any(|name| same(name, table)))
        }
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => maybe_null_in_statement(statement, &ctes),
        // A column of UNION and the like belongs to no table, so sqlx takes it for nullable.
        SetExpr::SetOperation { .. } | SetExpr::Values(_) | SetExpr::Table(_) => None,
    }
}

fn same(one: &Ident, other: &Ident) -> bool {
    fold(Dialect::Postgres, one) == fold(Dialect::Postgres, other)
}

fn maybe_null_in_items(items: &[SelectItem], never_null: impl Fn(&Ident) -> bool) -> Option<(String, Span)> {
    items.iter().find_map(|item| match item {
        SelectItem::UnnamedExpr(expr) => maybe_null_column(expr, &never_null),
        SelectItem::ExprWithAlias { expr, alias } => {
            let column = maybe_null_column(expr, &never_null)?;
            (!has_null_marker(&alias.value)).then_some((alias.value.clone(), column.1))
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _)
            if matches!(&name.0[..], [part] if part.as_ident().is_some_and(&never_null)) =>
        {
            None
        }
        item => Some(("*".to_owned(), item.span())),
    })
}

/// A plain column keeps the NOT NULL of its table, also under a cast to its own type. sqlx takes computed columns for
/// nullable.
fn maybe_null_column(expr: &Expr, never_null: &impl Fn(&Ident) -> bool) -> Option<(String, Span)> {
    match expr {
        Expr::Nested(expr) | Expr::Cast { expr, .. } => maybe_null_column(expr, never_null),
        Expr::Identifier(column) => Some((column.value.clone(), column.span)),
        Expr::CompoundIdentifier(parts) => match &parts[..] {
            [table, _] if never_null(table) => None,
            [.., column] => Some((column.value.clone(), expr.span())),
            [] => None,
        },
        // `(c).name`, where `c` is a table.
        Expr::CompoundFieldAccess { root, access_chain } => match (&**root, &access_chain[..]) {
            (Expr::Nested(row), _) if matches!(&**row, Expr::Identifier(table) if never_null(table)) => None,
            (Expr::Nested(_), [AccessExpr::Dot(Expr::Identifier(column))]) => {
                Some((column.value.clone(), expr.span()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether an alias has a marker of sqlx: `name?` or `name!`, also before `: Type`.
fn has_null_marker(alias: &str) -> bool {
    let name = alias.split(':').next().unwrap_or_default().trim_end();
    name.ends_with(['?', '!'])
}

/// The names of the tables of a FROM that no outer join makes null, neither in this FROM nor in a nested query.
fn never_null_tables<'a>(select: &'a Select, ctes: &[&Ident]) -> Vec<&'a Ident> {
    let mut never_null = Vec::new();
    for item in &select.from {
        never_null.extend(never_null_in_item(item, ctes));
    }
    never_null
}

fn never_null_in_item<'a>(item: &'a TableWithJoins, ctes: &[&Ident]) -> Vec<&'a Ident> {
    let mut never_null = never_null_in_factor(&item.relation, ctes);
    for Join { relation, join_operator, .. } in &item.joins {
        let right = never_null_in_factor(relation, ctes);
        match join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => {
                never_null.extend(right);
            }
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => {}
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => never_null = right,
            _ => never_null.clear(),
        }
    }
    never_null
}

fn never_null_in_factor<'a>(factor: &'a TableFactor, ctes: &[&Ident]) -> Vec<&'a Ident> {
    match factor {
        TableFactor::Table { name, alias, .. } => {
            let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return Vec::new() };
            if ctes.iter().any(|cte| cte.value.eq_ignore_ascii_case(&last.value)) {
                return Vec::new();
            }
            vec![alias.as_ref().map_or(last, |alias| &alias.name)]
        }
        TableFactor::NestedJoin { table_with_joins, alias: None } => {
            never_null_in_item(table_with_joins, ctes)
        }
        _ => Vec::new(),
    }
}

/// Breaks at the first outer join, however deep.
struct OuterJoins;

impl TreeVisitor for OuterJoins {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        match &*query.body {
            SetExpr::Select(select) => outer(&select.from),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => outer(std::slice::from_ref(table_with_joins)),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Update(update) => {
                outer(std::slice::from_ref(&update.table))?;
                match &update.from {
                    Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => {
                        outer(from)
                    }
                    None => ControlFlow::Continue(()),
                }
            }
            Statement::Delete(delete) => outer(delete.using.as_deref().unwrap_or_default()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn outer(from: &[TableWithJoins]) -> ControlFlow<()> {
    let inner = |join: &Join| {
        matches!(
            join.join_operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        )
    };
    if from.iter().all(|item| item.joins.iter().all(inner)) {
        return ControlFlow::Continue(());
    }
    ControlFlow::Break(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maybe_null(sql: &str) -> Option<String> {
        check_nullability(sql).err().map(|rejected| {
            assert_eq!(rejected.code(), Code::Nullability, "{rejected}");
            rejected.help().split('"').nth(1).unwrap().to_owned()
        })
    }

    #[test]
    fn a_column_that_an_outer_join_makes_null_must_say_so() {
        for (sql, wanted) in [
            ("SELECT name FROM customers", None),
            ("SELECT o.id, c.name FROM orders o JOIN customers c ON true", None),
            ("SELECT o.id FROM orders o LEFT JOIN customers c ON true", None),
            ("SELECT o.*, count(*) FROM orders o LEFT JOIN customers c ON true", None),
            ("SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON true", Some("name?")),
            ("SELECT (c.name) FROM orders o LEFT OUTER JOIN customers c ON true", Some("name?")),
            ("SELECT c.name AS n FROM orders o LEFT JOIN customers c ON true", Some("n?")),
            ("SELECT c.name AS \"n?\" FROM orders o LEFT JOIN customers c ON true", None),
            ("SELECT c.name AS \"n! \" FROM orders o LEFT JOIN customers c ON true", None),
            ("SELECT c.name AS \"n?: Name\" FROM orders o LEFT JOIN customers c ON true", None),
            ("SELECT c.name AS \"n: Name\" FROM orders o LEFT JOIN customers c ON true", Some("n: Name?")),
            ("SELECT upper(c.name) FROM orders o LEFT JOIN customers c ON true", None),
            ("SELECT c.* FROM orders o LEFT JOIN customers c ON true", Some("*?")),
            ("SELECT * FROM orders o LEFT JOIN customers c ON true", Some("*?")),
            // The table of the column is not known.
            ("SELECT id FROM orders o LEFT JOIN customers c ON true", Some("id?")),
            ("SELECT o.id FROM orders o RIGHT JOIN customers c ON true", Some("id?")),
            ("SELECT c.id FROM orders o RIGHT JOIN customers c ON true", None),
            ("SELECT c.id FROM orders o FULL JOIN customers c ON true", Some("id?")),
            ("SELECT i.id FROM orders o LEFT JOIN customers c ON true JOIN items i ON true", None),
            ("SELECT i.id FROM orders o JOIN items i ON true RIGHT JOIN customers c ON true", Some("id?")),
            ("SELECT i.id FROM items i, (orders o LEFT JOIN customers c ON true)", None),
            ("SELECT c.id FROM items i, (orders o LEFT JOIN customers c ON true)", Some("id?")),
            // Hidden one query deeper.
            (
                "SELECT q.name FROM (SELECT c.name FROM orders o LEFT JOIN customers c ON true) AS q",
                Some("name?"),
            ),
            (
                "WITH q AS (SELECT c.name FROM orders o LEFT JOIN customers c ON true) SELECT q.name FROM q",
                Some("name?"),
            ),
            (
                "SELECT i.id FROM items i WHERE EXISTS (SELECT 1 FROM orders o LEFT JOIN customers c ON true)",
                None,
            ),
            ("SELECT a FROM t UNION SELECT c.name FROM orders o LEFT JOIN customers c ON true", None),
            ("(SELECT c.name FROM orders o LEFT JOIN customers c ON true)", Some("name?")),
            (
                "UPDATE orders SET total = 1 FROM items i LEFT JOIN customers c ON true RETURNING name",
                Some("name?"),
            ),
            ("UPDATE orders SET note = left(note, 2) RETURNING id", None),
            ("DELETE FROM orders USING items i LEFT JOIN customers c ON true RETURNING i.id", Some("id?")),
            ("DELETE FROM orders WHERE note = left('a', 1) RETURNING id", None),
            ("INSERT INTO t (a) SELECT c.name FROM orders o LEFT JOIN customers c ON true RETURNING a", None),
            // A cast to the type that a column has is the column itself, and so is a field of a whole row.
            ("SELECT c.name::text FROM orders o LEFT JOIN customers c ON true", Some("name?")),
            ("SELECT CAST((c.name) AS text) AS n FROM orders o LEFT JOIN customers c ON true", Some("n?")),
            ("SELECT o.id::uuid FROM orders o LEFT JOIN customers c ON true", None),
            ("SELECT (c).name FROM orders o LEFT JOIN customers c ON true", Some("name?")),
            ("SELECT (o).id FROM orders o LEFT JOIN customers c ON true", None),
            ("SELECT (c).name::text FROM orders o LEFT JOIN customers c ON true", Some("name?")),
            // A CTE hides a join from every query within.
            (
                "WITH q AS (SELECT c.name FROM orders o LEFT JOIN customers c ON true) (SELECT q.name FROM q)",
                Some("name?"),
            ),
            (
                "WITH q AS (SELECT 1) UPDATE orders SET total = 1 FROM items i LEFT JOIN customers c ON true \
                 RETURNING c.name",
                Some("name?"),
            ),
            (
                "WITH q AS (SELECT 1) DELETE FROM orders USING items i LEFT JOIN customers c ON true RETURNING c.name",
                Some("name?"),
            ),
            // Two names to the database.
            (
                "SELECT \"C\".name FROM orders c LEFT JOIN (customers \"C\" JOIN items i ON true) ON true",
                Some("name?"),
            ),
            ("SELECT C.name FROM customers c LEFT JOIN orders o ON true", None),
        ] {
            assert_eq!(maybe_null(sql).as_deref(), wanted, "{sql}");
        }
    }
}
