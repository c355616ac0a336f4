//! Whether sqlx, asked about a guarded statement, would take a column for never null that an outer join makes null.
//!
//! sqlx sees outer joins in the plan that PostgreSQL makes with NULL for every parameter. A guard compares the tenant
//! with NULL then, which is never true, so the plan is empty and shows no join; what is left are the tables' own
//! NOT NULL. So a statement with an outer join says itself which of its columns may be null.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, Expr, Ident, Join, JoinOperator, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, Spanned, Statement, TableFactor, TableWithJoins, UpdateTableFromKind, Visit, Visitor,
};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token};

use super::{fold, statements_of, text};
use crate::Dialect;
use crate::rejection::{Code, Rejection, say};

/// Refuses a statement for PostgreSQL that has an outer join, and a column of which it cannot be told whether the
/// join makes it null, unless the statement says so as sqlx reads it: `AS "name?"` or `AS "name!"`.
///
/// For statements that [`rewrite`](super::rewrite) takes.
///
/// # Errors
/// [`Code::Nullability`] at the first such column.
pub fn says_what_is_null(sql: &str) -> Result<(), Rejection> {
    let text = text::read(Dialect::Postgres, sql)?;
    let outer = |keyword| matches!(keyword, Keyword::LEFT | Keyword::RIGHT | Keyword::FULL);
    if !text.tokens.iter().any(|token| matches!(&token.token, Token::Word(word) if outer(word.keyword))) {
        return Ok(());
    }
    let statements = statements_of(Dialect::Postgres, sql, text)?;
    let Some((column, span)) = statements.iter().find_map(unsure) else { return Ok(()) };
    Err(Rejection::new(
        Code::Nullability,
        sql,
        text::place(span),
        say(
            format!("the outer join could make `{column}` null, and sqlx cannot see that through the guard"),
            format!("write AS \"{column}?\" if it may be null, or AS \"{column}!\" if it never is"),
        ),
    ))
}

/// The first column of the result that could be null without a sign of it.
fn unsure(statement: &Statement) -> Option<(String, Span)> {
    if statement.visit(&mut OuterJoins).is_continue() {
        return None;
    }
    unsure_of_statement(statement, &[])
}

/// `ctes` are those of the queries around it.
fn unsure_of_statement(statement: &Statement, ctes: &[&Ident]) -> Option<(String, Span)> {
    match statement {
        Statement::Query(query) => unsure_of_query(query, ctes),
        // It answers of its target only.
        Statement::Insert(_) => None,
        Statement::Update(update) => unsure_of_items(update.returning.as_deref()?, |_| false),
        Statement::Delete(delete) => unsure_of_items(delete.returning.as_deref()?, |_| false),
        _ => Some(("*".to_owned(), statement.span())),
    }
}

fn unsure_of_query(query: &Query, around: &[&Ident]) -> Option<(String, Span)> {
    let own = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| &cte.alias.name);
    let ctes: Vec<&Ident> = around.iter().copied().chain(own).collect();
    match &*query.body {
        SetExpr::Query(query) => unsure_of_query(query, &ctes),
        SetExpr::Select(select) => {
            let sure = sure_tables(select, &ctes);
            unsure_of_items(&select.projection, |table| sure.iter().any(|name| same(name, table)))
        }
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => unsure_of_statement(statement, &ctes),
        // A column of UNION and its like is of no table, so sqlx takes it for nullable.
        SetExpr::SetOperation { .. } | SetExpr::Values(_) | SetExpr::Table(_) => None,
    }
}

fn same(one: &Ident, other: &Ident) -> bool {
    fold(Dialect::Postgres, one) == fold(Dialect::Postgres, other)
}

fn unsure_of_items(items: &[SelectItem], sure: impl Fn(&Ident) -> bool) -> Option<(String, Span)> {
    items.iter().find_map(|item| match item {
        SelectItem::UnnamedExpr(expr) => unsure_column(expr, &sure),
        SelectItem::ExprWithAlias { expr, alias } => {
            let column = unsure_column(expr, &sure)?;
            (!says_so(&alias.value)).then_some((alias.value.clone(), column.1))
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _)
            if matches!(&name.0[..], [part] if part.as_ident().is_some_and(&sure)) =>
        {
            None
        }
        item => Some(("*".to_owned(), item.span())),
    })
}

/// A plain column keeps its table's NOT NULL, also behind a cast to the type that it has; what is computed is
/// nullable to sqlx anyway.
fn unsure_column(expr: &Expr, sure: &impl Fn(&Ident) -> bool) -> Option<(String, Span)> {
    match expr {
        Expr::Nested(expr) | Expr::Cast { expr, .. } => unsure_column(expr, sure),
        Expr::Identifier(column) => Some((column.value.clone(), column.span)),
        Expr::CompoundIdentifier(parts) => match &parts[..] {
            [table, _] if sure(table) => None,
            [.., column] => Some((column.value.clone(), expr.span())),
            [] => None,
        },
        // `(c).name`, where `c` is a table.
        Expr::CompoundFieldAccess { root, access_chain } => match (&**root, &access_chain[..]) {
            (Expr::Nested(row), _) if matches!(&**row, Expr::Identifier(table) if sure(table)) => None,
            (Expr::Nested(_), [AccessExpr::Dot(Expr::Identifier(column))]) => {
                Some((column.value.clone(), expr.span()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// sqlx's own signs: `name?`, `name!`, both also before `: Type`.
fn says_so(alias: &str) -> bool {
    let name = alias.split(':').next().unwrap_or_default().trim_end();
    name.ends_with(['?', '!'])
}

/// The names of the tables of a FROM that no outer join of it makes null, and that hide none within.
fn sure_tables<'a>(select: &'a Select, ctes: &[&Ident]) -> Vec<&'a Ident> {
    let mut sure = Vec::new();
    for item in &select.from {
        sure.extend(sure_of_item(item, ctes));
    }
    sure
}

fn sure_of_item<'a>(item: &'a TableWithJoins, ctes: &[&Ident]) -> Vec<&'a Ident> {
    let mut sure = sure_of_factor(&item.relation, ctes);
    for Join { relation, join_operator, .. } in &item.joins {
        let right = sure_of_factor(relation, ctes);
        match join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => sure.extend(right),
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => {}
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => sure = right,
            _ => sure.clear(),
        }
    }
    sure
}

fn sure_of_factor<'a>(factor: &'a TableFactor, ctes: &[&Ident]) -> Vec<&'a Ident> {
    match factor {
        TableFactor::Table { name, alias, .. } => {
            let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return Vec::new() };
            if ctes.iter().any(|cte| cte.value.eq_ignore_ascii_case(&last.value)) {
                return Vec::new();
            }
            vec![alias.as_ref().map_or(last, |alias| &alias.name)]
        }
        TableFactor::NestedJoin { table_with_joins, alias: None } => sure_of_item(table_with_joins, ctes),
        _ => Vec::new(),
    }
}

/// Breaks at the first outer join, however deep.
struct OuterJoins;

impl Visitor for OuterJoins {
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

    fn unsure(sql: &str) -> Option<String> {
        says_what_is_null(sql).err().map(|refused| {
            assert_eq!(refused.code(), Code::Nullability, "{refused}");
            refused.mend().split('"').nth(1).unwrap().to_owned()
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
            // It cannot be told whose column it is.
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
            assert_eq!(unsure(sql).as_deref(), wanted, "{sql}");
        }
    }
}
