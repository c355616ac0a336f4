//! [`Examined`]: a table or a view, with the privileges of the examined role.

use std::borrow::{Borrow, BorrowMut};
use std::collections::BTreeSet;
use std::ops::Deref;

use serde::Deserialize;

use crate::isolation::catalog::Relation;

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Examined {
    #[serde(flatten)]
    relation: Relation,
    pub(super) owner: String,
    /// The role, or a role that it is a member of, owns it.
    pub(super) owned: bool,
    /// The role may use its schema.
    pub(super) usage: bool,
    /// A view or a function reads it; its caller needs no privilege on the schema.
    used: bool,
    /// The rules that do something.
    pub(super) rules: Vec<String>,
    /// No policy hides a row from the role, and it may read every column.
    pub(super) sees_all: bool,
    pub(super) rows: f64,
    /// Tables of the server that a view reads and that the role may not read.
    pub(super) restricted: Vec<String>,
    /// Functions that a view calls, each as schema and name.
    pub(super) calls: Vec<(String, String)>,
    /// The privileges of the role and of every role that it is a member of.
    pub(super) privileges: BTreeSet<String>,
    /// The privileges that need no `SET ROLE`.
    pub(super) usable: BTreeSet<String>,
    grants: Vec<(String, String)>,
    /// The policies for the role, and for the roles that it is a member of.
    pub(super) reached_by: BTreeSet<String>,
    /// The policies that apply to every statement of the role.
    pub(super) bound_by: BTreeSet<String>,
    /// It is in a part of the database that is not examined, and a view or a key of the examined part refers to it.
    #[serde(skip)]
    pub(super) outside: bool,
}

impl Examined {
    pub(super) fn reachable(&self) -> bool {
        !self.outside && (self.usage || self.used) && !self.privileges.is_empty()
    }

    pub(super) fn in_schema(&self, schemas: &[String]) -> bool {
        schemas.contains(&self.schema)
    }

    /// The `REVOKE` of every grant of these rights to the role.
    pub(super) fn revoke(&self, rights: &[&str]) -> String {
        let mine = || self.grants.iter().filter(|(right, _)| rights.contains(&&**right));
        let rights: BTreeSet<_> = mine().map(|(right, _)| right.as_str()).collect();
        let from: BTreeSet<_> = mine().map(|(_, to)| to.as_str()).collect();
        let list = |words: BTreeSet<&str>| words.into_iter().collect::<Vec<_>>().join(", ");
        format!("REVOKE {} ON {} FROM {}", list(rights), self.ident, list(from))
    }

    /// Whether the role has one of these rights by a grant, and not as the owner.
    pub(super) fn granted(&self, rights: &[&str]) -> bool {
        !self.owned && self.grants.iter().any(|(right, _)| rights.contains(&&**right))
    }
}

impl Deref for Examined {
    type Target = Relation;

    fn deref(&self) -> &Relation {
        &self.relation
    }
}

impl Borrow<Relation> for Examined {
    fn borrow(&self) -> &Relation {
        &self.relation
    }
}

impl BorrowMut<Relation> for Examined {
    fn borrow_mut(&mut self) -> &mut Relation {
        &mut self.relation
    }
}
