//! [`Catalog`]: what the doctor reads from PostgreSQL's catalogue, as the examined role. It judges nothing.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;

use super::examined::Examined;
use super::objects::{Granted, Implicit, Routine};
use crate::isolation::catalog::{
    self, Column, Extent, FOREIGN_KEYS, ForeignKey, INDEXES, Index, Ownership, Policy, READS, RELATIONS,
    Reads, Relations, Setting as LocalSetting, is_place,
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
    /// The role that logged in has its privileges without `SET ROLE`.
    pub(super) inherited: bool,
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
    Remote { extension: String, functions: Vec<String>, to: Vec<String> },
}

const SHARDS: &str = "shards of Citus";

/// The part of a database that is examined.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Everything,
    WithoutPlaces,
    SearchPath,
    /// The schema of one tenant, which is the search path, after the database was examined without its places.
    Place(TenantSchema<'a>),
}

/// The schema of one tenant, and what is known about it.
#[derive(Clone, Copy)]
pub(super) struct TenantSchema<'a> {
    pub(super) common: &'a Common,
    /// It has functions.
    pub(super) functions: bool,
    /// The application chooses the role of the place: the privileges of its other roles do not count here.
    pub(super) role: bool,
}

/// What the schemas of one database have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) server: Arc<Server>,
    others: Arc<Vec<Other>>,
}

impl Part<'_> {
    fn extent(self, search_path: &[String]) -> Extent {
        match self {
            Self::Everything => Extent::Everything,
            Self::WithoutPlaces => Extent::WithoutPlaces,
            Self::SearchPath | Self::Place(_) => Extent::Schemas(search_path.to_vec()),
        }
    }

    /// Whether the functions of a schema are examined.
    fn covers(self, schema: &str, search_path: &[String]) -> bool {
        let near = search_path.iter().any(|one| one == schema);
        match self {
            Self::Everything => true,
            Self::WithoutPlaces => !is_place(schema),
            Self::SearchPath => !is_place(schema) || near,
            Self::Place(_) => near,
        }
    }
}

pub(super) struct Catalog {
    pub(super) server: Arc<Server>,
    /// Only the schema of one tenant: the rest of its database is examined apart.
    pub(super) place_only: bool,
    /// The schemas of tenants are left out.
    pub(super) without_places: bool,
    /// The schemas in which a name without a schema is found.
    pub(super) search_path: Vec<String>,
    /// The search path of a new session, by which the functions outside of a tenant's schema are declared.
    pub(super) default_path: Vec<String>,
    pub(super) relations: Relations<Examined>,
    pub(super) indexes: Vec<Index>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    reads: Reads,
    pub(super) routines: Vec<Routine>,
    pub(super) implicit: Vec<Implicit>,
    pub(super) granted: Vec<Granted>,
    pub(super) others: Arc<Vec<Other>>,
    /// Queries that failed, each with the error message.
    pub(super) faults: Vec<(&'static str, String)>,
}

impl Catalog {
    pub(super) async fn read(conn: &mut PgConnection, schema: &Schema, part: Part<'_>) -> sqlx::Result<Self> {
        let search_path = catalog::search_path(conn).await?;
        let extent = part.extent(&search_path);
        let place = match part {
            Part::Place(place) => Some(place),
            _ => None,
        };
        let server = if let Some(place) = place {
            place.common.server.clone()
        } else {
            let server: Vec<Server> = rows(conn, include_str!("catalog/server.sql")).await?;
            Arc::new(server.into_iter().next().ok_or(sqlx::Error::RowNotFound)?)
        };
        let default_path = match part {
            Part::SearchPath => default_path(conn).await?,
            _ => search_path.clone(),
        };
        let mut reader = Reader { conn, faults: Vec::new(), one_role: place.is_some_and(|place| place.role) };
        let relations = reader.relations(&extent).await?;
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
        // Of all views of the database, so only if this part has any.
        let views = place.is_none() || relations.values().any(|relation| !relation.is_table());
        let reads = Reads::new(if views { reader.rows("views", READS).await? } else { Vec::new() });
        let outside = reader.outside(&extent, &relations, &foreign_keys, &reads).await?;
        outside.into_iter().filter(|one| one.counts(schema)).for_each(|one| relations.insert(one));
        let (mut routines, mut implicit) = (Vec::<Routine>::new(), Vec::<Implicit>::new());
        if place.is_none_or(|place| place.functions) {
            routines = reader.rows("functions", include_str!("catalog/routines.sql")).await?;
            implicit =
                reader.rows("casts, operators and domains", include_str!("catalog/implicit.sql")).await?;
        }
        routines.retain(|one| part.covers(&one.schema, &search_path));
        implicit.retain(|one| part.covers(&one.schema, &search_path));
        let (mut granted, mut others) = (Vec::new(), place.map(|place| place.common.others.clone()));
        if place.is_none() {
            granted = reader
                .rows("privileges on objects of the server", include_str!("catalog/granted.sql"))
                .await?;
            let what = "default privileges, publications, event triggers and sequences";
            others = Some(Arc::new(reader.rows(what, include_str!("catalog/others.sql")).await?));
        }
        Ok(Self {
            server,
            place_only: place.is_some(),
            without_places: matches!(part, Part::WithoutPlaces),
            search_path,
            default_path,
            relations,
            indexes,
            foreign_keys,
            reads,
            routines,
            implicit,
            granted,
            others: others.unwrap_or_default(),
            faults: reader.faults,
        })
    }

    /// What the schemas of tenants in this database need to know of it.
    pub(super) fn common(&self) -> Common {
        Common { server: self.server.clone(), others: self.others.clone() }
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

/// The schemas of the search path that a new session has.
async fn default_path(conn: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    // One message, and so one transaction; the last row is the result.
    let sql = "SELECT pg_catalog.set_config(name, reset_val, true) FROM pg_catalog.pg_settings WHERE name = 'search_path'; \
               SELECT pg_catalog.to_json(pg_catalog.current_schemas(false))::pg_catalog.text";
    let rows = sqlx::raw_sql(sql).fetch_all(conn).await?;
    let text: &str = rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()))
}

/// Runs a query as one message, and so as one transaction, with timeouts for locks and for the statement.
pub(super) async fn rows<T: DeserializeOwned>(conn: &mut PgConnection, sql: &str) -> sqlx::Result<Vec<T>> {
    catalog::rows(conn, &TIME_LIMITS, sql).await
}

struct Reader<'a> {
    conn: &'a mut PgConnection,
    faults: Vec<(&'static str, String)>,
    /// Only the privileges of the current role count.
    one_role: bool,
}

impl Reader<'_> {
    /// Runs a query like [`rows`]. If the server rejects it, the result is empty and the message goes to `faults`.
    async fn rows<T: DeserializeOwned>(&mut self, what: &'static str, sql: &str) -> sqlx::Result<Vec<T>> {
        const ROLES: &str = "(current_user, session_user)";
        let own = if self.one_role { sql.replace(ROLES, "(current_user)") } else { sql.to_owned() };
        let message = match rows(self.conn, &own).await {
            Err(sqlx::Error::Database(error)) => error.message().to_owned(),
            Err(sqlx::Error::Decode(error)) => error.to_string(),
            done => return done,
        };
        self.faults.push((what, message));
        Ok(Vec::new())
    }

    async fn relations(&mut self, extent: &Extent) -> sqlx::Result<Vec<Examined>> {
        let examined = format!(
            "SELECT * FROM ({}) relations JOIN ({}) access USING (oid)",
            extent.limit(RELATIONS),
            extent.limit(include_str!("catalog/access.sql"))
        );
        self.rows("tables, columns and policies", &examined).await
    }

    /// The tables and views outside of the extent that its views and keys refer to, at any distance.
    async fn outside(
        &mut self,
        extent: &Extent,
        relations: &Relations<Examined>,
        keys: &[ForeignKey],
        reads: &Reads,
    ) -> sqlx::Result<Vec<Examined>> {
        let views = relations.values().filter(|one| !one.is_table()).flat_map(|one| reads.of(one.oid));
        let mut missing: Vec<i64> = views.chain(keys.iter().map(|key| key.parent)).collect();
        missing.retain(|oid| relations.get(*oid).is_none());
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() || matches!(extent, Extent::Everything) {
            return Ok(Vec::new());
        }
        let mut outside = self.relations(&Extent::Relations(missing)).await?;
        for one in &mut outside {
            one.outside = true;
        }
        Ok(outside)
    }
}
