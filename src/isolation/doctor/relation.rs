//! A table or a view, with its columns and policies.

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
    /// With its schema, and quoted where needed.
    pub(super) ident: String,
    /// Found without its schema.
    #[serde(skip)]
    pub(super) visible: bool,
    pub(super) kind: char,
    pub(super) owner: String,
    /// By the role, or by one that it is a member of.
    pub(super) owned: bool,
    pub(super) usage: bool,
    /// By a view or a function, whose reader is not asked for the schema.
    used: bool,
    /// Those that do something.
    pub(super) rules: Vec<String>,
    pub(super) rls: bool,
    /// No policy hides a row from the role, and it may read every column.
    pub(super) sees_all: bool,
    pub(super) forced: bool,
    pub(super) partition: bool,
    pub(super) parents: Vec<i64>,
    pub(super) rows: f64,
    /// A view that reads with the rights of who asks.
    pub(super) invoker: bool,
    /// Came with an extension, or was added to one.
    pub(super) member: bool,
    /// Tables of the server that a view reads, and the role may not.
    pub(super) restricted: Vec<String>,
    /// Functions that a view calls, each with its schema in front.
    pub(super) calls: Vec<(String, String)>,
    /// Those of the roles that it is a member of are among them.
    pub(super) privileges: BTreeSet<String>,
    /// Those that need no `SET ROLE`.
    pub(super) at_once: BTreeSet<String>,
    grants: Vec<(String, String)>,
    pub(super) columns: Vec<Column>,
    pub(super) policies: Vec<Policy>,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) ident: String,
    /// Below any domain.
    pub(super) r#type: String,
    pub(super) declared: String,
    pub(super) deterministic: bool,
    pub(super) r#enum: bool,
    pub(super) array: bool,
    /// By itself or by its domain.
    pub(super) not_null: bool,
    pub(super) tenant_not_null: bool,
    pub(super) default: Option<String>,
    pub(super) generated: bool,
    pub(super) identity: bool,
    /// One of the texts that a CHECK constraint lists.
    pub(super) choice: Option<String>,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) permissive: bool,
    pub(super) command: char,
    /// For every role.
    pub(super) everybody: bool,
    /// Its comment is that of a generated one.
    pub(super) marked: bool,
    /// The role could act under it.
    pub(super) reaches: bool,
    /// The role cannot act without it.
    pub(super) binds: bool,
    pub(super) using: Option<String>,
    pub(super) check: Option<String>,
}

impl Relation {
    /// A table, partitioned or not, or a foreign one.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.kind, 'r' | 'p' | 'f')
    }

    pub(super) fn reachable(&self) -> bool {
        (self.usage || self.used) && !self.privileges.is_empty()
    }

    /// Whether its policies come with this crate's migrations.
    pub(super) fn is_own_table(&self) -> bool {
        self.name.starts_with(own_tables::PREFIX)
    }

    /// As a statement says it.
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

    /// `REVOKE` of what the role was given of these rights, by whomever.
    pub(super) fn revoke(&self, rights: &[&str]) -> String {
        let mine = || self.grants.iter().filter(|(right, _)| rights.contains(&&**right));
        let rights: BTreeSet<_> = mine().map(|(right, _)| right.as_str()).collect();
        let from: BTreeSet<_> = mine().map(|(_, to)| to.as_str()).collect();
        let list = |words: BTreeSet<&str>| words.into_iter().collect::<Vec<_>>().join(", ");
        format!("REVOKE {} ON {} FROM {}", list(rights), self.ident, list(from))
    }

    /// Which of these rights were given to the role, rather than being its owner's.
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
        let own = |name: &String| schema.tenant_column(Dialect::Postgres, name);
        names
            .iter()
            .filter_map(own)
            .find(|column| *column != schema.column_name())
            .unwrap_or(schema.column_name())
    }
}

impl Column {
    /// The type as a tenant's, or why policies are not generated for it.
    pub(super) fn kind(&self) -> Result<Kind, String> {
        Kind::of(&self.declared, self.deterministic)
    }
}
