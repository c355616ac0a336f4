//! [`Relation`]: a table or a view, with its columns, policies and privileges.

use std::collections::BTreeSet;

use serde::Deserialize;
use tenancy_sql::{Dialect, Schema};

use crate::isolation::own_tables;
use crate::isolation::policy::Kind;

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Relation {
    pub(super) oid: i64,
    pub(super) schema: String,
    pub(super) name: String,
    /// The name with its schema, quoted where needed.
    pub(super) ident: String,
    /// A statement finds it without its schema.
    #[serde(skip)]
    pub(super) visible: bool,
    /// `relkind`: `r`, `p`, `v`, `m` or `f`.
    pub(super) kind: char,
    pub(super) owner: String,
    /// The role, or a role that it is a member of, owns it.
    pub(super) owned: bool,
    /// The role may use its schema.
    pub(super) usage: bool,
    /// A view or a function reads it; its caller needs no privilege on the schema.
    used: bool,
    /// The rules that do something.
    pub(super) rules: Vec<String>,
    pub(super) rls: bool,
    /// No policy hides a row from the role, and it may read every column.
    pub(super) sees_all: bool,
    pub(super) forced: bool,
    pub(super) partition: bool,
    pub(super) parents: Vec<i64>,
    pub(super) rows: f64,
    /// A view that reads with the rights of its reader.
    pub(super) invoker: bool,
    /// It belongs to an extension.
    pub(super) member: bool,
    /// Tables of the server that a view reads and that the role may not read.
    pub(super) restricted: Vec<String>,
    /// Functions that a view calls, each as schema and name.
    pub(super) calls: Vec<(String, String)>,
    /// The privileges of the role and of every role that it is a member of.
    pub(super) privileges: BTreeSet<String>,
    /// The privileges that need no `SET ROLE`.
    pub(super) usable: BTreeSet<String>,
    grants: Vec<(String, String)>,
    pub(super) columns: Vec<Column>,
    pub(super) policies: Vec<Policy>,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) ident: String,
    /// The type, with domains resolved.
    pub(super) r#type: String,
    /// The type as declared, which may be a domain.
    pub(super) declared: String,
    pub(super) deterministic: bool,
    pub(super) r#enum: bool,
    pub(super) array: bool,
    /// The column or its domain is NOT NULL.
    pub(super) not_null: bool,
    /// The column itself is NOT NULL.
    pub(super) tenant_not_null: bool,
    pub(super) default: Option<String>,
    pub(super) generated: bool,
    pub(super) identity: bool,
    /// A text that a CHECK constraint allows.
    pub(super) choice: Option<String>,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) permissive: bool,
    pub(super) command: char,
    /// It is for every role.
    pub(super) everybody: bool,
    /// Its comment marks it as generated.
    pub(super) marked: bool,
    /// It is for the role, or for a role that it is a member of.
    pub(super) reaches: bool,
    /// It applies to every statement of the role.
    pub(super) binds: bool,
    pub(super) using: Option<String>,
    pub(super) check: Option<String>,
}

impl Relation {
    /// Whether it is an ordinary, partitioned or foreign table.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.kind, 'r' | 'p' | 'f')
    }

    pub(super) fn reachable(&self) -> bool {
        (self.usage || self.used) && !self.privileges.is_empty()
    }

    /// Whether it is one of this crate's tables, whose policies its migrations create.
    pub(super) fn is_own_table(&self) -> bool {
        self.name.starts_with(own_tables::PREFIX)
    }

    /// The shortest name by which a statement finds it.
    pub(super) fn display(&self) -> String {
        if self.visible { self.name.clone() } else { self.qualified() }
    }

    fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
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

    pub(super) fn shared(&self, schema: &Schema) -> Option<bool> {
        let names = [self.display(), self.qualified()];
        let shared = |name: &&String| schema.tenant_column(Dialect::Postgres, name).is_none();
        names.iter().find(shared).map(|name| schema.is_writable(Dialect::Postgres, name))
    }

    pub(super) fn declared<'a>(&self, schema: &'a Schema) -> &'a str {
        let names = [self.display(), self.qualified()];
        let column = |name: &String| schema.tenant_column(Dialect::Postgres, name);
        names
            .iter()
            .filter_map(column)
            .find(|column| *column != schema.column_name())
            .unwrap_or(schema.column_name())
    }
}

impl Column {
    /// The type of a tenant column, or why no policy is generated for it.
    pub(super) fn kind(&self) -> Result<Kind, String> {
        Kind::of(&self.declared, self.deterministic)
    }
}
