//! [`PostgresPlaces`]: schemas and databases of tenants on PostgreSQL.

use std::fmt;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres, Row};
use tenancy_sql::Schema;

use super::places::{NEXT_ATTEMPT, Provision, Worker, locked};
use super::{own_table_grants, place_role};
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::{RlsPolicies, quoted};
use crate::tenant::{Placement, PlacementName};

/// After how many schemas a worker gets a new connection.
const VISITS: u32 = 200;

/// How to connect to the server of a database, if it is not the one of the shared tables.
type Servers = Arc<dyn Fn(&PlacementName) -> Option<PgConnectOptions> + Send + Sync>;

/// Schemas and databases of tenants on one PostgreSQL server or several, created by the role that owns the tables.
///
/// ```
/// use sqlx::postgres::PgConnectOptions;
/// use tenancy::placement::PostgresPlaces;
///
/// fn places(owner: PgConnectOptions) -> PostgresPlaces {
///     PostgresPlaces::new(owner).runtime_role("app")
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct PostgresPlaces {
    owner: PgConnectOptions,
    servers: Option<Servers>,
    runtime_role: Option<String>,
    pub(super) role_per_tenant: bool,
    migrates_shared: bool,
}

impl PostgresPlaces {
    /// Connects with these options, to the database of the shared tables.
    ///
    /// The role owns the tables, may create schemas in this database (`GRANT CREATE ON DATABASE`), and for databases
    /// of tenants has `CREATEDB`. It is not the role of the application. Connect directly: a pooler mixes up locks.
    pub fn new(owner: PgConnectOptions) -> Self {
        Self { owner, servers: None, runtime_role: None, role_per_tenant: false, migrates_shared: true }
    }

    /// Finds the server of a tenant's database, for databases on other servers than the one of the shared tables. `None` is
    /// that server.
    ///
    /// The options name a database that exists there, such as `postgres`, and a role with `CREATEDB`. The application's
    /// role exists there too. The [`DatabaseRegistry`](super::DatabaseRegistry) of the `TenantDb` has to find the same server.
    ///
    /// ```
    /// use sqlx::postgres::PgConnectOptions;
    /// use tenancy::placement::PostgresPlaces;
    ///
    /// fn places(owner: PgConnectOptions, large: PgConnectOptions) -> PostgresPlaces {
    ///     PostgresPlaces::new(owner)
    ///         .runtime_role("app")
    ///         .servers(move |name| name.as_str().starts_with("large-").then(|| large.clone()))
    /// }
    /// ```
    pub fn servers(
        self,
        find: impl Fn(&PlacementName) -> Option<PgConnectOptions> + Send + Sync + 'static,
    ) -> Self {
        Self { servers: Some(Arc::new(find)), ..self }
    }

    /// How to connect to the server of a place, to a database that exists there.
    pub(super) fn server(&self, placement: &Placement) -> PgConnectOptions {
        let other = match (placement, &self.servers) {
            (Placement::Database { name }, Some(find)) => find(name),
            _ => None,
        };
        other.unwrap_or_else(|| self.owner.clone())
    }

    /// Sets the role that the application logs in as, and grants it what it needs in each place.
    pub fn runtime_role(self, role: impl Into<String>) -> Self {
        Self { runtime_role: Some(role.into()), ..self }
    }

    /// Creates a role for each place, named like it, which alone may use the place. The application's role becomes a
    /// member of it.
    ///
    /// It needs a [`runtime_role`](Self::runtime_role), and an owner with `CREATEROLE`. Before PostgreSQL 16 the
    /// application's role must be `NOINHERIT`: otherwise it has the privileges of all of its roles at once.
    /// [`TenantDbBuilder::role_per_tenant`](crate::scope::TenantDbBuilder::role_per_tenant) uses the roles.
    pub fn role_per_tenant(self) -> Self {
        Self { role_per_tenant: true, ..self }
    }

    /// Leaves the migrations of the shared tables to your own deployment.
    pub fn without_shared_tables(self) -> Self {
        Self { migrates_shared: false, ..self }
    }

    /// The role that uses a place.
    pub(crate) fn role_of(&self, placement: &Placement) -> Option<String> {
        match placement {
            Placement::Schema { name } | Placement::Database { name } if self.role_per_tenant => {
                Some(name.to_string())
            }
            _ => self.runtime_role.clone(),
        }
    }

    /// Connects to a place, without a lock.
    #[cfg(feature = "operations")]
    pub(crate) async fn connect_to(&self, placement: &Placement) -> Result<PgConnection> {
        let mut conn = connect(&self.options(placement)).await?;
        Postgres::back_to_place(&mut conn, placement).await?;
        Ok(conn)
    }

    fn options(&self, placement: &Placement) -> PgConnectOptions {
        match placement {
            Placement::Database { name } => self.server(placement).database(name.as_str()),
            _ => self.owner.clone(),
        }
    }
}

impl fmt::Debug for PostgresPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options can hold a password.
        f.debug_struct("PostgresPlaces").field("runtime_role", &self.runtime_role).finish_non_exhaustive()
    }
}

impl Provision for Postgres {
    type Places = PostgresPlaces;

    async fn place_exists(places: &PostgresPlaces, placement: &Placement) -> Result<bool> {
        let (question, name) = match placement {
            Placement::Shared => return Ok(false),
            Placement::Schema { name } => {
                ("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", name)
            }
            Placement::Database { name } => {
                ("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name)
            }
        };
        let mut conn = connect(&places.server(placement)).await?;
        let exists = sqlx::query_scalar(question).bind(name.as_str()).fetch_one(&mut conn).await;
        let _ = conn.close().await;
        exists.map_err(|e| database_error(&e))
    }

    async fn create_place(
        places: &PostgresPlaces,
        placement: &Placement,
        template: Option<&PlacementName>,
    ) -> Result<()> {
        let create = match placement {
            Placement::Shared => return Ok(()),
            Placement::Schema { name } => format!("CREATE SCHEMA IF NOT EXISTS \"{name}\""),
            Placement::Database { name } => match template {
                Some(template) => format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\""),
                None => format!("CREATE DATABASE \"{name}\""),
            },
        };
        let mut conn = connect(&places.server(placement)).await?;
        let created = run(&mut conn, create).await;
        let created = match created {
            // An earlier run was interrupted.
            Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("42P04") => Ok(()),
            // It is being created at this moment, by a run that was interrupted, or the template is being copied.
            Err(sqlx::Error::Database(e)) if matches!(e.code().as_deref(), Some("23505" | "55006")) => {
                return Err(locked());
            }
            created => created,
        };
        created.map_err(|e| database_error(&e))?;
        if places.role_per_tenant
            && let Placement::Schema { name } | Placement::Database { name } = placement
        {
            place_role::create(&mut conn, name, places.runtime_role.as_deref()).await?;
        }
        let _ = conn.close().await;
        Ok(())
    }

    async fn enter(places: &PostgresPlaces, worker: &mut Worker<Self>, placement: &Placement) -> Result<()> {
        let database = match placement {
            Placement::Database { name } => Some(name.clone()),
            _ => None,
        };
        if worker.database != database || worker.visits >= VISITS {
            worker.conn = None;
        }
        if worker.conn.is_none() {
            let conn = connect(&places.options(placement)).await?;
            (worker.conn, worker.database, worker.visits) = (Some(conn), database, 0);
        }
        worker.visits += 1;
        let key = match placement {
            Placement::Schema { name } => name.to_string(),
            _ => String::new(),
        };
        let found = enter(worker.conn(), placement, &key).await;
        // A connection whose search path is unknown is not used again.
        let found = found.inspect_err(|_| worker.conn = None).map_err(|e| database_error(&e))?;
        match found {
            Entered::Locked => {
                worker.lock = Some(key);
                Ok(())
            }
            Entered::Busy => Err(locked()),
            Entered::Missing => {
                Err(Error::new(ErrorKind::PlacementMissing, "the schema of this tenant does not exist"))
            }
        }
    }

    async fn back_to_place(conn: &mut PgConnection, placement: &Placement) -> Result<()> {
        run(conn, search_path(placement)).await.map_err(|e| database_error(&e))
    }

    async fn leave(worker: &mut Worker<Self>) {
        if let (Some(key), Some(conn)) = (worker.lock.take(), &mut worker.conn)
            && sqlx::query(UNLOCK).bind(key).execute(conn).await.is_err()
        {
            // The lock ends with the session.
            worker.conn = None;
        }
    }

    async fn protect(
        places: &PostgresPlaces,
        conn: &mut PgConnection,
        placement: &Placement,
        schema: &Schema,
    ) -> Result<()> {
        let mut policies = RlsPolicies::new(schema).search_path_only();
        let role = places.role_of(placement);
        if let (Placement::Schema { name } | Placement::Database { name }, false) =
            (placement, places.role_per_tenant)
            && role.is_some()
        {
            let has_role = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)");
            let has_role: bool =
                has_role.bind(name.as_str()).fetch_one(&mut *conn).await.map_err(|e| database_error(&e))?;
            if has_role {
                return Err(Error::new(
                    ErrorKind::Misconfigured,
                    "this place has a role of its own: call `PostgresPlaces::role_per_tenant` (`--role-per-tenant`), so that the \
                     application's role gets no privilege in it",
                ));
            }
        }
        if let Some(role) = &role {
            policies = policies.runtime_role(role);
        }
        policies.apply(conn).await?;
        let Some(role) = role.as_deref().map(quoted) else { return Ok(()) };
        let mut grants = format!("GRANT SELECT ON _sqlx_migrations TO {role}");
        match placement {
            Placement::Shared => return Ok(()),
            Placement::Schema { name } => {
                grants = format!("{grants}; GRANT USAGE ON SCHEMA \"{name}\" TO {role}");
            }
            Placement::Database { name } => {
                let login = quoted(places.runtime_role.as_deref().unwrap_or_default());
                grants = format!(
                    "{grants}; REVOKE ALL ON DATABASE \"{name}\" FROM PUBLIC; GRANT CONNECT ON DATABASE \"{name}\" TO {login}"
                );
            }
        }
        run(conn, grants).await.map_err(|e| database_error(&e))?;
        Self::grant_own_tables(places, conn, placement).await
    }

    async fn grant_own_tables(
        places: &PostgresPlaces,
        conn: &mut PgConnection,
        placement: &Placement,
    ) -> Result<()> {
        let role = match placement {
            Placement::Schema { .. } if places.role_per_tenant => places.role_of(placement),
            Placement::Database { .. } => places.role_of(placement),
            // The application's role uses the tables of the shared database, where its own policies grant them.
            _ => None,
        };
        match role {
            Some(role) => own_table_grants::grant(conn, &role).await,
            None => Ok(()),
        }
    }

    fn migrates_shared(places: &PostgresPlaces) -> bool {
        places.migrates_shared
    }
}

fn search_path(placement: &Placement) -> String {
    match placement {
        Placement::Schema { name } => format!("SET search_path = \"{name}\""),
        _ => "RESET search_path".to_owned(),
    }
}

enum Entered {
    Locked,
    Busy,
    Missing,
}

const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('tenancy place ' || $1, 0))";
const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtextextended('tenancy place ' || $1, 0))";

/// Sets the search path to the schema alone, and tries to lock the place. An advisory lock is one of its database.
async fn enter(conn: &mut PgConnection, placement: &Placement, key: &str) -> sqlx::Result<Entered> {
    run(conn, search_path(placement)).await?;
    let exists =
        sqlx::raw_sql("SELECT cardinality(current_schemas(false)) > 0").fetch_one(&mut *conn).await?;
    if matches!(placement, Placement::Schema { .. }) && !exists.try_get::<bool, _>(0)? {
        return Ok(Entered::Missing);
    }
    while !sqlx::query_scalar::<_, bool>(LOCK).bind(key).fetch_one(&mut *conn).await? {
        if *placement != Placement::Shared {
            return Ok(Entered::Busy);
        }
        // Every process migrates the shared tables at its start: the others wait for the first. A statement that waits
        // for a lock would have a snapshot, for which `CREATE INDEX CONCURRENTLY` waits in turn.
        sqlx_core::rt::sleep(NEXT_ATTEMPT).await;
    }
    Ok(Entered::Locked)
}

pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    options.connect().await.map_err(|error| match &error {
        sqlx::Error::Database(e) if e.code().as_deref() == Some("3D000") => {
            Error::new(ErrorKind::PlacementMissing, "the database of this tenant does not exist")
                .with_source(error.to_string())
        }
        _ => database_error(&error),
    })
}

pub(super) async fn run(conn: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(|_| ())
}
