//! What the database's catalogue says, read as the role itself.

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
    /// The schemas that a name without one is looked for in.
    pub(super) path: Vec<String>,
    pub(super) version: u32,
    pub(super) read_only: bool,
    /// The tenant outside of any transaction.
    pub(super) tenant: String,
    pub(super) roles: Vec<Role>,
    pub(super) settings: Vec<Setting>,
    /// Settings that have a value in which the policies or the keys do not hold.
    pub(super) unsafe_settings: Vec<String>,
    pub(super) large_objects: i64,
}

/// The role itself, or one that it is a member of.
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
    /// Every server has it, and no ordinary role is a member of it.
    pub(super) predefined: bool,
    /// Who of the roles is its member at once.
    pub(super) members: Vec<String>,
}

/// A default of a setting that [`Server`] is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Setting {
    /// In lower case.
    pub(super) name: String,
    /// As it is to be reset.
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

#[derive(Debug, Deserialize)]
struct Reads {
    view: i64,
    relation: i64,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", content = "is", rename_all = "snake_case")]
pub(super) enum Other {
    EventTrigger { name: String, ident: String, schema: String, function: String },
    DefaultGrant { owner: String, schema: Option<String>, to: String },
    Publication { name: String, ident: String, all: bool, tables: Vec<i64>, schemas: Vec<String> },
    Sequence { name: String, tables: Vec<i64> },
}

/// Whose the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// The tenant's in this column.
    Tenant(&'a str),
    /// By what was declared the tenant's in this column, which there is not.
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
    /// What could not be read.
    pub(super) faults: Vec<(&'static str, String)>,
}

impl Catalog {
    pub(super) async fn read(conn: &mut PgConnection, schema: &Schema) -> sqlx::Result<Self> {
        let server: Vec<Server> = rows(conn, include_str!("catalog/server.sql")).await?;
        let server = server.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
        let mut faults = Vec::new();
        let relations: Vec<Relation> =
            tried(conn, "tables, columns and policies", include_str!("catalog/relations.sql"), &mut faults)
                .await?;
        let indexes =
            tried(conn, "keys and indexes", include_str!("catalog/indexes.sql"), &mut faults).await?;
        let foreign_keys = tried(conn, "foreign keys", foreign_key::READ, &mut faults).await?;
        let read: Vec<Reads> = tried(conn, "views", include_str!("catalog/reads.sql"), &mut faults).await?;
        let routines = tried(conn, "functions", include_str!("catalog/routines.sql"), &mut faults).await?;
        let implicit =
            tried(conn, "casts, operators and domains", include_str!("catalog/implicit.sql"), &mut faults)
                .await?;
        let granted =
            tried(conn, "rights on what is the server's", include_str!("catalog/granted.sql"), &mut faults)
                .await?;
        let others = tried(
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
        // Of an extension's tables only those with a tenant column could hold a tenant's rows; a view may read any.
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

    /// Whether the role itself is a superuser, who has every right without being given it.
    pub(super) fn superuser(&self) -> bool {
        self.server.roles.iter().any(|role| role.own && role.superuser)
    }

    /// Whether a role is asked for no policy at all.
    pub(super) fn bypasses(&self) -> bool {
        self.server.roles.iter().any(|role| role.own && (role.superuser || role.bypass))
    }

    /// The tables of tenants that the role can reach, each with its tenant column.
    pub(super) fn tenants<'a>(
        &'a self,
        schema: &'a Schema,
    ) -> impl Iterator<Item = (&'a Relation, &'a Column)> + use<'a> {
        self.tenants_of_any(schema).filter(|(relation, _)| relation.reachable())
    }

    /// The same, and those that the role cannot reach.
    pub(super) fn tenants_of_any<'a>(
        &'a self,
        schema: &'a Schema,
    ) -> impl Iterator<Item = (&'a Relation, &'a Column)> + use<'a> {
        self.relations.values().filter(|relation| relation.is_table()).filter_map(|relation| {
            match self.whose(relation, schema) {
                Whose::Tenant(column) => Some((relation, relation.column(column)?)),
                _ => None,
            }
        })
    }

    pub(super) fn whose<'a>(&'a self, relation: &'a Relation, schema: &'a Schema) -> Whose<'a> {
        if CONTROL_PLANE.contains(&&*relation.name) {
            return Whose::Operator;
        }
        let mut at = relation;
        // A partition is whose its root is; the snapshot may not know it yet.
        for _ in 0..32 {
            if let Some(writable) = at.shared(schema) {
                return Whose::Shared { writable };
            }
            // A child that has a tenant column of its own is a tenant's, whatever it inherits from.
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
            Some(column) => Whose::Tenant(column),
            None => Whose::Unknown(relation.declared(schema)),
        }
    }

    /// These tables, and every partition and child of them.
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

    /// What the generated policies of this database do without a tenant.
    pub(super) fn missing_tenant(&self) -> MissingTenant {
        let raises = |policy: &Policy| {
            policy.name == FLOOR && policy.using.as_ref().is_some_and(|using| using.contains(RAISED))
        };
        let mut policies = self.relations.values().flat_map(|relation| &relation.policies);
        if policies.any(raises) { MissingTenant::Error } else { MissingTenant::NoRows }
    }

    /// The tables of tenants below a view.
    pub(super) fn below<'a>(&'a self, view: i64, schema: &'a Schema) -> Vec<&'a Relation> {
        let found = self.under(view).into_iter();
        let theirs =
            |one: &&Relation| one.is_table() && !matches!(self.whose(one, schema), Whose::Shared { .. });
        let mut found: Vec<&Relation> = found.filter(theirs).collect();
        found.sort_by_key(|relation| relation.display());
        found
    }

    /// A view and everything that it reads, at once or by way of other views.
    pub(super) fn under(&self, view: i64) -> Vec<&Relation> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![view]);
        while let Some(oid) = open.pop() {
            if seen.insert(oid) {
                open.extend(self.reads.get(&oid).into_iter().flatten());
            }
        }
        seen.iter().filter_map(|oid| self.relations.get(oid)).collect()
    }
}

/// One message, and with it one transaction, that waits for nobody long.
///
/// No name of somebody's is taken for one of the server's, neither in the question nor in the answer: what is printed
/// without a schema is PostgreSQL's own.
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

/// The same; what the server refuses is noted, and the others go on.
async fn tried<T: DeserializeOwned>(
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
