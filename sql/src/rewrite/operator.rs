//! Operators: those that are built in, and the position of an expression.

use super::allowed;
use super::pass::{Pass, SqlResult};
use crate::dialect::Dialect;
use crate::rejection::Code;
use crate::schema::extensions_of_operator;
use sqlparser::ast::{BinaryOperator, Expr, Ident, Value};
use sqlparser::tokenizer::Span;

impl Pass<'_> {
    /// Whether this is `xmax = 0` in the RETURNING of a write, which is true for a row that was inserted.
    pub(super) fn is_inserted(&self, left: &Expr, right: &Expr) -> bool {
        let Some(target) = self.returning.as_ref().filter(|_| self.dialect == Dialect::Postgres) else {
            return false;
        };
        let xmax = |ident: &Ident| ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("xmax");
        let zero = matches!(right, Expr::Value(value) if matches!(&value.value, Value::Number(text, _) if text == "0"));
        zero && match left {
            Expr::Identifier(ident) => xmax(ident),
            Expr::CompoundIdentifier(idents) => match &idents[..] {
                [of, ident] => xmax(ident) && self.fold(of) == self.fold(target),
                _ => false,
            },
            _ => false,
        }
    }

    pub(super) fn operator(&mut self, left: &Expr, operator: &BinaryOperator) -> SqlResult {
        if allowed::operator(self.dialect, self.schema, operator) {
            return Ok(());
        }
        self.point_at(start_of(left));
        let why = format!("the operator `{operator}` is not built in, so it could read any table");
        let to = "in tenancy.toml, from which the `Schema` of the `TenantDb` is made";
        let extensions = extensions_of_operator(&operator.to_string());
        let help = match &extensions[..] {
            [extension, others @ ..] if self.dialect == Dialect::Postgres => {
                let or: String = others.iter().flat_map(|other| [" or `", other, "`"]).collect();
                format!(
                    "if it belongs to the extension `{extension}`{or}, add `presets = [\"{extension}\"]`; if its function \
                     reads no table, add it to `operators` {to}"
                )
            }
            _ => format!(
                "use the built-in operators; if it belongs to an extension, or its function reads no table, add the \
                 extension to `presets` or the operator to `operators` {to}"
            ),
        };
        self.reject(Code::Operator, why, help)
    }
}

/// The position of the first name or value of an expression, for a rejection of the whole; empty if there is none.
pub(super) fn start_of(mut expr: &Expr) -> Span {
    loop {
        expr = match expr {
            Expr::Identifier(ident) => return ident.span,
            Expr::CompoundIdentifier(idents) => {
                return idents.first().map_or_else(Span::empty, |ident| ident.span);
            }
            Expr::Value(value) => return value.span,
            Expr::TypedString(typed) => return typed.value.span,
            Expr::BinaryOp { left, .. }
            | Expr::AnyOp { left, .. }
            | Expr::AllOp { left, .. }
            | Expr::IsDistinctFrom(left, _)
            | Expr::IsNotDistinctFrom(left, _) => left,
            Expr::Nested(expr)
            | Expr::Cast { expr, .. }
            | Expr::Collate { expr, .. }
            | Expr::AtTimeZone { timestamp: expr, .. }
            | Expr::Between { expr, .. }
            | Expr::Like { expr, .. }
            | Expr::ILike { expr, .. }
            | Expr::SimilarTo { expr, .. }
            | Expr::RLike { expr, .. }
            | Expr::InList { expr, .. }
            | Expr::UnaryOp { expr, .. }
            | Expr::CompoundFieldAccess { root: expr, .. } => expr,
            _ => return Span::empty(),
        };
    }
}
