//! [`Catalog`]: what the doctor reads from PostgreSQL's catalogue, as the examined role. It judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use tenancy_sql::Schema;

use super::objects::{Granted, Implicit, Routine};
use super::relation::{Column, Policy, Relation};
use crate::isolation::foreign_key::{self, ForeignKey};
use crate::isolation::own_tables::CONTROL_PLANE;
use crate::isolation::policy::{FLOOR, MissingTenant, RAISED};

#[derive(Debug, Deserialize)]
pub(super) struct Server {
    pub(super) role: String,
    pub(super) database: String,
    /// The search path: the schemas in which a name without a schema is resolved.
    pub(super) path: Vec<String>,
    pub(super) version: u32,
    pub(super) read_only: bool,
    /// The value of `app.tenant_id` outside of any transaction.
    pub(super) tenant: String,
    pub(super) roles: Vec<Role>,
    pub(super) settings: Vec<Setting>,
    /// Settings whose value disables policies or keys.
    pub(super) unsafe_settings: Vec<String>,
    pub(super) large_objects: i64,
}

/// The examined role, or a role that it is a member of.
#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) ident: String,
    pub(super) own: bool,
    pub(super) superuser: bool,
    pub(super) bypass: bool,
    pub(super) replication: bool,
    pub(super) createrole: bool,
    pub(super) files: bool,
    /// A role that every server has and that no ordinary role is a member of.
    pub(super) predefined: bool,
    /// The roles among these that are direct members of it.
    pub(super) members: Vec<String>,
}

/// A default value of a setting, for a role or a database.
#[derive(Debug, Deserialize)]
pub(super) struct Setting {
    /// In lower case.
    pub(super) name: String,
    /// The name as `RESET` needs it.
    pub(super) ident: String,
    pub(super) role: Option<String>,
    pub(super) database: Option<String>,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Index {
    pub(super) table: i64,
    pub(super) name: String,
    pub(super) ident: String,
    pub(super) short: String,
    pub(super) unique: bool,
    pub(super) primary: bool,
    pub(super) exclusion: bool,
    pub(super) constraint: bool,
    pub(super) method: String,
    pub(super) inherited: bool,
    pub(super) referenced: bool,
    pub(super) special: bool,
    pub(super) predicate: Option<String>,
    pub(super) columns: Vec<Option<String>>,
    pub(super) terms: Vec<String>,
    pub(super) definition: String,
    pub(super) leaky: bool,
}

/// A view, and a relation that it reads.
#[derive(Debug, Deserialize)]
struct Reads {
    view: i64,
    relation: i64,
}

/// An object that is no table, function or privilege of the role.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", content = "is", rename_all = "snake_case")]
pub(super) enum Other {
    EventTrigger { name: String, ident: String, schema: String, function: String },
    DefaultGrant { owner: String, schema: Option<String>, to: String },
    Publication { name: String, ident: String, all: bool, tables: Vec<i64>, schemas: Vec<String> },
    Sequence { name: String, tables: Vec<i64> },
}

/// Which tenants own the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership<'a> {
    /// The tenant in this column.
    Tenant(&'a str),
    /// The tenant in this declared column, which the table does not have.
    Unknown(&'a str),
    Shared {
        writable: bool,
    },
    Operator,
}

pub(super) struct Catalog {
    pub(super) server: Server,
    pub(super) relations: BTreeMap<i64, Relation>,
    pub(super) indexes: Vec<Index>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    reads: BTreeMap<i64, Vec<i64>>,
    pub(super) routines: Vec<Routine>,
    pub(super) implicit: Vec<Implicit>,
    pub(super) granted: Vec<Granted>,
    pub(super) others: Vec<Other>,
    /// Queries that failed, each with the error message.
    pub(super) faults: Vec<(&'static str, String)>,
}

impl Catalog {
    pub(super) async fn read(conn: &mut PgConnection, schema: &Schema) -> sqlx::Result<Self> {
        let server: Vec<Server> = rows(conn, include_str!("catalog/server.sql")).await?;
        let server = server.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
        let mut faults = Vec::new();
        let relations: Vec<Relation> = rows_or_fault(
            conn,
            "tables, columns and policies",
            include_str!("catalog/relations.sql"),
            &mut faults,
        )
        .await?;
        let indexes =
            rows_or_fault(conn, "keys and indexes", include_str!("catalog/indexes.sql"), &mut faults).await?;
        let foreign_keys = rows_or_fault(conn, "foreign keys", foreign_key::READ, &mut faults).await?;
        let read: Vec<Reads> =
            rows_or_fault(conn, "views", include_str!("catalog/reads.sql"), &mut faults).await?;
        let routines =
            rows_or_fault(conn, "functions", include_str!("catalog/routines.sql"), &mut faults).await?;
        let implicit = rows_or_fault(
            conn,
            "casts, operators and domains",
            include_str!("catalog/implicit.sql"),
            &mut faults,
        )
        .await?;
        let granted = rows_or_fault(
            conn,
            "privileges on objects of the server",
            include_str!("catalog/granted.sql"),
            &mut faults,
        )
        .await?;
        let others = rows_or_fault(
            conn,
            "default privileges, publications, event triggers and sequences",
            include_str!("catalog/others.sql"),
            &mut faults,
        )
        .await?;
        let mut relations: BTreeMap<i64, Relation> =
            relations.into_iter().map(|relation| (relation.oid, relation)).collect();
        let at = |schema: &str| server.path.iter().position(|one| one == schema);
        let mut first = BTreeMap::<String, usize>::new();
        for relation in relations.values() {
            if let Some(at) = at(&relation.schema) {
                let first = first.entry(relation.name.clone()).or_insert(at);
                *first = at.min(*first);
            }
        }
        for relation in relations.values_mut() {
            relation.visible = first.get(&relation.name).copied() == at(&relation.schema)
                && first.contains_key(&relation.name);
        }
        // A table of an extension holds tenant rows only if it has a tenant column; a view may read any table.
        relations
            .retain(|_, one| !one.member || !one.is_table() || one.column(one.declared(schema)).is_some());
        let mut reads = BTreeMap::<i64, Vec<i64>>::new();
        for Reads { view, relation } in read {
            reads.entry(view).or_default().push(relation);
        }
        Ok(Self {
            server,
            relations,
            indexes,
            foreign_keys,
            reads,
            routines,
            implicit,
            granted,
            others,
            faults,
        })
    }

    /// Whether the role itself is a superuser, who has every privilege without a grant.
    pub(super) fn superuser(&self) -> bool {
        self.server.roles.iter().any(|role| role.own && role.superuser)
    }

    /// Whether PostgreSQL applies no policy to the role.
    pub(super) fn bypasses(&self) -> bool {
        self.server.roles.iter().any(|role| role.own && (role.superuser || role.bypass))
    }

    /// The tenant tables that the role can reach, each with its tenant column.
    pub(super) fn tenants<'a>(
        &'a self,
        schema: &'a Schema,
    ) -> impl Iterator<Item = (&'a Relation, &'a Column)> + use<'a> {
        self.tenants_of_any(schema).filter(|(relation, _)| relation.reachable())
    }

    /// All tenant tables, including those that the role cannot reach.
    pub(super) fn tenants_of_any<'a>(
        &'a self,
        schema: &'a Schema,
    ) -> impl Iterator<Item = (&'a Relation, &'a Column)> + use<'a> {
        self.relations.values().filter(|relation| relation.is_table()).filter_map(|relation| {
            match self.ownership(relation, schema) {
                Ownership::Tenant(column) => Some((relation, relation.column(column)?)),
                _ => None,
            }
        })
    }

    pub(super) fn ownership<'a>(&'a self, relation: &'a Relation, schema: &'a Schema) -> Ownership<'a> {
        if CONTROL_PLANE.contains(&&*relation.name) {
            return Ownership::Operator;
        }
        let mut at = relation;
        // A partition has the owner of its root; the snapshot may not contain the partition yet.
        for _ in 0..32 {
            if let Some(writable) = at.shared(schema) {
                return Ownership::Shared { writable };
            }
            // A child with a tenant column of its own is a tenant table, whatever it inherits from.
            let own = !at.partition && at.column(at.declared(schema)).is_some();
            match at.parents.first().filter(|_| !own).and_then(|parent| self.relations.get(parent)) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        let named = [relation, at].into_iter().find_map(|one| {
            let column = one.declared(schema);
            relation.column(column).map(|column| &*column.name)
        });
        match named {
            Some(column) => Ownership::Tenant(column),
            None => Ownership::Unknown(relation.declared(schema)),
        }
    }

    /// These tables, with all their partitions and children.
    pub(super) fn family<'a>(&'a self, oids: &[i64]) -> impl Iterator<Item = &'a Relation> + use<'a> {
        let mut family: BTreeSet<i64> = oids.iter().copied().collect();
        loop {
            let below = |relation: &&Relation| relation.parents.iter().any(|parent| family.contains(parent));
            let more: Vec<i64> = self.relations.values().filter(below).map(|relation| relation.oid).collect();
            let before = family.len();
            family.extend(more);
            if family.len() == before {
                break;
            }
        }
        family.into_iter().filter_map(|oid| self.relations.get(&oid))
    }

    /// What the generated policies of this database do when no tenant is set.
    pub(super) fn missing_tenant(&self) -> MissingTenant {
        let raises = |policy: &Policy| {
            policy.name == FLOOR && policy.using.as_ref().is_some_and(|using| using.contains(RAISED))
        };
        let mut policies = self.relations.values().flat_map(|relation| &relation.policies);
        if policies.any(raises) { MissingTenant::Error } else { MissingTenant::NoRows }
    }

    /// The tables that a view reads, without the shared ones.
    pub(super) fn tables_read_by<'a>(&'a self, view: i64, schema: &'a Schema) -> Vec<&'a Relation> {
        let found = self.relations_read_by(view).into_iter();
        let not_shared = |one: &&Relation| {
            one.is_table() && !matches!(self.ownership(one, schema), Ownership::Shared { .. })
        };
        let mut found: Vec<&Relation> = found.filter(not_shared).collect();
        found.sort_by_key(|relation| relation.display());
        found
    }

    /// A view and every relation that it reads, directly or through other views.
    pub(super) fn relations_read_by(&self, view: i64) -> Vec<&Relation> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![view]);
        while let Some(oid) = open.pop() {
            if seen.insert(oid) {
                open.extend(self.reads.get(&oid).into_iter().flatten());
            }
        }
        seen.iter().filter_map(|oid| self.relations.get(oid)).collect()
    }
}

/// Runs a query as one message, and so as one transaction, with timeouts for locks and for the statement.
///
/// The search path is `pg_catalog` only: a name without a schema, in the query and in what PostgreSQL prints, is one
/// of PostgreSQL's own.
pub(super) async fn rows<T: DeserializeOwned>(conn: &mut PgConnection, sql: &str) -> sqlx::Result<Vec<T>> {
    let sql = format!(
        "SELECT pg_catalog.set_config('tenancy.path', pg_catalog.to_json(pg_catalog.current_schemas(false))::pg_catalog.text, true); \
         SET LOCAL search_path = pg_catalog; SET LOCAL jit = off; SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '2s'; \
         SELECT row_to_json(q)::text FROM (\n{sql}) q"
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await?;
    rows.iter()
        .skip(1)
        .map(|row| {
            let text: &str = row.try_get(0)?;
            serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()))
        })
        .collect()
}

/// Runs a query like [`rows`]. If the server rejects it, the result is empty and the message goes to `faults`.
async fn rows_or_fault<T: DeserializeOwned>(
    conn: &mut PgConnection,
    what: &'static str,
    sql: &str,
    faults: &mut Vec<(&'static str, String)>,
) -> sqlx::Result<Vec<T>> {
    match rows(conn, sql).await {
        Err(sqlx::Error::Database(error)) => {
            faults.push((what, error.message().to_owned()));
            Ok(Vec::new())
        }
        Err(sqlx::Error::Decode(error)) => {
            faults.push((what, error.to_string()));
            Ok(Vec::new())
        }
        done => done,
    }
}
