//! The tables of a database, and whose they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use tenancy_sql::{Dialect, Schema};

use super::error::{refused, unread};
use super::relations::{Column, Found, Policy, Relation, Security, columns, parents, policies, relations};
use crate::error::Result;
use crate::isolation::own_tables;
use crate::isolation::policy::{Kind, quoted};

/// Where sqlx keeps which migrations were run.
const MIGRATIONS: &str = "_sqlx_migrations";
const OLDEST: i32 = 150_000;

/// What policies are made for.
#[derive(Default)]
pub(super) struct Catalog {
    /// Those of tenants, by their names.
    pub(super) tenants: Vec<Table>,
    pub(super) shared: Vec<Table>,
    /// Foreign tables below a tenant's, which can have no policy.
    pub(super) foreign: Vec<Table>,
    /// Parents of tenants' tables that have no tenant, each with its child.
    pub(super) open: Vec<(Other, String)>,
    /// Tables without a tenant column that are not declared as shared.
    pub(super) unknown: Vec<Other>,
    /// Tables with a tenant column outside of the search path, whose security is not on or does not bind their owner.
    pub(super) far: Vec<Other>,
}

/// A table that gets no policy.
#[derive(Clone)]
pub(super) struct Other {
    pub(super) oid: i64,
    pub(super) shown: String,
    /// In a schema of the search path.
    pub(super) near: bool,
}

pub(super) struct Table {
    pub(super) oid: i64,
    /// With its schema, quoted.
    pub(super) name: String,
    /// With its schema, for people.
    pub(super) shown: String,
    pub(super) schema: String,
    /// None of a shared one.
    pub(super) tenant: Option<Column>,
    pub(super) writable: bool,
    pub(super) partition: bool,
    /// Every table that it is a partition or a child of.
    pub(super) above: BTreeSet<i64>,
    pub(super) security: Security,
    pub(super) policies: Vec<Policy>,
}

impl Table {
    pub(super) fn column(&self) -> &Column {
        self.tenant.as_ref().expect("a tenant's table was found by its column")
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

    /// A tenant's table and all below it.
    pub(super) fn family(&self, oid: i64) -> impl Iterator<Item = &Table> {
        self.tenants.iter().filter(move |table| table.oid == oid || table.above.contains(&oid))
    }

    /// Reads it, and takes the search path away for the rest of the transaction.
    pub(super) async fn read(conn: &mut PgConnection, schema: &Schema) -> Result<Self> {
        let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
            .fetch_one(&mut *conn)
            .await
            .map_err(unread)?;
        if version < OLDEST {
            return Err(refused(format!(
                "PostgreSQL 15 or later is needed, for views with the rights of their reader; this is {version}"
            )));
        }
        let relations = relations(conn).await?;
        // From here on the database prints every name in one way.
        sqlx::query(
            "SELECT set_config('search_path', '', true), set_config('quote_all_identifiers', 'off', true)",
        )
        .execute(&mut *conn)
        .await
        .map_err(unread)?;
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
    columns: HashMap<(i64, String), Found>,
    policies: HashMap<i64, Vec<Policy>>,
}

impl Reader<'_> {
    fn catalog(mut self) -> Result<Catalog> {
        let mut own = BTreeMap::new();
        for (oid, relation) in &self.relations {
            if relation.near
                && !relation.name.starts_with(own_tables::PREFIX)
                && let Some(column) = self.own_column(*oid, relation)?
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
                    return Err(refused(format!(
                        "the table `{}` would be a tenant's by `{known}` and, as a child, by `{column}`; name one of \
                         them for both under `columns` in tenancy.toml",
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
                    if let Some(other) = self.other(*parent) {
                        catalog.open.push((other, table.shown.clone()));
                    }
                }
                let foreign = relation.kind == i8::try_from(b'f').unwrap_or_default();
                if foreign { &mut catalog.foreign } else { &mut catalog.tenants }.push(table);
                continue;
            }
            // Of an extension's tables only those with a tenant column could hold a tenant's rows.
            let known = relation.name.starts_with(own_tables::PREFIX) || relation.name == MIGRATIONS;
            if known || (relation.member && !self.has_column(oid, relation)) {
                continue;
            }
            let Some(other) = self.other(oid) else { continue };
            if !relation.near {
                let secured = relation.security.enabled && relation.security.forced;
                if self.is_shared(relation) {
                    continue;
                }
                match self.has_column(oid, relation) {
                    false => catalog.unknown.push(other),
                    true if !secured => catalog.far.push(other),
                    true => {}
                }
            } else if self.is_shared(relation) {
                table.writable = self.is_writable(relation);
                catalog.shared.push(table);
            } else if table.policies.iter().any(Policy::is_ours) {
                return Err(refused(format!(
                    "the table `{}` has policies of `tenancy` and no tenant column any more; name the column under \
                     `columns` in tenancy.toml, or declare the table as shared",
                    table.shown
                )));
            } else {
                catalog.unknown.push(other);
            }
        }
        catalog.unknown.retain(|one| !catalog.open.iter().any(|(parent, _)| parent.oid == one.oid));
        Ok(catalog)
    }

    fn other(&self, oid: i64) -> Option<Other> {
        let relation = self.relations.get(&oid)?;
        Some(Other { oid, shown: relation.shown(), near: relation.near })
    }

    /// Whether a table that is not shared has the tenant column that is declared for it.
    fn has_column(&self, oid: i64, relation: &Relation) -> bool {
        self.names(relation).flatten().any(|column| self.columns.contains_key(&(oid, column.to_owned())))
    }

    /// The column by which a table says itself that it is a tenant's.
    fn own_column(&self, oid: i64, relation: &Relation) -> Result<Option<String>> {
        let usual = self.schema.column_name();
        let has = |column: &str| self.columns.contains_key(&(oid, column.to_owned()));
        if self.is_shared(relation) {
            if has(usual) {
                return Err(refused(format!(
                    "the table `{}` is declared as shared, and in the database it has the tenant column; take it out \
                     of `shared` in tenancy.toml",
                    relation.shown()
                )));
            }
            return Ok(None);
        }
        // A column that was declared for this table stands above the usual one.
        let Some(declared) = self.names(relation).flatten().find(|column| *column != usual) else {
            return Ok(has(usual).then(|| usual.to_owned()));
        };
        if has(declared) {
            return Ok(Some(declared.to_owned()));
        }
        Err(refused(format!(
            "the table `{}` is declared with the tenant column `{declared}`, and has no such column; correct `columns` in \
             tenancy.toml",
            relation.shown()
        )))
    }

    /// The tenant column that the declaration has for each name of a table.
    fn names<'a>(&'a self, relation: &Relation) -> impl Iterator<Item = Option<&'a str>> {
        relation.names().into_iter().map(|name| self.schema.tenant_column(Dialect::Postgres, &name))
    }

    fn is_shared(&self, relation: &Relation) -> bool {
        self.names(relation).any(|column| column.is_none())
    }

    /// Of a shared one: by whichever name it is declared, it is declared writable.
    fn is_writable(&self, relation: &Relation) -> bool {
        relation.names().iter().all(|name| {
            self.schema.tenant_column(Dialect::Postgres, name).is_some()
                || self.schema.is_writable(Dialect::Postgres, name)
        })
    }

    /// Every table above a child, however far.
    fn above(&self, oid: i64) -> BTreeSet<i64> {
        let mut above = BTreeSet::new();
        let mut next = vec![oid];
        while let Some(oid) = next.pop() {
            next.extend(self.parents.get(&oid).into_iter().flatten().filter(|parent| above.insert(**parent)));
        }
        above
    }

    fn tenant_column(&self, oid: i64, shown: &str, column: &str) -> Result<Column> {
        let Some(Found { column, kind, deterministic }) = self.columns.get(&(oid, column.to_owned())) else {
            return Err(refused(format!("the table `{shown}` lost its column `{column}` while it was read")));
        };
        let kind = Kind::of(kind, *deterministic)
            .map_err(|why| refused(format!("the tenant column `{}` of `{shown}` {why}", column.name)))?;
        Ok(Column { kind, ..column.clone() })
    }
}
