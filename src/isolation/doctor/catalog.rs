//! [`Catalog`]: what the doctor reads from PostgreSQL's catalogue, as the examined role. It judges nothing.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;

use super::examined::Examined;
use super::objects::{Granted, Implicit, Routine};
use crate::isolation::catalog::{
    self, Column, Extent, FOREIGN_KEYS, ForeignKey, INDEXES, Index, Ownership, Policy, READS, RELATIONS,
    Reads, Relations, Setting as LocalSetting,
};
use crate::isolation::comparison::MissingTenant;

/// A statement of the doctor waits and runs for a limited time.
pub(super) const TIME_LIMITS: [LocalSetting; 2] = [("statement_timeout", "10s"), ("lock_timeout", "2s")];

#[derive(Debug, Deserialize)]
pub(super) struct Server {
    pub(super) role: String,
    pub(super) database: String,
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

/// An object that is no table, function or privilege of the role.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", content = "is", rename_all = "snake_case")]
pub(super) enum Other {
    EventTrigger { name: String, ident: String, schema: String, function: String },
    DefaultGrant { owner: String, schema: Option<String>, to: String },
    Publication { name: String, ident: String, all: bool, tables: Vec<i64>, schemas: Vec<String> },
    Sequence { name: String, tables: Vec<i64> },
}

const SHARDS: &str = "shards of Citus";

/// The part of a database that is examined.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Everything,
    WithoutPlaces,
    SearchPath,
}

pub(super) struct Catalog {
    pub(super) server: Server,
    /// The schemas in which a name without a schema is found.
    pub(super) search_path: Vec<String>,
    pub(super) relations: Relations<Examined>,
    pub(super) indexes: Vec<Index>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    reads: Reads,
    pub(super) routines: Vec<Routine>,
    pub(super) implicit: Vec<Implicit>,
    pub(super) granted: Vec<Granted>,
    pub(super) others: Vec<Other>,
    /// Queries that failed, each with the error message.
    pub(super) faults: Vec<(&'static str, String)>,
}

impl Catalog {
    pub(super) async fn read(conn: &mut PgConnection, schema: &Schema, part: Part) -> sqlx::Result<Self> {
        let search_path = catalog::search_path(conn).await?;
        let extent = match part {
            Part::Everything => Extent::Everything,
            Part::WithoutPlaces => Extent::WithoutPlaces,
            Part::SearchPath => Extent::Schemas(search_path.clone()),
        };
        let server: Vec<Server> = rows(conn, include_str!("catalog/server.sql")).await?;
        let server = server.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
        let mut reader = Reader { conn, faults: Vec::new() };
        let examined = format!(
            "SELECT * FROM ({}) relations JOIN ({}) access USING (oid)",
            extent.limit(RELATIONS),
            include_str!("catalog/access.sql")
        );
        let relations = reader.rows("tables, columns and policies", &examined).await?;
        let mut relations: Relations<Examined> = Relations::new(relations, &search_path);
        relations.retain(|one| one.counts(schema));
        match catalog::shards(reader.conn).await {
            Ok(shards) => relations.set_shards(shards),
            Err(sqlx::Error::Database(error)) => reader.faults.push((SHARDS, error.message().to_owned())),
            Err(sqlx::Error::Decode(error)) => reader.faults.push((SHARDS, error.to_string())),
            Err(error) => return Err(error),
        }
        let indexes = reader.rows("keys and indexes", &extent.limit(INDEXES)).await?;
        let foreign_keys = reader.rows("foreign keys", &extent.limit(FOREIGN_KEYS)).await?;
        let reads = reader.rows("views", READS).await?;
        let routines = reader.rows("functions", include_str!("catalog/routines.sql")).await?;
        let implicit =
            reader.rows("casts, operators and domains", include_str!("catalog/implicit.sql")).await?;
        let granted =
            reader.rows("privileges on objects of the server", include_str!("catalog/granted.sql")).await?;
        let others = reader
            .rows(
                "default privileges, publications, event triggers and sequences",
                include_str!("catalog/others.sql"),
            )
            .await?;
        let faults = reader.faults;
        Ok(Self {
            server,
            search_path,
            relations,
            indexes,
            foreign_keys,
            reads: Reads::new(reads),
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
    ) -> impl Iterator<Item = (&'a Examined, &'a Column)> + use<'a> {
        self.tenants_of_any(schema).filter(|(relation, _)| relation.reachable())
    }

    /// All tenant tables, including those that the role cannot reach.
    pub(super) fn tenants_of_any<'a>(
        &'a self,
        schema: &'a Schema,
    ) -> impl Iterator<Item = (&'a Examined, &'a Column)> + use<'a> {
        self.relations.values().filter(|relation| relation.is_table()).filter_map(|relation| {
            match self.ownership(relation, schema) {
                Ownership::Tenant(column) => Some((relation, column)),
                _ => None,
            }
        })
    }

    pub(super) fn ownership<'a>(&'a self, relation: &'a Examined, schema: &'a Schema) -> Ownership<'a> {
        self.relations.ownership(relation, schema)
    }

    /// What the generated policies of this database do when no tenant is set.
    pub(super) fn missing_tenant(&self) -> MissingTenant {
        let mut policies = self.relations.values().flat_map(|relation| &relation.policies);
        if policies.any(Policy::raises) { MissingTenant::Error } else { MissingTenant::NoRows }
    }

    /// The tables that a view reads, without the shared ones.
    pub(super) fn tables_read_by<'a>(&'a self, view: i64, schema: &'a Schema) -> Vec<&'a Examined> {
        let found = self.relations_read_by(view).into_iter();
        let not_shared = |one: &&Examined| {
            one.is_table() && !matches!(self.ownership(one, schema), Ownership::Shared { .. })
        };
        let mut found: Vec<&Examined> = found.filter(not_shared).collect();
        found.sort_by_key(|relation| relation.display());
        found
    }

    /// A view and every relation that it reads, directly or through other views.
    pub(super) fn relations_read_by(&self, view: i64) -> Vec<&Examined> {
        self.reads.of(view).into_iter().filter_map(|oid| self.relations.get(oid)).collect()
    }
}

/// Runs a query as one message, and so as one transaction, with timeouts for locks and for the statement.
pub(super) async fn rows<T: DeserializeOwned>(conn: &mut PgConnection, sql: &str) -> sqlx::Result<Vec<T>> {
    catalog::rows(conn, &TIME_LIMITS, sql).await
}

struct Reader<'a> {
    conn: &'a mut PgConnection,
    faults: Vec<(&'static str, String)>,
}

impl Reader<'_> {
    /// Runs a query like [`rows`]. If the server rejects it, the result is empty and the message goes to `faults`.
    async fn rows<T: DeserializeOwned>(&mut self, what: &'static str, sql: &str) -> sqlx::Result<Vec<T>> {
        let message = match rows(self.conn, sql).await {
            Err(sqlx::Error::Database(error)) => error.message().to_owned(),
            Err(sqlx::Error::Decode(error)) => error.to_string(),
            done => return done,
        };
        self.faults.push((what, message));
        Ok(Vec::new())
    }
}
