//! [`Pass`]: the state of the first pass over one statement. The files that walk the tree add its methods.

use super::conflict::ConflictKey;
use super::identifiers::fold;
use super::names::Names;
use super::tokens::place;
use crate::dialect::Dialect;
use crate::rejection::{Code, Rejection, say};
use crate::schema::Schema;
use sqlparser::ast::{Expr, Ident, ObjectName, ObjectNamePart};
use sqlparser::tokenizer::Span;
use std::collections::BTreeSet;

/// The first pass: checks and rewrites one statement in place.
pub(super) struct Pass<'a> {
    pub(super) dialect: Dialect,
    pub(super) schema: &'a Schema,
    pub(super) sql: &'a str,
    /// The tenant's parameter, in the type of its column where that was said.
    pub(super) tenant: Expr,
    /// The caller's highest parameter.
    pub(super) binds: usize,
    /// What the names before a dot stand for.
    pub(super) names: Names<'a>,
    /// The conflict targets that stand beside the tree.
    pub(super) targets: Vec<ConflictKey>,
    /// The CTEs in sight, innermost last.
    pub(super) scopes: Vec<Vec<String>>,
    /// Every CTE of the statement, in lower case.
    pub(super) cte_names: BTreeSet<String>,
    /// What was read last, to point at.
    pub(super) here: Span,
    pub(super) tables: BTreeSet<String>,
    /// The tables that are read, the target of a write not among them.
    pub(super) read: BTreeSet<String>,
    /// The schemas that were left out before the names of columns.
    pub(super) dropped: Vec<String>,
    pub(super) writes: bool,
    /// How many tables were read so far.
    pub(super) sources: usize,
    pub(super) guards: usize,
    pub(super) without: Option<usize>,
}

pub(super) type SqlResult<T = ()> = Result<T, Rejection>;

impl Pass<'_> {
    pub(super) fn refuse<T>(
        &self,
        code: Code,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) -> SqlResult<T> {
        Err(Rejection::new(code, self.sql, place(self.here), say(why, mend)))
    }

    pub(super) fn unknown<T>(&self, what: &str) -> SqlResult<T> {
        self.refuse(
            Code::Construct,
            format!("{what} is not known to stay within a tenant"),
            "write it another way",
        )
    }

    pub(super) fn allow(&self, known: bool, what: &str) -> SqlResult {
        if known { Ok(()) } else { self.unknown(what) }
    }

    pub(super) fn see(&mut self, span: Span) {
        if span != Span::empty() {
            self.here = span;
        }
    }

    pub(super) fn see_ident(&mut self, ident: &Ident) {
        self.see(ident.span);
    }

    /// Whether this guard is to be made; only a test leaves one out.
    pub(super) fn guarding(&mut self) -> bool {
        self.guards += 1;
        self.without != Some(self.guards - 1)
    }

    pub(super) fn tenant(&self) -> Expr {
        self.tenant.clone()
    }

    /// A name as the database resolves it.
    pub(super) fn fold(&self, ident: &Ident) -> String {
        fold(self.dialect, ident)
    }

    /// The parts of a plain name.
    pub(super) fn parts(&mut self, name: &ObjectName) -> SqlResult<Vec<Ident>> {
        let ObjectName(parts) = name;
        let mut idents = Vec::new();
        for part in parts {
            match part {
                ObjectNamePart::Identifier(ident) => idents.push(ident.clone()),
                ObjectNamePart::Function(_) => return self.unknown("a name made by a function"),
            }
        }
        if let (Some(first), Some(last)) = (idents.first(), idents.last()) {
            self.see(Span::new(first.span.start, last.span.end));
        }
        Ok(idents)
    }
}
