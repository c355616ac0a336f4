//! Expressions: the forms that read nothing but rows in scope.

use super::allowed;
use super::functional_notation::ImplicitCall;
use super::identifiers::referable;
use super::operator::start_of;
use super::pass::{Pass, SqlResult};
use super::query::At;
use crate::dialect::Dialect;
use crate::rejection::Code;
use sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CeilFloorKind, DataType, DateTimeField, Expr, Ident, Interval,
    ObjectName, ObjectNamePart, Subscript, TypedString,
};

impl Pass<'_> {
    pub(super) fn exprs(&mut self, exprs: &mut [Expr]) -> SqlResult {
        exprs.iter_mut().try_for_each(|expr| self.expr(expr))
    }

    pub(super) fn optional_expr(&mut self, expr: Option<&mut Expr>) -> SqlResult {
        expr.map_or(Ok(()), |expr| self.expr(expr))
    }

    fn pair(&mut self, left: &mut Expr, right: &mut Expr) -> SqlResult {
        self.expr(left)?;
        self.expr(right)
    }

    /// Checks one expression. Chains of operators are left-deep, and a loop walks them.
    pub(super) fn expr(&mut self, mut expr: &mut Expr) -> SqlResult {
        loop {
            match expr {
                // Only the comparison with 0: the number itself counts the transactions of the whole server.
                Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right }
                    if self.is_inserted(left, right) =>
                {
                    return Ok(());
                }
                Expr::BinaryOp { left, op, right } => {
                    let known = self.operator(left, op);
                    self.collect(known);
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
                _ => {
                    let known = self.term(expr);
                    self.collect(known);
                    return Ok(());
                }
            }
        }
    }

    fn term(&mut self, expr: &mut Expr) -> SqlResult {
        match expr {
            Expr::Identifier(ident) => {
                if allowed::is_call(self.dialect, ident) {
                    self.point_at_ident(ident);
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
                self.point_at(value.span);
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
                self.optional_expr(operand.as_deref_mut())?;
                for CaseWhen { condition, result } in conditions {
                    self.pair(condition, result)?;
                }
                self.optional_expr(else_result.as_deref_mut())
            }
            _ => self.comparison(expr),
        }
    }

    fn comparison(&mut self, expr: &mut Expr) -> SqlResult {
        self.point_at(start_of(expr));
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
                self.allow(!*any || self.dialect == Dialect::Postgres, "LIKE ANY");
                self.pair(expr, pattern)?;
                self.optional_expr(escape_char.as_deref_mut())
            }
            Expr::SimilarTo { negated: _, expr, pattern, escape_char } => {
                self.pair(expr, pattern)?;
                self.optional_expr(escape_char.as_deref_mut())
            }
            // On SQLite, REGEXP calls the application's function `regexp`.
            Expr::RLike { negated: _, expr, pattern, regexp: _ } if self.dialect == Dialect::MySql => {
                self.pair(expr, pattern)
            }
            Expr::RLike { expr, .. } => self.operator(expr, &BinaryOperator::Regexp),
            Expr::AnyOp { left, compare_op, right, is_some: _ } | Expr::AllOp { left, compare_op, right } => {
                self.operator(left, compare_op)?;
                self.pair(left, right)
            }
            Expr::UnaryOp { op, expr } => {
                self.allow(allowed::unary(*op), "this operator");
                self.expr(expr)
            }
            Expr::IsNormalized { expr, form: _, negated: _ } => self.expr(expr),
            Expr::MatchAgainst { columns, match_value, opt_search_modifier: _ } => {
                columns.iter().try_for_each(|name| self.parts(name).map(drop))?;
                self.point_at(match_value.span);
                self.value(&mut match_value.value)
            }
            _ => self.special_form(expr),
        }
    }

    /// Functions with a grammar of their own, such as CAST and EXTRACT.
    fn special_form(&mut self, expr: &mut Expr) -> SqlResult {
        match expr {
            Expr::Cast { kind: _, expr, data_type, format } => {
                self.allow(format.is_none(), "CAST .. FORMAT");
                self.expr(expr)?;
                self.data_type(data_type);
                Ok(())
            }
            Expr::Convert { is_try, expr, data_type, charset, target_before_value, styles } => {
                self.allow(!*is_try && !*target_before_value && styles.is_empty(), "this CONVERT");
                self.expr(expr)?;
                if let Some(charset) = charset {
                    self.parts(charset)?;
                }
                if let Some(data_type) = data_type {
                    self.data_type(data_type);
                }
                Ok(())
            }
            Expr::AtTimeZone { timestamp, time_zone } => self.pair(timestamp, time_zone),
            Expr::Extract { field, syntax: _, expr } => {
                self.field(field);
                self.expr(expr)
            }
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => {
                let plain = matches!(field, CeilFloorKind::DateTimeField(DateTimeField::NoDateTime));
                self.allow(plain, "a second argument of CEIL or FLOOR");
                self.expr(expr)
            }
            Expr::Position { expr, r#in } => self.pair(expr, r#in),
            Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                self.expr(expr)?;
                self.optional_expr(substring_from.as_deref_mut())?;
                self.optional_expr(substring_for.as_deref_mut())
            }
            Expr::Trim { trim_where: _, trim_what, expr, trim_characters } => {
                self.optional_expr(trim_what.as_deref_mut())?;
                self.expr(expr)?;
                trim_characters.as_mut().map_or(Ok(()), |exprs| self.exprs(exprs))
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                self.pair(expr, overlay_what)?;
                self.expr(overlay_from)?;
                self.optional_expr(overlay_for.as_deref_mut())
            }
            Expr::Collate { expr, collation } => {
                self.parts(collation)?;
                self.expr(expr)
            }
            Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax }) => {
                self.allow(!*uses_odbc_syntax, "ODBC's syntax");
                self.data_type(data_type);
                self.point_at(value.span);
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
                    self.field(field);
                }
                self.expr(value)
            }
            Expr::CompoundFieldAccess { .. } => self.field_access(expr),
            _ => self.reject_unknown("this expression"),
        }
    }

    /// `(expr).field`, `o.list[1]` and chains of these.
    fn field_access(&mut self, expr: &mut Expr) -> SqlResult {
        let Expr::CompoundFieldAccess { root, access_chain } = expr else { return Ok(()) };
        self.allow(!matches!(**root, Expr::Value(_)), "a name in quotes for text");
        // `shop.orders.tags[1]` begins with a column of three parts.
        if let (
            Expr::Identifier(schema),
            [AccessExpr::Dot(Expr::Identifier(table)), AccessExpr::Dot(_), ..],
        ) = (&**root, &access_chain[..])
        {
            let mut idents = vec![schema.clone(), table.clone(), table.clone()];
            self.unqualify(&mut idents)?;
            **root = Expr::Identifier(idents.swap_remove(0));
            access_chain.remove(0);
        }
        self.expr(root)?;
        for access in access_chain {
            match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => self.column(std::slice::from_ref(ident))?,
                AccessExpr::Dot(_) => self.reject_unknown("the expression after this dot")?,
                AccessExpr::Subscript(Subscript::Index { index }) => self.expr(index)?,
                AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                    self.optional_expr(lower_bound.as_mut())?;
                    self.optional_expr(upper_bound.as_mut())?;
                    self.optional_expr(stride.as_mut())?;
                }
            }
        }
        Ok(())
    }

    /// Rejects a name after a dot that is not a known column or field: PostgreSQL calls a function of that name.
    pub(super) fn no_call(&mut self, ImplicitCall { name, field }: ImplicitCall) -> SqlResult {
        self.point_at_ident(&name);
        let name = name.value;
        if !field {
            return self.reject(
                Code::Function,
                format!("no column `{name}` is known here, so this would call the function `{name}`"),
                "if it is a column, update the snapshot, or list it after the alias: `f(..) AS a (column)`",
            );
        }
        self.reject(
            Code::Function,
            format!("no field `{name}` is known, so this would call the function `{name}`"),
            "write `alias.column` without parentheses; a field of a type of your own is declared under \
             `composite_types` in tenancy.toml",
        )
    }

    /// Replaces `schema.table.column` by `table.column`: a guarded table has no schema.
    fn unqualify(&mut self, idents: &mut Vec<Ident>) -> SqlResult {
        if idents.len() < 3 {
            return Ok(());
        }
        if idents.len() == 3 && self.names.only(&idents[..2]) {
            self.dropped.push(idents.remove(0).value);
            idents[0] = self.after_its_schema(&idents[0]);
            return Ok(());
        }
        self.reject_ambiguous(idents)
    }

    /// The name of a table without the schema that preceded it.
    fn after_its_schema(&mut self, table: &Ident) -> Ident {
        let referable = referable(self.dialect, table);
        if referable.quote_style != table.quote_style {
            self.dropped.push(table.value.clone());
        }
        referable
    }

    fn reject_ambiguous(&self, idents: &[Ident]) -> SqlResult {
        let name = idents.iter().map(|ident| ident.value.as_str()).collect::<Vec<_>>().join(".");
        let why = format!("`{name}` is ambiguous: no table, or another table as well, has this name here");
        self.reject(Code::Name, why, "give the table an alias, and write `alias.column`")
    }

    /// Replaces `schema.table.*`, as `unqualify` does.
    pub(super) fn wildcard_of(&mut self, name: &mut ObjectName) -> SqlResult {
        let parts = self.parts(name)?;
        match &parts[..] {
            [_] => Ok(()),
            [schema, table] if self.names.only(&parts) => {
                self.dropped.push(schema.value.clone());
                name.0 = vec![ObjectNamePart::Identifier(self.after_its_schema(table))];
                Ok(())
            }
            _ => self.reject_ambiguous(&parts),
        }
    }

    fn field(&mut self, field: &DateTimeField) {
        let known = !matches!(field, DateTimeField::Custom(_) | DateTimeField::Week(Some(_)));
        self.allow(known, "this field of a date");
    }

    fn column(&mut self, idents: &[Ident]) -> SqlResult {
        const POSTGRES: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
        const SQLITE: [&str; 3] = ["rowid", "_rowid_", "oid"];
        for ident in idents {
            self.point_at_ident(ident);
            self.allow(ident.quote_style != Some('\''), "a name in quotes for text");
        }
        let Some(last) = idents.last() else { return Ok(()) };
        let lower = last.value.to_ascii_lowercase();
        let system = match self.dialect {
            Dialect::Postgres => POSTGRES.contains(&lower.as_str()),
            Dialect::Sqlite => SQLITE.contains(&lower.as_str()),
            Dialect::MySql => lower == "_rowid",
        };
        if system {
            return self.reject(
                Code::SystemColumn,
                format!("`{lower}` is not a column of the tenant's rows"),
                "identify the rows by a column of your own",
            );
        }
        Ok(())
    }

    pub(super) fn data_type(&mut self, data_type: &DataType) {
        if !allowed::data_type(self.dialect, data_type) {
            let unknown = self.reject(
                Code::Construct,
                format!("the type `{}` is not known to stay within a tenant", data_type.to_string().to_ascii_lowercase()),
                "cast to a type of plain values, such as text, uuid or bigint; look up names of the catalogue on a connection \
                 of your own that has no tenant",
            );
            self.collect(unknown);
        }
    }
}
