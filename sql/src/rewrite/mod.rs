//! [`rewrite`]: a statement that a person wrote, scoped to a tenant.

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
mod join;
mod lexer;
mod literal;
#[cfg(test)]
mod mutants;
mod names;
mod nulls;
mod parameters;
mod parse;
mod pass;
mod prove;
mod query;
mod rewritten;
mod script;
mod stack;
mod table_names;
mod text;
mod tokens;
mod write;

use self::names::Names;
use self::parameters::{in_order, in_place, tenant};
use self::parse::{GUARDED_RECURSION, RECURSION, is_too_deep, located, parse};
use self::pass::Pass;
use self::stack::with_stack;
use self::text::ScannedText;
use self::tokens::{place, tokens};
use crate::dialect::Dialect;
use crate::rejection::{Code, Rejection, say};
use crate::schema::{Schema, TenantType};
pub use nulls::says_what_is_null;
pub use parameters::Bind;
pub use rewritten::Rewritten;
pub use script::{relations, statements};
use sqlparser::tokenizer::Span;
use std::collections::BTreeSet;

/// Scopes a statement to a tenant: every table of tenants in it is read and written through a guard.
///
/// The text is parsed, rewritten as a tree and printed; what runs is what was analysed. The printed text is parsed
/// again by a second pass that knows nothing of the first and must find every table guarded.
///
/// ```
/// use tenancy_sql::{Bind, Code, Dialect, Schema, rewrite};
///
/// let schema = Schema::new("tenant_id")?;
/// let own = rewrite(Dialect::Postgres, "SELECT id FROM orders WHERE paid OR total > $1", &schema).unwrap();
/// assert_eq!(own.text(), "SELECT id FROM orders WHERE orders.tenant_id = $2 AND (paid OR total > $1)");
/// assert_eq!(own.binds(), [Bind::Value(1), Bind::Tenant]);
///
/// let refused = rewrite(Dialect::Postgres, "TRUNCATE orders", &schema).unwrap_err();
/// assert_eq!(refused.code(), Code::Statement);
/// # Ok::<(), tenancy_sql::InvalidName>(())
/// ```
///
/// # Errors
/// Whatever is not known to stay within the tenant; [`Code`] lists the reasons.
pub fn rewrite(dialect: Dialect, sql: &str, schema: &Schema) -> Result<Rewritten, Rejection> {
    run(dialect, sql, schema, None).map(|(rewritten, _)| rewritten)
}

/// As [`rewrite`], leaving out one guard if `without` says so; and how many guards there were.
fn run(
    dialect: Dialect,
    sql: &str,
    schema: &Schema,
    without: Option<usize>,
) -> Result<(Rewritten, usize), Rejection> {
    let text = text::read(dialect, sql)?;
    if dialect == Dialect::MySql && schema.tenant_type() == Some(TenantType::Text) {
        let why = "MySQL compares a tenant column of type text by its collation, to which `a` and `A` can be one tenant";
        let how = "make the column BINARY(16) or BIGINT, and say so under `type` in tenancy.toml";
        return Err(Rejection::new(Code::Construct, sql, (1, 1, 1), say(why, how)));
    }
    with_stack(sql, text.depth, || scope(dialect, sql, schema, without, text))
}

fn scope(
    dialect: Dialect,
    sql: &str,
    schema: &Schema,
    without: Option<usize>,
    text: ScannedText,
) -> Result<(Rewritten, usize), Rejection> {
    let whole = text.tokens.first().map_or_else(Span::empty, |token| token.span);
    let refuse = |code, span, say| Rejection::new(code, sql, place(span), say);
    let (mut statements, targets) = parse(dialect, text.tokens, RECURSION).map_err(|why| {
        let span = located(&why).unwrap_or(whole);
        let code = if is_too_deep(&why) { Code::TooDeep } else { Code::Syntax };
        refuse(code, span, say(why, "write it as the database would take it, or more plainly"))
    })?;
    if statements.len() != 1 {
        let why = format!("{} statements; one at a time is analysed", statements.len());
        return Err(refuse(Code::NotOneStatement, whole, say(why, "run one statement")));
    }
    let mut statement = statements.remove(0);
    let mut pass = Pass {
        dialect,
        schema,
        sql,
        tenant: tenant(dialect, schema, text.binds + 1),
        binds: text.binds,
        names: Names::of(dialect, schema, &statement),
        targets,
        scopes: Vec::new(),
        cte_names: BTreeSet::new(),
        here: whole,
        tables: BTreeSet::new(),
        read: BTreeSet::new(),
        dropped: Vec::new(),
        writes: false,
        sources: 0,
        guards: 0,
        without,
    };
    let call = functional_notation::first(&pass.names, &statement, &pass.targets);
    pass.statement(&mut statement)?;
    pass.no_call(call)?;
    let printed = conflict::put_back(statement.to_string(), &pass.targets);
    let (again, targets) = tokens(dialect, &printed)
        .map_err(|e| e.why().to_owned())
        .and_then(|tokens| parse(dialect, tokens, GUARDED_RECURSION))
        .map_err(|why| {
            let code = if is_too_deep(&why) { Code::TooDeep } else { Code::Syntax };
            refuse(code, whole, say("printed again, it cannot be read", "write it more plainly"))
        })?;
    if again != [statement] || targets != pass.targets {
        let say = say("printed again, it would not mean the same", "write it more plainly");
        return Err(refuse(Code::Syntax, whole, say));
    }
    compare::compare(dialect, schema, sql, &printed, std::mem::take(&mut pass.dropped))
        .map_err(|why| refuse(Code::Syntax, whole, say(why, "write it more plainly")))?;
    prove::prove(dialect, schema, &again[0], &targets, &pass.tenant).map_err(|why| {
        refuse(Code::Unproven, whole, say(why, "please report this statement; it is a bug of this crate"))
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
    Ok((rewritten, pass.guards))
}
