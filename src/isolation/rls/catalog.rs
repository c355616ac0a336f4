//! [`Catalog`]: the tables of a database, and which of them are tenant tables.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use tenancy_sql::{Dialect, Schema};

use super::error::{misconfigured, read_error};
use super::relations::{
    Column, Policy, RawColumn, Relation, Security, columns, parents, policies, relations,
};
use crate::error::Result;
use crate::isolation::own_tables;
use crate::isolation::policy::{Kind, quoted};

/// The table in which sqlx records migrations.
const MIGRATIONS: &str = "_sqlx_migrations";
/// The oldest supported `server_version_num`.
const OLDEST: i32 = 150_000;

/// The tables of a database, by what policies they need.
#[derive(Default)]
pub(super) struct Catalog {
    /// The tenant tables, sorted by name.
    pub(super) tenants: Vec<Table>,
    pub(super) shared: Vec<Table>,
    /// Foreign tables that are children of tenant tables. They cannot have a policy.
    pub(super) foreign: Vec<Table>,
    /// Parents without a tenant column, each with its child, a tenant table.
    pub(super) open: Vec<(UnmanagedTable, String)>,
    /// Tables without a tenant column that are not declared shared.
    pub(super) unknown: Vec<UnmanagedTable>,
    /// Tables with a tenant column outside of the search path, whose row-level security is off or not forced.
    pub(super) outside_search_path: Vec<UnmanagedTable>,
}

/// A table that gets no policy.
#[derive(Clone)]
pub(super) struct UnmanagedTable {
    pub(super) oid: i64,
    pub(super) shown: String,
    /// It is in a schema of the search path.
    pub(super) in_search_path: bool,
}

pub(super) struct Table {
    pub(super) oid: i64,
    /// The name with its schema, quoted.
    pub(super) name: String,
    /// The name with its schema, for messages.
    pub(super) shown: String,
    pub(super) schema: String,
    /// The tenant column; `None` for a shared table.
    pub(super) tenant: Option<Column>,
    pub(super) writable: bool,
    pub(super) partition: bool,
    /// Every table above it: parents, and their parents.
    pub(super) above: BTreeSet<i64>,
    pub(super) security: Security,
    pub(super) policies: Vec<Policy>,
}

impl Table {
    pub(super) fn column(&self) -> &Column {
        self.tenant.as_ref().expect("a tenant table was found by its column")
    }

    pub(super) fn object(&self) -> String {
        format!("table {}", self.shown)
    }
}

impl Catalog {
    pub(super) fn oids(&self) -> Vec<i64> {
        self.tenants.iter().map(|table| table.oid).collect()
    }

    pub(super) fn tenant(&self, oid: i64) -> Option<&Table> {
        self.tenants.iter().find(|table| table.oid == oid)
    }

    /// A tenant table with all its partitions and children.
    pub(super) fn family(&self, oid: i64) -> impl Iterator<Item = &Table> {
        self.tenants.iter().filter(move |table| table.oid == oid || table.above.contains(&oid))
    }

    /// Reads the catalogue, and empties the search path for the rest of the transaction.
    pub(super) async fn read(conn: &mut PgConnection, schema: &Schema) -> Result<Self> {
        let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
            .fetch_one(&mut *conn)
            .await
            .map_err(read_error)?;
        if version < OLDEST {
            return Err(misconfigured(format!(
                "PostgreSQL 15 or later is required, for views with `security_invoker`; this is {version}"
            )));
        }
        let relations = relations(conn).await?;
        // From here on PostgreSQL prints every name with its schema, quoted only where needed.
        sqlx::query(
            "SELECT set_config('search_path', '', true), set_config('quote_all_identifiers', 'off', true)",
        )
        .execute(&mut *conn)
        .await
        .map_err(read_error)?;
        let parents = parents(conn).await?;
        let columns = columns(conn, schema, &relations).await?;
        let policies = policies(conn).await?;
        Reader { schema, relations, parents, columns, policies }.catalog()
    }
}

struct Reader<'a> {
    schema: &'a Schema,
    relations: BTreeMap<i64, Relation>,
    parents: HashMap<i64, Vec<i64>>,
    columns: HashMap<(i64, String), RawColumn>,
    policies: HashMap<i64, Vec<Policy>>,
}

impl Reader<'_> {
    fn catalog(mut self) -> Result<Catalog> {
        let mut own = BTreeMap::new();
        for (oid, relation) in &self.relations {
            if relation.in_search_path
                && !relation.name.starts_with(own_tables::PREFIX)
                && let Some(column) = self.direct_tenant_column(*oid, relation)?
            {
                own.insert(*oid, column);
            }
        }
        let mut all = own.clone();
        for oid in self.relations.keys() {
            let above = self.above(*oid);
            for column in above.iter().filter_map(|parent| own.get(parent)) {
                let known = all.entry(*oid).or_insert_with(|| column.clone());
                if known != column {
                    return Err(misconfigured(format!(
                        "the table `{}` has the tenant column `{known}` and, as a child, `{column}`; name one column \
                         for both tables under `columns` in tenancy.toml",
                        self.relations[oid].shown()
                    )));
                }
            }
        }
        let mut catalog = Catalog::default();
        let mut order: Vec<i64> = self.relations.keys().copied().collect();
        order.sort_by_key(|oid| (&self.relations[oid].schema, &self.relations[oid].name));
        for oid in order {
            let policies = self.policies.remove(&oid).unwrap_or_default();
            let relation = &self.relations[&oid];
            let shown = relation.shown();
            let tenant = all.get(&oid).map(|column| self.tenant_column(oid, &shown, column)).transpose()?;
            let mut table = Table {
                oid,
                name: format!("{}.{}", quoted(&relation.schema), quoted(&relation.name)),
                shown,
                schema: relation.schema.clone(),
                tenant,
                writable: false,
                partition: relation.partition,
                above: self.above(oid),
                security: relation.security,
                policies,
            };
            if table.tenant.is_some() {
                for parent in
                    self.parents.get(&oid).into_iter().flatten().filter(|oid| !all.contains_key(oid))
                {
                    if let Some(other) = self.unmanaged(*parent) {
                        catalog.open.push((other, table.shown.clone()));
                    }
                }
                let foreign = relation.kind == i8::try_from(b'f').unwrap_or_default();
                if foreign { &mut catalog.foreign } else { &mut catalog.tenants }.push(table);
                continue;
            }
            // A table of an extension holds tenant rows only if it has a tenant column.
            let known = relation.name.starts_with(own_tables::PREFIX) || relation.name == MIGRATIONS;
            if known || (relation.member && !self.has_column(oid, relation)) {
                continue;
            }
            let Some(other) = self.unmanaged(oid) else { continue };
            if !relation.in_search_path {
                let secured = relation.security.enabled && relation.security.forced;
                if self.is_shared(relation) {
                    continue;
                }
                match self.has_column(oid, relation) {
                    false => catalog.unknown.push(other),
                    true if !secured => catalog.outside_search_path.push(other),
                    true => {}
                }
            } else if self.is_shared(relation) {
                table.writable = self.is_writable(relation);
                catalog.shared.push(table);
            } else if table.policies.iter().any(Policy::is_ours) {
                return Err(misconfigured(format!(
                    "the table `{}` has policies of `tenancy`, but no tenant column; name the column under `columns` \
                     in tenancy.toml, or declare the table shared",
                    table.shown
                )));
            } else {
                catalog.unknown.push(other);
            }
        }
        catalog.unknown.retain(|one| !catalog.open.iter().any(|(parent, _)| parent.oid == one.oid));
        Ok(catalog)
    }

    fn unmanaged(&self, oid: i64) -> Option<UnmanagedTable> {
        let relation = self.relations.get(&oid)?;
        Some(UnmanagedTable { oid, shown: relation.shown(), in_search_path: relation.in_search_path })
    }

    /// Whether a table has the tenant column that is declared for it. Never for a shared table.
    fn has_column(&self, oid: i64, relation: &Relation) -> bool {
        self.names(relation).flatten().any(|column| self.columns.contains_key(&(oid, column.to_owned())))
    }

    /// The tenant column of a table itself, without its parents.
    fn direct_tenant_column(&self, oid: i64, relation: &Relation) -> Result<Option<String>> {
        let default = self.schema.column_name();
        let has = |column: &str| self.columns.contains_key(&(oid, column.to_owned()));
        if self.is_shared(relation) {
            if has(default) {
                return Err(misconfigured(format!(
                    "the table `{}` is declared shared, but it has the tenant column; remove it from `shared` in \
                     tenancy.toml",
                    relation.shown()
                )));
            }
            return Ok(None);
        }
        // A column that is declared for this table has priority over the default column.
        let Some(declared) = self.names(relation).flatten().find(|column| *column != default) else {
            return Ok(has(default).then(|| default.to_owned()));
        };
        if has(declared) {
            return Ok(Some(declared.to_owned()));
        }
        Err(misconfigured(format!(
            "the table `{}` is declared with the tenant column `{declared}`, but has no such column; correct `columns` in \
             tenancy.toml",
            relation.shown()
        )))
    }

    /// The declared tenant column for each name of a table; `None` for a shared table.
    fn names<'a>(&'a self, relation: &Relation) -> impl Iterator<Item = Option<&'a str>> {
        relation.names().into_iter().map(|name| self.schema.tenant_column(Dialect::Postgres, &name))
    }

    fn is_shared(&self, relation: &Relation) -> bool {
        self.names(relation).any(|column| column.is_none())
    }

    /// Whether a shared table is declared writable under each name that is declared.
    fn is_writable(&self, relation: &Relation) -> bool {
        relation.names().iter().all(|name| {
            self.schema.tenant_column(Dialect::Postgres, name).is_some()
                || self.schema.is_writable(Dialect::Postgres, name)
        })
    }

    /// Every table above a child, at any distance.
    fn above(&self, oid: i64) -> BTreeSet<i64> {
        let mut above = BTreeSet::new();
        let mut next = vec![oid];
        while let Some(oid) = next.pop() {
            next.extend(self.parents.get(&oid).into_iter().flatten().filter(|parent| above.insert(**parent)));
        }
        above
    }

    fn tenant_column(&self, oid: i64, shown: &str, column: &str) -> Result<Column> {
        let Some(RawColumn { column, kind, deterministic }) = self.columns.get(&(oid, column.to_owned()))
        else {
            return Err(misconfigured(format!(
                "the table `{shown}` lost its column `{column}` during the check; run it again"
            )));
        };
        let kind = Kind::of(kind, *deterministic).map_err(|why| {
            misconfigured(format!("the tenant column `{}` of `{shown}` {why}", column.name))
        })?;
        Ok(Column { kind, ..column.clone() })
    }
}
