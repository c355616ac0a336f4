//! Expressions: what is known to read nothing but rows in sight.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CeilFloorKind, DataType, DateTimeField, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident,
    Interval, ObjectName, ObjectNamePart, Subscript, TypedString, Value, WindowFrame, WindowFrameBound,
    WindowSpec, WindowType,
};

use super::calls::Call;
use super::query::At;
use super::text::numbered;
use super::{Pass, SqlResult, allowed};
use crate::Dialect;
use crate::functions::is_pure;
use crate::rejection::Code;

impl Pass<'_> {
    pub(super) fn exprs(&mut self, exprs: &mut [Expr]) -> SqlResult {
        exprs.iter_mut().try_for_each(|expr| self.expr(expr))
    }

    pub(super) fn maybe(&mut self, expr: Option<&mut Expr>) -> SqlResult {
        expr.map_or(Ok(()), |expr| self.expr(expr))
    }

    fn pair(&mut self, left: &mut Expr, right: &mut Expr) -> SqlResult {
        self.expr(left)?;
        self.expr(right)
    }

    /// One expression. Chains of operators lean to the left and are walked in a loop.
    pub(super) fn expr(&mut self, mut expr: &mut Expr) -> SqlResult {
        loop {
            match expr {
                Expr::BinaryOp { left, op, right } => {
                    self.operator(op)?;
                    self.expr(right)?;
                    expr = left;
                }
                Expr::Nested(inner)
                | Expr::IsFalse(inner)
                | Expr::IsNotFalse(inner)
                | Expr::IsTrue(inner)
                | Expr::IsNotTrue(inner)
                | Expr::IsNull(inner)
                | Expr::IsNotNull(inner)
                | Expr::IsUnknown(inner)
                | Expr::IsNotUnknown(inner) => expr = inner,
                _ => return self.term(expr),
            }
        }
    }

    fn term(&mut self, expr: &mut Expr) -> SqlResult {
        match expr {
            Expr::Identifier(ident) => {
                if allowed::is_call(self.dialect, ident) {
                    self.see_ident(ident);
                    let name = ObjectName::from(vec![ident.clone()]);
                    return self.function_name(&name).map(drop);
                }
                self.column(std::slice::from_ref(ident))
            }
            Expr::CompoundIdentifier(idents) => {
                self.column(idents)?;
                self.unqualify(idents)
            }
            Expr::Value(value) => {
                self.see(value.span);
                self.value(&mut value.value)
            }
            Expr::Function(function) => self.function(function),
            Expr::Subquery(subquery) | Expr::Exists { subquery, negated: _ } => {
                self.query(subquery, At::Within)
            }
            Expr::InSubquery { expr, subquery, negated: _ } => {
                self.expr(expr)?;
                self.query(subquery, At::Within)
            }
            Expr::InList { expr, list, negated: _ } => {
                self.expr(expr)?;
                self.exprs(list)
            }
            Expr::Tuple(exprs) => self.exprs(exprs),
            Expr::Array(array) => self.exprs(&mut array.elem),
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                sets.iter_mut().try_for_each(|set| self.exprs(set))
            }
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.maybe(operand.as_deref_mut())?;
                for CaseWhen { condition, result } in conditions {
                    self.pair(condition, result)?;
                }
                self.maybe(else_result.as_deref_mut())
            }
            _ => self.comparison(expr),
        }
    }

    fn comparison(&mut self, expr: &mut Expr) -> SqlResult {
        match expr {
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.pair(left, right)
            }
            Expr::Between { expr, negated: _, low, high } => {
                self.expr(expr)?;
                self.pair(low, high)
            }
            Expr::Like { negated: _, any, expr, pattern, escape_char }
            | Expr::ILike { negated: _, any, expr, pattern, escape_char } => {
                self.allow(!*any, "LIKE ANY")?;
                self.pair(expr, pattern)?;
                self.maybe(escape_char.as_deref_mut())
            }
            Expr::SimilarTo { negated: _, expr, pattern, escape_char } => {
                self.pair(expr, pattern)?;
                self.maybe(escape_char.as_deref_mut())
            }
            // On SQLite REGEXP is whatever function `regexp` the application made.
            Expr::RLike { negated: _, expr, pattern, regexp: _ } if self.dialect == Dialect::MySql => {
                self.pair(expr, pattern)
            }
            Expr::RLike { .. } => self.operator(&BinaryOperator::Regexp),
            Expr::AnyOp { left, compare_op, right, is_some: _ } | Expr::AllOp { left, compare_op, right } => {
                self.operator(compare_op)?;
                self.pair(left, right)
            }
            Expr::UnaryOp { op, expr } => {
                self.allow(allowed::unary(*op), "this operator")?;
                self.expr(expr)
            }
            Expr::IsNormalized { expr, form: _, negated: _ } => self.expr(expr),
            Expr::MatchAgainst { columns, match_value, opt_search_modifier: _ } => {
                columns.iter().try_for_each(|name| self.parts(name).map(drop))?;
                self.see(match_value.span);
                self.value(&mut match_value.value)
            }
            _ => self.special_form(expr),
        }
    }

    /// What SQL spells in words of its own and is a function all the same.
    fn special_form(&mut self, expr: &mut Expr) -> SqlResult {
        match expr {
            Expr::Cast { kind: _, expr, data_type, format } => {
                self.allow(format.is_none(), "CAST .. FORMAT")?;
                self.expr(expr)?;
                self.data_type(data_type)
            }
            Expr::Convert { is_try, expr, data_type, charset, target_before_value, styles } => {
                self.allow(!*is_try && !*target_before_value && styles.is_empty(), "this CONVERT")?;
                self.expr(expr)?;
                if let Some(charset) = charset {
                    self.parts(charset)?;
                }
                data_type.as_ref().map_or(Ok(()), |data_type| self.data_type(data_type))
            }
            Expr::AtTimeZone { timestamp, time_zone } => self.pair(timestamp, time_zone),
            Expr::Extract { field, syntax: _, expr } => {
                self.field(field)?;
                self.expr(expr)
            }
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => {
                let plain = matches!(field, CeilFloorKind::DateTimeField(DateTimeField::NoDateTime));
                self.allow(plain, "a second argument of CEIL or FLOOR")?;
                self.expr(expr)
            }
            Expr::Position { expr, r#in } => self.pair(expr, r#in),
            Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                self.expr(expr)?;
                self.maybe(substring_from.as_deref_mut())?;
                self.maybe(substring_for.as_deref_mut())
            }
            Expr::Trim { trim_where: _, trim_what, expr, trim_characters } => {
                self.maybe(trim_what.as_deref_mut())?;
                self.expr(expr)?;
                trim_characters.as_mut().map_or(Ok(()), |exprs| self.exprs(exprs))
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                self.pair(expr, overlay_what)?;
                self.expr(overlay_from)?;
                self.maybe(overlay_for.as_deref_mut())
            }
            Expr::Collate { expr, collation } => {
                self.parts(collation)?;
                self.expr(expr)
            }
            Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax }) => {
                self.allow(!*uses_odbc_syntax, "ODBC's syntax")?;
                self.data_type(data_type)?;
                self.see(value.span);
                self.value(&mut value.value)
            }
            Expr::Interval(interval) => {
                let Interval {
                    value,
                    leading_field,
                    leading_precision: _,
                    last_field,
                    fractional_seconds_precision: _,
                } = interval;
                for field in leading_field.iter().chain(&*last_field) {
                    self.field(field)?;
                }
                self.expr(value)
            }
            Expr::CompoundFieldAccess { .. } => self.field_access(expr),
            _ => self.unknown("this expression"),
        }
    }

    /// `(expr).field`, `o.list[1]` and what they are made of.
    fn field_access(&mut self, expr: &mut Expr) -> SqlResult {
        let Expr::CompoundFieldAccess { root, access_chain } = expr else { return Ok(()) };
        self.allow(!matches!(**root, Expr::Value(_)), "a name in quotes for text")?;
        // `shop.orders.tags[1]` begins with a column of three parts.
        if let (
            Expr::Identifier(schema),
            [AccessExpr::Dot(Expr::Identifier(table)), AccessExpr::Dot(_), ..],
        ) = (&**root, &access_chain[..])
        {
            let mut idents = vec![schema.clone(), table.clone(), table.clone()];
            self.unqualify(&mut idents)?;
            **root = Expr::Identifier(table.clone());
            access_chain.remove(0);
        }
        self.expr(root)?;
        for access in access_chain {
            match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => self.column(std::slice::from_ref(ident))?,
                AccessExpr::Dot(_) => self.unknown("what stands behind this dot")?,
                AccessExpr::Subscript(Subscript::Index { index }) => self.expr(index)?,
                AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                    self.maybe(lower_bound.as_mut())?;
                    self.maybe(upper_bound.as_mut())?;
                    self.maybe(stride.as_mut())?;
                }
            }
        }
        Ok(())
    }

    /// PostgreSQL takes a name behind a dot that is no column for a function of what stands before it.
    pub(super) fn no_call(&mut self, call: Option<Call>) -> SqlResult {
        let Some(Call { name, field }) = call else { return Ok(()) };
        self.see_ident(&name);
        let name = name.value;
        if !field {
            return self.refuse(
                Code::Function,
                format!("no column `{name}` is known here, so this would call the function `{name}`"),
            "if it is a column, write the snapshot anew, or list it behind the alias: `f(..) AS a (column)`",
            );
        }
        self.refuse(
            Code::Function,
            format!("no field `{name}` is known, so this would call the function `{name}`"),
            "write `alias.column` without parentheses; a field of a type of your own is declared under \
             `composite_types` in tenancy.toml",
        )
    }

    /// `schema.table.column` becomes `table.column`: behind its guard the table has no schema any more.
    fn unqualify(&mut self, idents: &mut Vec<Ident>) -> SqlResult {
        if idents.len() < 3 {
            return Ok(());
        }
        if idents.len() == 3 && self.names.only(&idents[..2]) {
            self.dropped.push(idents.remove(0).value);
            return Ok(());
        }
        self.several_parts(idents)
    }

    fn several_parts(&self, idents: &[Ident]) -> SqlResult {
        let name = idents.iter().map(|ident| ident.value.as_str()).collect::<Vec<_>>().join(".");
        let why = format!("which table `{name}` names is not plain: another one is called like it, or none");
        self.refuse(Code::Name, why, "give the table an alias, and write `alias.column`")
    }

    /// `schema.table.*`, as `unqualify`.
    pub(super) fn wildcard_of(&mut self, name: &mut ObjectName) -> SqlResult {
        let parts = self.parts(name)?;
        match &parts[..] {
            [_] => Ok(()),
            [schema, table] if self.names.only(&parts) => {
                self.dropped.push(schema.value.clone());
                name.0 = vec![ObjectNamePart::Identifier(table.clone())];
                Ok(())
            }
            _ => self.several_parts(&parts),
        }
    }

    fn field(&self, field: &DateTimeField) -> SqlResult {
        let known = !matches!(field, DateTimeField::Custom(_) | DateTimeField::Week(Some(_)));
        self.allow(known, "this field of a date")
    }

    fn column(&mut self, idents: &[Ident]) -> SqlResult {
        const POSTGRES: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
        const SQLITE: [&str; 3] = ["rowid", "_rowid_", "oid"];
        for ident in idents {
            self.see_ident(ident);
            self.allow(ident.quote_style != Some('\''), "a name in quotes for text")?;
        }
        let Some(last) = idents.last() else { return Ok(()) };
        let lower = last.value.to_ascii_lowercase();
        let system = match self.dialect {
            Dialect::Postgres => POSTGRES.contains(&lower.as_str()),
            Dialect::Sqlite => SQLITE.contains(&lower.as_str()),
            Dialect::MySql => lower == "_rowid",
        };
        if system {
            return self.refuse(
                Code::SystemColumn,
                format!("`{lower}` is not a column of the tenant's rows"),
                "name the rows by a column of your own",
            );
        }
        Ok(())
    }

    pub(super) fn value(&mut self, value: &mut Value) -> SqlResult {
        let literal = |this: &Self, why: &str, mend: &str| this.refuse(Code::Literal, why, mend);
        match value {
            Value::Number(text, _) => {
                let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-_".contains(&b));
                self.allow(plain, "this number")
            }
            Value::HexStringLiteral(text) => {
                self.allow(text.bytes().all(|b| b.is_ascii_hexdigit()), "this hexadecimal text")
            }
            Value::Placeholder(text) => {
                let sign = if self.dialect == Dialect::Postgres { '$' } else { '?' };
                if numbered(text, sign).is_some_and(|n| n <= self.binds) {
                    return Ok(());
                }
                let why = format!("the parameter `{text}` has no number");
                self.refuse(Code::Placeholder, why, "write $1, $2 and so on")
            }
            // The value is the same under every setting of `standard_conforming_strings` only as E'..'.
            Value::SingleQuotedString(text) if self.dialect == Dialect::Postgres => {
                if text.contains('\\') {
                    *value = Value::EscapedStringLiteral(text.replace("''", "'"));
                }
                Ok(())
            }
            Value::Boolean(_) | Value::Null | Value::SingleQuotedString(_) => Ok(()),
            Value::EscapedStringLiteral(_) if self.dialect == Dialect::Postgres => Ok(()),
            Value::DollarQuotedString(text) if self.dialect == Dialect::Postgres => {
                let tag = text.tag.as_deref().unwrap_or_default();
                let plain = !text.value.contains('$') && tag.bytes().all(|b| b.is_ascii_alphabetic());
                if plain { Ok(()) } else { literal(self, "a dollar within this text", "quote it with '") }
            }
            _ => literal(self, "this kind of literal is not known", "quote text with '"),
        }
    }

    fn operator(&self, operator: &BinaryOperator) -> SqlResult {
        if allowed::operator(self.dialect, operator) {
            return Ok(());
        }
        self.refuse(
            Code::Operator,
            format!("the operator `{operator}` is not the database's own, so it could read any table"),
            "use the database's own operators",
        )
    }

    pub(super) fn function_name(&mut self, name: &ObjectName) -> SqlResult<String> {
        let parts = self.parts(name)?;
        self.no_dot(&parts)?;
        let folded = parts.iter().map(|part| self.fold(part)).collect::<Vec<_>>().join(".");
        let name = if self.dialect == Dialect::MySql { folded.to_ascii_lowercase() } else { folded };
        if is_pure(self.dialect, &name) || self.schema.allows_function(&name) {
            return Ok(name);
        }
        self.refuse(
            Code::Function,
            format!("the function `{name}` could read any table"),
            "if it reads none, add it to `functions` in tenancy.toml",
        )
    }

    fn function(&mut self, function: &mut Function) -> SqlResult {
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
        let name = self.function_name(name)?;
        self.allow(!*uses_odbc_syntax, "ODBC's syntax")?;
        self.allow(*parameters == FunctionArguments::None, "parameters of a function")?;
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => {
                self.allow(name == "array", "a query as an argument")?;
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
                        _ => self.unknown("a clause of this function")?,
                    }
                }
            }
        }
        self.order_exprs(within_group)?;
        self.maybe(filter.as_deref_mut())?;
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
                FunctionArg::ExprNamed { .. } => return self.unknown("this argument"),
            };
            match arg {
                FunctionArgExpr::Expr(expr) => self.expr(expr)?,
                FunctionArgExpr::QualifiedWildcard(name) => self.wildcard_of(name)?,
                FunctionArgExpr::Wildcard => {}
                FunctionArgExpr::WildcardWithOptions(_) => self.unknown("an option of *")?,
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
                    self.maybe(expr.as_deref_mut())?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn data_type(&self, data_type: &DataType) -> SqlResult {
        self.allow(allowed::data_type(self.dialect, data_type), "this type")
    }
}
