//! Calls of functions: their names, arguments and windows.

use super::pass::{Pass, SqlResult};
use super::query::At;
use super::tokens::place;
use crate::dialect::Dialect;
use crate::function_reasons::writes;
use crate::functions::is_pure;
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, ObjectName, WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

impl Pass<'_> {
    /// The name of a function. A function that is neither built in nor declared is a problem of the statement.
    pub(super) fn function_name(&mut self, name: &ObjectName) -> SqlResult<String> {
        let parts = self.parts(name)?;
        self.no_dot(&parts)?;
        let folded = parts.iter().map(|part| self.fold(part)).collect::<Vec<_>>().join(".");
        let name = if self.dialect == Dialect::MySql { folded.to_ascii_lowercase() } else { folded };
        if is_pure(self.dialect, &name) {
            return Ok(name);
        }
        if self.schema.allows_function(&name) {
            self.writes |= writes(&name);
            return Ok(name);
        }
        // The call is a problem; its arguments are checked too.
        self.problems.push_function(self.sql, &name, place(self.last_span));
        Ok(name)
    }

    pub(super) fn function(&mut self, function: &mut Function) -> SqlResult {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group,
            filter,
            null_treatment: _,
            over,
        } = function;
        let name = match self.function_name(name) {
            Ok(name) => name,
            Err(problem) => {
                self.problems.push(problem);
                String::new()
            }
        };
        self.allow(!*uses_odbc_syntax, "ODBC's syntax");
        self.allow(*parameters == FunctionArguments::None, "parameters of a function");
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => {
                self.allow(name == "array", "a query as an argument");
                self.query(query, At::Within)?;
            }
            FunctionArguments::List(FunctionArgumentList { duplicate_treatment: _, args, clauses }) => {
                self.arguments(args)?;
                for clause in clauses {
                    match clause {
                        FunctionArgumentClause::OrderBy(exprs) => self.order_exprs(exprs)?,
                        FunctionArgumentClause::Limit(expr) => self.expr(expr)?,
                        FunctionArgumentClause::Separator(value) => self.value(&mut value.value)?,
                        FunctionArgumentClause::IgnoreOrRespectNulls(_)
                        | FunctionArgumentClause::JsonNullClause(_) => {}
                        _ => self.allow(false, "a clause of this function"),
                    }
                }
            }
        }
        self.order_exprs(within_group)?;
        self.optional_expr(filter.as_deref_mut())?;
        match over {
            None | Some(WindowType::NamedWindow(_)) => Ok(()),
            Some(WindowType::WindowSpec(spec)) => self.window(spec),
        }
    }

    pub(super) fn arguments(&mut self, args: &mut [FunctionArg]) -> SqlResult {
        for arg in args {
            let arg = match arg {
                FunctionArg::Unnamed(arg)
                | FunctionArg::Named { name: _, arg, operator: _ }
                | FunctionArg::ExprNamed { name: Expr::Identifier(_), arg, operator: _ } => arg,
                FunctionArg::ExprNamed { .. } => {
                    self.allow(false, "this argument");
                    continue;
                }
            };
            match arg {
                FunctionArgExpr::Expr(expr) => self.expr(expr)?,
                FunctionArgExpr::QualifiedWildcard(name) => {
                    let known = self.wildcard_of(name);
                    self.collect(known);
                }
                FunctionArgExpr::Wildcard => {}
                FunctionArgExpr::WildcardWithOptions(_) => self.allow(false, "an option of *"),
            }
        }
        Ok(())
    }

    pub(super) fn window(&mut self, spec: &mut WindowSpec) -> SqlResult {
        let WindowSpec { window_name: _, partition_by, order_by, window_frame } = spec;
        self.exprs(partition_by)?;
        self.order_exprs(order_by)?;
        let Some(WindowFrame { units: _, start_bound, end_bound }) = window_frame else { return Ok(()) };
        for bound in std::iter::once(start_bound).chain(end_bound) {
            match bound {
                WindowFrameBound::CurrentRow => {}
                WindowFrameBound::Preceding(expr) | WindowFrameBound::Following(expr) => {
                    self.optional_expr(expr.as_deref_mut())?;
                }
            }
        }
        Ok(())
    }
}
