//! The parameters of a statement: their numbers, the tenant among them, and the order of the binds.

use super::tokens::tokens;
use crate::dialect::Dialect;
use crate::rejection::{Explanation, Rejection, explain};
use crate::schema::{Schema, TenantType};
use sqlparser::ast::{CastKind, DataType, Expr, Value};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

/// One bind of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bind {
    /// The caller's parameter of this number, counted from one.
    Value(usize),
    /// The tenant's id.
    Tenant,
}

/// The highest number of a parameter: the limit of a Postgres message, less the tenant.
const HIGHEST: usize = 65_534;

/// From this many parameters on, SQLite gets them without their numbers, if they are in order.
const MANY: usize = 32;

/// Numbers every parameter, and returns the highest number.
pub(super) fn number(dialect: Dialect, tokens: &mut [TokenWithSpan]) -> Result<usize, (Span, Explanation)> {
    let (mut highest, mut counted, mut named) = (0, 0, false);
    for TokenWithSpan { token, span } in tokens {
        let n = match &*token {
            Token::Placeholder(text) if text == "?" && dialect != Dialect::Postgres => {
                counted += 1;
                counted
            }
            Token::Placeholder(text) => {
                named = true;
                let own = if dialect == Dialect::Sqlite { numbered(text, '?') } else { None };
                own.or_else(|| numbered(text, '$')).ok_or_else(|| {
                    (
                        *span,
                        explain(format!("the parameter `{text}` has no number"), "write $1, $2 and so on"),
                    )
                })?
            }
            Token::Word(word) if dialect == Dialect::MySql && word.quote_style.is_none() => {
                let Some(n) = numbered(&word.value, '$') else { continue };
                named = true;
                n
            }
            _ => continue,
        };
        if named && counted > 0 {
            let why = "parameters with and without a number";
            return Err((*span, explain(why, "write all of them as $1, $2 and so on")));
        }
        highest = highest.max(n);
        *token = Token::Placeholder(placeholder(dialect, n));
    }
    Ok(highest)
}

/// The number of a parameter: `$12` is 12.
pub(super) fn numbered(text: &str, sign: char) -> Option<usize> {
    let digits = text.strip_prefix(sign)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') && digits.len() <= 5;
    digits.parse().ok().filter(|n| plain && *n <= HIGHEST)
}

pub(super) fn placeholder(dialect: Dialect, n: usize) -> String {
    match dialect {
        Dialect::Postgres => format!("${n}"),
        Dialect::Sqlite | Dialect::MySql => format!("?{n}"),
    }
}

/// The parameter of the tenant, cast to the type of the tenant column on Postgres.
pub(super) fn tenant(dialect: Dialect, schema: &Schema, n: usize) -> Expr {
    let parameter = Expr::Value(Value::Placeholder(placeholder(dialect, n)).into());
    let data_type = match schema.tenant_type() {
        Some(TenantType::Uuid) => DataType::Uuid,
        Some(TenantType::BigInt) => DataType::BigInt(None),
        Some(TenantType::Text) => DataType::Text,
        None => return parameter,
    };
    // SQLite and MySQL have no such casts, and compare the bound value unchanged.
    if dialect != Dialect::Postgres {
        return parameter;
    }
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(parameter), data_type, format: None }
}

/// MySQL binds parameters in the order of the text only: `?2 .. ?1` becomes `? .. ?` with the binds `2, 1`.
pub(super) fn in_order(printed: &str, tenant: usize) -> Result<(String, Vec<Bind>), Rejection> {
    let mut binds = Vec::new();
    let text = with_places(Dialect::MySql, printed, |n| {
        binds.push(if n == tenant { Bind::Tenant } else { Bind::Value(n) });
        "?".to_owned()
    })?;
    Ok((text, binds))
}

/// Removes the numbers of many parameters on SQLite. SQLite searches each number among all earlier parameters, unless
/// it is the highest so far, which takes quadratic time with the tenant in front. `?1 .. ?2` becomes `? .. ?`, and
/// the tenant becomes `$3`, a name that sqlx binds by its number.
pub(super) fn in_place(printed: String, values: usize) -> Result<String, Rejection> {
    if values < MANY {
        return Ok(printed);
    }
    let (mut next, mut ordered) = (1, true);
    let text = with_places(Dialect::Sqlite, &printed, |n| {
        if n > values {
            return format!("${n}");
        }
        ordered &= n == next;
        next += 1;
        "?".to_owned()
    })?;
    Ok(if ordered && next == values + 1 { text } else { printed })
}

/// The text with each parameter replaced.
fn with_places(
    dialect: Dialect,
    printed: &str,
    mut place: impl FnMut(usize) -> String,
) -> Result<String, Rejection> {
    let mut text = String::with_capacity(printed.len());
    for token in tokens(dialect, printed)? {
        let n = match &token.token {
            Token::Placeholder(mark) => numbered(mark, '?'),
            _ => None,
        };
        match n {
            Some(n) => text.push_str(&place(n)),
            None => text.push_str(&token.token.to_string()),
        }
    }
    Ok(text)
}
