//! [`Pass`]: the state of the first pass over one statement. The files that walk the tree add its methods.

use super::conflict::ConflictKey;
use super::functional_notation;
use super::identifiers::fold;
use super::names::Names;
use super::parameters::tenant;
use super::problems::Problems;
use super::tokens::place;
use crate::dialect::Dialect;
use crate::rejection::{Code, Explanation, Rejection, explain};
use crate::schema::Schema;
use sqlparser::ast::{Expr, Ident, ObjectName, ObjectNamePart, OptimizerHint, Statement};
use sqlparser::tokenizer::Span;
use std::collections::BTreeSet;

/// The first pass: checks and rewrites one statement in place.
pub(super) struct Pass<'a> {
    pub(super) dialect: Dialect,
    pub(super) schema: &'a Schema,
    pub(super) sql: &'a str,
    /// The highest number of the caller's parameters.
    pub(super) binds: usize,
    /// The meaning of the names before a dot.
    pub(super) names: Names<'a>,
    /// What to write instead, if the statement is not about rows.
    pub(super) instead: Option<Explanation>,
    /// The conflict targets, which are kept apart from the tree.
    pub(super) targets: Vec<ConflictKey>,
    /// The CTEs in scope, innermost last.
    pub(super) cte_scopes: Vec<Vec<String>>,
    /// Every CTE of the statement, in lower case.
    pub(super) cte_names: BTreeSet<String>,
    /// The position that a rejection points at: that of the last identifier or value.
    pub(super) last_span: Span,
    pub(super) tables: BTreeSet<String>,
    /// The tables that are read, without the target of a write.
    pub(super) tables_read: BTreeSet<String>,
    /// The words that were removed: schemas before the names of columns, and DEFAULT before VALUES.
    pub(super) dropped: Vec<String>,
    pub(super) writes: bool,
    /// The target of the write whose RETURNING is checked.
    pub(super) returning: Option<Ident>,
    /// The number of tables read so far.
    pub(super) table_count: usize,
    pub(super) guards: usize,
    pub(super) skipped_guard: Option<usize>,
    /// What is wrong with the statement so far.
    pub(super) problems: Problems,
}

/// The result of the check of one part. An error ends the check of the part that contains it; the parts that
/// [`Pass::collect`] encloses go on.
pub(super) type SqlResult<T = ()> = Result<T, Rejection>;

impl Pass<'_> {
    /// Checks and rewrites the statement. It must not be printed unless this returns `Ok`.
    pub(super) fn check(&mut self, statement: &mut Statement) -> SqlResult {
        let calls = functional_notation::calls(&self.names, statement, &self.targets);
        let checked = self.statement(statement);
        for call in calls {
            let known = self.no_call(call);
            self.collect(known);
        }
        std::mem::take(&mut self.problems).end(self.sql, checked)
    }

    /// Adds the problem of a part, so that the rest of the statement is checked too.
    pub(super) fn collect(&mut self, checked: SqlResult) {
        if let Err(problem) = checked {
            self.problems.push(problem);
        }
    }

    pub(super) fn reject<T>(
        &self,
        code: Code,
        why: impl Into<String>,
        help: impl Into<String>,
    ) -> SqlResult<T> {
        // One that is not named needs no line.
        let sql = if self.problems.is_full() { "" } else { self.sql };
        Err(Rejection::new(code, sql, place(self.last_span), explain(why, help)))
    }

    pub(super) fn reject_unknown<T>(&self, what: &str) -> SqlResult<T> {
        self.reject(
            Code::Construct,
            format!("{what} is not known to stay within a tenant"),
            "write it in another way",
        )
    }

    /// Adds a problem if a part is not known.
    pub(super) fn allow(&mut self, known: bool, what: &str) {
        if !known {
            let unknown = self.reject_unknown(what);
            self.collect(unknown);
        }
    }

    /// Rejects optimizer hints, which are a problem of their comment already.
    pub(super) fn no_hints(&mut self, hints: &[OptimizerHint]) {
        self.allow(hints.is_empty() || self.problems.contains(Code::Comment), "an optimizer hint");
    }

    pub(super) fn point_at(&mut self, span: Span) {
        if span != Span::empty() {
            self.last_span = span;
        }
    }

    pub(super) fn point_at_ident(&mut self, ident: &Ident) {
        self.point_at(ident.span);
    }

    /// Counts a guard, and returns whether to add it. Only tests leave one out.
    pub(super) fn takes_guard(&mut self) -> bool {
        self.guards += 1;
        self.skipped_guard != Some(self.guards - 1)
    }

    /// The tenant's parameter, cast to the type of the tenant column if that is known.
    pub(super) fn tenant(&self) -> Expr {
        tenant(self.dialect, self.schema, self.binds + 1)
    }

    /// Folds a name as the database does.
    pub(super) fn fold(&self, ident: &Ident) -> String {
        fold(self.dialect, ident)
    }

    /// The identifiers of a plain name.
    pub(super) fn parts(&mut self, name: &ObjectName) -> SqlResult<Vec<Ident>> {
        let ObjectName(parts) = name;
        let mut idents = Vec::new();
        for part in parts {
            match part {
                ObjectNamePart::Identifier(ident) => idents.push(ident.clone()),
                ObjectNamePart::Function(_) => return self.reject_unknown("a name made by a function"),
            }
        }
        if let (Some(first), Some(last)) = (idents.first(), idents.last()) {
            self.point_at(Span::new(first.span.start, last.span.end));
        }
        Ok(idents)
    }
}
