//! [`Relation`]: a table or a view, with its columns and policies.

use serde::Deserialize;
use tenancy_sql::{Dialect, Schema};

use super::policy::Policy;
use super::shards::{Shard, Shards};
use crate::isolation::identifier::quoted;
use crate::isolation::own_tables;

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(crate) struct Relation {
    pub(crate) oid: i64,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// The name with its schema, quoted where needed.
    pub(crate) ident: String,
    /// Its schema is among those in which a name without a schema is found.
    #[serde(skip)]
    pub(crate) in_search_path: bool,
    /// A statement finds it without its schema.
    #[serde(skip)]
    pub(crate) visible: bool,
    /// `relkind`: `r`, `p`, `v`, `m` or `f`.
    pub(crate) kind: char,
    /// Row-level security is enabled.
    pub(crate) rls: bool,
    /// Row-level security applies to the owner too.
    pub(crate) forced: bool,
    pub(crate) partition: bool,
    pub(crate) parents: Vec<i64>,
    /// A view that reads with the rights of its reader.
    pub(crate) invoker: bool,
    /// It belongs to an extension.
    pub(crate) member: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) policies: Vec<Policy>,
    /// Its parts on the nodes of Citus.
    #[serde(skip)]
    pub(crate) shards: Shards,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The name as PostgreSQL prints it, quoted where needed.
    pub(crate) ident: String,
    /// The type, with domains resolved.
    pub(crate) r#type: String,
    /// The type as declared, which may be a domain.
    pub(crate) declared: String,
    pub(crate) deterministic: bool,
    pub(crate) r#enum: bool,
    pub(crate) array: bool,
    /// The column or its domain is NOT NULL.
    pub(crate) not_null: bool,
    /// The column itself is NOT NULL.
    pub(crate) tenant_not_null: bool,
    pub(crate) default: Option<String>,
    pub(crate) generated: bool,
    pub(crate) identity: bool,
    /// A text that a CHECK constraint allows.
    pub(crate) choice: Option<String>,
}

/// Whether a schema has the name that [`PlacementName::of`](crate::tenant::PlacementName) makes from a tenant's id.
pub(crate) fn is_place(schema: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    schema.strip_prefix("t_").is_some_and(|digits| digits.len() == 32 && digits.bytes().all(digit))
}

impl Relation {
    /// Whether it is an ordinary, partitioned or foreign table.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.kind, 'r' | 'p' | 'f')
    }

    /// Whether it is one of this crate's tables, whose policies its migrations create.
    pub(crate) fn is_own_table(&self) -> bool {
        self.name.starts_with(own_tables::PREFIX)
    }

    /// Whether it may contain tenant rows, or show them. A table of an extension does only with a tenant column.
    pub(crate) fn counts(&self, schema: &Schema) -> bool {
        !self.member || !self.is_table() || self.column(self.declared(schema)).is_some()
    }

    /// The shortest name by which a statement finds it. A table in the schema of a tenant is named with its schema,
    /// because every tenant has one of that name.
    pub(crate) fn display(&self) -> String {
        if self.visible && !is_place(&self.schema) { self.name.clone() } else { self.qualified() }
    }

    /// The names by which a declaration may name it. In the schema of a tenant, a table is declared by its name alone.
    fn names(&self) -> [String; 2] {
        let first = if self.visible || is_place(&self.schema) { self.name.clone() } else { self.qualified() };
        [first, self.qualified()]
    }

    pub(crate) fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The name with its schema, always quoted.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// The table in messages, such as `table public.orders`.
    pub(crate) fn object(&self) -> String {
        format!("table {}", self.qualified())
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether its names are declared shared, and then whether each declared name is declared writable.
    pub(crate) fn shared(&self, schema: &Schema) -> Option<bool> {
        let names = self.names();
        let mut shared = names
            .iter()
            .filter(|name| schema.tenant_column(Dialect::Postgres, name).is_none())
            .map(|name| schema.is_writable(Dialect::Postgres, name))
            .peekable();
        shared.peek().is_some().then(|| shared.all(|writable| writable))
    }

    /// The name of the tenant column that is declared for it: its own, or else the default.
    pub(crate) fn declared<'a>(&self, schema: &'a Schema) -> &'a str {
        let names = self.names();
        let column = |name: &String| schema.tenant_column(Dialect::Postgres, name);
        names
            .iter()
            .filter_map(column)
            .find(|column| *column != schema.column_name())
            .unwrap_or(schema.column_name())
    }

    /// Whether Citus runs its statements on shards.
    pub(crate) fn has_shards(&self) -> bool {
        !self.shards.all.is_empty()
    }

    /// Whether Citus distributes its rows over nodes, or replicates them.
    pub(crate) fn is_distributed(&self) -> bool {
        self.has_shards() && !self.shards.local
    }

    /// Whether Citus knows it, and its rows are on the coordinator only.
    pub(crate) fn is_known_to_citus(&self) -> bool {
        self.has_shards() && self.shards.local
    }

    /// Whether a policy permits rows. Citus creates a restrictive policy as a permissive one on each shard.
    pub(crate) fn is_permissive(&self, policy: &Policy) -> bool {
        let on_shard =
            |shard: &Shard| shard.policies.iter().any(|one| one.name == policy.name && one.permissive);
        policy.permissive || self.shards.all.iter().any(on_shard)
    }

    /// The shards with other row-level security than the table.
    pub(crate) fn differing_shards(&self) -> impl Iterator<Item = &Shard> {
        let is_like = |shard: &Shard| {
            (shard.rls, shard.forced) == (self.rls, self.forced)
                && shard.policies.len() == self.policies.len()
                && shard.policies.iter().all(|own| self.policies.iter().any(|policy| policy.is_like(own)))
        };
        self.shards.all.iter().filter(move |shard| !is_like(shard))
    }
}
