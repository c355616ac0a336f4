//! [`rewrite`]: scopes a hand-written statement to a tenant.
//!
//! A first pass ([`Pass`]) checks and rewrites the tree; `prove` is the second pass, which checks the printed text.

mod allowed;
mod columns;
mod compare;
mod conflict;
mod depth;
mod expr;
mod from;
mod function;
mod functional_notation;
mod grammar;
mod groups;
mod guard;
mod identifiers;
mod insert;
mod instead;
mod join;
mod lexer;
mod literal;
mod locks;
#[cfg(test)]
mod mutants;
mod names;
mod nulls;
mod operator;
mod parameters;
mod parse;
mod pass;
mod problems;
mod prove;
mod query;
mod rewritten;
mod script;
mod sqlite_grammar;
mod stack;
mod table_names;
mod text;
mod tokens;
mod walk;
mod write;

use self::names::Names;
use self::parameters::{in_order, in_place};
use self::parse::{GUARDED_RECURSION, RECURSION, is_too_deep, located, parse};
use self::pass::Pass;
use self::problems::Problems;
use self::stack::{SHALLOW, SHALLOW_RECURSION, with_stack};
use self::text::ScannedText;
use self::tokens::{place, tokens};
use crate::dialect::Dialect;
use crate::rejection::{Code, Rejection, explain};
use crate::schema::{Schema, TenantType};
pub use nulls::check_nullability;
pub use parameters::Bind;
pub use rewritten::Rewritten;
pub use script::{relations, statements};
use sqlparser::ast::Statement;
use sqlparser::tokenizer::{Span, Token};
use std::collections::BTreeSet;

/// Scopes a statement to a tenant: the statement reads and writes every tenant table through a guard.
///
/// The text is parsed, rewritten as a tree and printed, so the statement that runs is the statement that was
/// analysed. A second, independent pass parses the printed text again and must find a guard on every tenant table.
///
/// ```
/// use tenancy_sql::{Bind, Code, Dialect, Schema, rewrite};
///
/// let schema = Schema::new("tenant_id")?;
/// let rewritten = rewrite(Dialect::Postgres, "SELECT id FROM orders WHERE paid OR total > $1", &schema).unwrap();
/// assert_eq!(rewritten.text(), "SELECT id FROM orders WHERE orders.tenant_id = $2 AND (paid OR total > $1)");
/// assert_eq!(rewritten.binds(), [Bind::Value(1), Bind::Tenant]);
///
/// let rejection = rewrite(Dialect::Postgres, "TRUNCATE orders", &schema).unwrap_err();
/// assert_eq!(rejection.code(), Code::Statement);
/// # Ok::<(), tenancy_sql::SchemaError>(())
/// ```
///
/// # Errors
/// The statement is not known to stay within the tenant; [`Code`] lists the reasons.
pub fn rewrite(dialect: Dialect, sql: &str, schema: &Schema) -> Result<Rewritten, Rejection> {
    run(dialect, sql, schema, None).map(|(rewritten, _)| rewritten)
}

/// As [`rewrite`], and returns the number of guards. Tests leave out the guard of the number `skipped_guard`.
fn run(
    dialect: Dialect,
    sql: &str,
    schema: &Schema,
    skipped_guard: Option<usize>,
) -> Result<(Rewritten, usize), Rejection> {
    let mut problems = Problems::default();
    let text = match text::scan(dialect, sql, &mut problems) {
        Ok(text) => text,
        Err(problem) => return problems.end(sql, Err(problem)),
    };
    if dialect == Dialect::MySql && schema.tenant_type() == Some(TenantType::Text) {
        let why = "MySQL compares a tenant column of type text by its collation, in which `a` and `A` can be one tenant";
        let how = "make the column BINARY(16) or BIGINT, and declare it under `type` in tenancy.toml";
        return Err(Rejection::new(Code::Construct, sql, (1, 1, 1), explain(why, how)));
    }
    let on_separate_stack = |text, problems| {
        let scoped =
            with_stack(sql, || scope(dialect, sql, schema, skipped_guard, text, problems, RECURSION))?;
        Ok(scoped.expect("only a lower limit ends without a result"))
    };
    if text.depth > SHALLOW {
        return on_separate_stack(text, problems);
    }
    if let Some(done) = scope(dialect, sql, schema, skipped_guard, text, problems, SHALLOW_RECURSION)? {
        return Ok(done);
    }
    let mut problems = Problems::default();
    let text = text::scan(dialect, sql, &mut problems)?;
    on_separate_stack(text, problems)
}

/// Checks, rewrites and proves the statement. `None` if the parser reached a `recursion` limit that is lower than
/// [`RECURSION`].
fn scope(
    dialect: Dialect,
    sql: &str,
    schema: &Schema,
    skipped_guard: Option<usize>,
    text: ScannedText,
    problems: Problems,
    recursion: usize,
) -> Result<Option<(Rewritten, usize)>, Rejection> {
    let first = text.tokens.iter().find(|token| !matches!(token.token, Token::Whitespace(_)));
    let whole = first.map_or_else(Span::empty, |token| token.span);
    let mut instead = instead::instead(&text.tokens);
    let reject = |code, span, explanation| Rejection::new(code, sql, place(span), explanation);
    let parsed = match parse(dialect, text.tokens, recursion) {
        Err(why) if recursion < RECURSION && is_too_deep(&why) => return Ok(None),
        parsed => parsed,
    };
    let parsed = parsed.map_err(|why| {
        // The parser does not know all of these statements.
        if let Some(explanation) = instead.take() {
            return reject(Code::Statement, whole, explanation);
        }
        let span = located(&why).unwrap_or(whole);
        let code = if is_too_deep(&why) { Code::TooDeep } else { Code::Syntax };
        let help = parse::simpler(&why);
        reject(code, span, explain(why, help))
    });
    let one = parsed.and_then(|(statements, targets)| match <[Statement; 1]>::try_from(statements) {
        Ok([statement]) => Ok((statement, targets)),
        Err(statements) => {
            let why = format!("{} statements; only one at a time is analysed", statements.len());
            let help = "run one at a time; `db.begin(&ctx)` starts a transaction for several";
            Err(reject(Code::NotOneStatement, whole, explain(why, help)))
        }
    });
    let (mut statement, targets) = match one {
        Ok(one) => one,
        Err(problem) => return problems.end(sql, Err(problem)),
    };
    let mut pass = Pass {
        dialect,
        schema,
        sql,
        binds: text.binds,
        names: Names::of(dialect, schema, &statement),
        instead,
        targets,
        cte_scopes: Vec::new(),
        cte_names: BTreeSet::new(),
        last_span: whole,
        tables: BTreeSet::new(),
        tables_read: BTreeSet::new(),
        dropped: Vec::new(),
        writes: false,
        returning: None,
        table_count: 0,
        guards: 0,
        skipped_guard,
        problems,
    };
    pass.check(&mut statement)?;
    let printed = locks::put_back(conflict::put_back(statement.to_string(), &pass.targets));
    let (again, targets) = tokens(dialect, &printed)
        .map_err(|e| e.why().to_owned())
        .and_then(|tokens| parse(dialect, tokens, GUARDED_RECURSION))
        .map_err(|why| {
            let code = if is_too_deep(&why) { Code::TooDeep } else { Code::Syntax };
            reject(code, whole, explain("its rewritten text cannot be parsed", "write it in a simpler form"))
        })?;
    if again != [statement] || targets != pass.targets {
        let explanation =
            explain("its rewritten text would have another meaning", "write it in a simpler form");
        return Err(reject(Code::Syntax, whole, explanation));
    }
    compare::compare(dialect, schema, sql, &printed, std::mem::take(&mut pass.dropped))
        .map_err(|why| reject(Code::Syntax, whole, explain(why, "write it in a simpler form")))?;
    prove::prove(dialect, schema, &again[0], &targets, &pass.tenant()).map_err(|why| {
        reject(Code::Unproven, whole, explain(why, "please report this statement; it is a bug in this crate"))
    })?;
    let has_tenant = pass.guards > 0;
    let (text, binds) = match dialect {
        Dialect::MySql => in_order(&printed, text.binds + 1)?,
        _ => (
            if dialect == Dialect::Sqlite { in_place(printed, text.binds)? } else { printed },
            (1..=text.binds).map(Bind::Value).chain(has_tenant.then_some(Bind::Tenant)).collect::<Vec<_>>(),
        ),
    };
    let rewritten =
        Rewritten { text, binds, tables: pass.tables.into_iter().collect(), read_only: !pass.writes };
    Ok(Some((rewritten, pass.guards)))
}
