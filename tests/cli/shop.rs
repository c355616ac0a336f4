//! The fixture of commands that read tenants in every placement: an application with places of every kind.

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Pool, Postgres, SqlSafeStr, Sqlite};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::placement::{
    ConnectionLimits, DatabaseConfig, PostgresPlaces, Provision, Provisioner, SqliteFiles, SqlitePlaces,
};
use tenancy::plan::Catalog;
use tenancy::quota::Gauge;
use tenancy::scope::row::SupportsRow;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug, Tenant};
use tenancy::{TenantContext, TenantDb, TenantScoped};
use uuid::Uuid;

use crate::cli::{database, tenancy, write};
use crate::common::{CATALOG, Cleanup, TestBackend, admin_url};

pub(crate) const PROJECTS: Gauge = Gauge::new("projects");

#[derive(Debug, TenantScoped, sqlx::FromRow)]
#[tenant(table = "projects")]
pub(crate) struct Project {
    #[tenant(id)]
    pub(crate) id: i64,
    pub(crate) code: Uuid,
    pub(crate) archived: i64,
}

/// Gives a new tenant its place.
pub(crate) type Place = fn(NewTenant) -> NewTenant;

/// A database whose tenants have places of every kind.
pub(crate) trait Shop: TestBackend + Provision + SupportsRow<Project> {
    const TABLE: &'static str;
    /// The kinds of places, each for two tenants.
    const KINDS: &'static [(&'static str, Place)];
    /// Where places are created, how the application logs in, and the URL of the owner of the tables.
    async fn places(pool: &Pool<Self>, url: &str, files: &Path, roles: bool)
    -> (Self::Places, Login, String);
    async fn open(login: &Login, files: &Path) -> TenantDb<Self>;
    fn url_of(pool: &Pool<Self>) -> String;
    /// Removes the database and the role of a tenant.
    fn cleanup(tenant: &Tenant, roles: bool) -> (Option<Cleanup>, Option<Cleanup>);
}

/// How the application logs in. On PostgreSQL it has a role that owns nothing.
pub(crate) struct Login {
    pub(crate) url: String,
    /// With a role for each place.
    pub(crate) roles: bool,
    pub(crate) gone: Option<Cleanup>,
}

impl Shop for Sqlite {
    const TABLE: &'static str = "CREATE TABLE projects (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, code BLOB NOT NULL, \
        archived INTEGER NOT NULL, PRIMARY KEY (tenant_id, id)) STRICT";
    const KINDS: &'static [(&'static str, Place)] =
        &[("shared", |new| new), ("file", NewTenant::own_database)];

    async fn places(pool: &Pool<Self>, url: &str, files: &Path, _: bool) -> (SqlitePlaces, Login, String) {
        let shared = (*pool.connect_options()).clone();
        let places = SqlitePlaces::new(SqliteFiles::new(files).unwrap()).shared_tables(shared);
        (places, Login { url: url.to_owned(), roles: false, gone: None }, url.to_owned())
    }

    async fn open(login: &Login, files: &Path) -> TenantDb<Self> {
        TenantDb::sqlite(sqlx::sqlite::SqlitePoolOptions::new().max_connections(2), &login.url)
            .databases(SqliteFiles::new(files).unwrap(), ConnectionLimits::new(9))
            .build()
            .await
            .unwrap()
    }

    fn url_of(pool: &Pool<Self>) -> String {
        format!("sqlite:{}", pool.connect_options().get_filename().display())
    }

    fn cleanup(_: &Tenant, _: bool) -> (Option<Cleanup>, Option<Cleanup>) {
        (None, None)
    }
}

impl Shop for Postgres {
    const TABLE: &'static str = "CREATE TABLE projects (tenant_id uuid NOT NULL, id bigint NOT NULL, code uuid NOT NULL, \
        archived bigint NOT NULL, PRIMARY KEY (tenant_id, id))";
    const KINDS: &'static [(&'static str, Place)] =
        &[("shared", |new| new), ("schema", NewTenant::own_schema), ("database", NewTenant::own_database)];

    async fn places(pool: &Pool<Self>, _: &str, _: &Path, roles: bool) -> (PostgresPlaces, Login, String) {
        let owner = (*pool.connect_options()).clone();
        let role = format!("tenancy_test_{}", Uuid::now_v7().simple());
        let sql = format!(
            "CREATE ROLE {role} LOGIN NOINHERIT PASSWORD 'runtime' ROLE \"{}\"",
            owner.get_username()
        );
        as_admin(sql).await.unwrap();
        let own = format!(
            "GRANT SELECT, INSERT, UPDATE ON tenancy_gauges TO {role}; \
             GRANT SELECT, INSERT, DELETE ON tenancy_gauge_resources TO {role}; \
             GRANT SELECT, INSERT ON tenancy_audit_events TO {role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON tenancy_usage, tenancy_usage_batches TO {role}"
        );
        Self::raw(pool, &own).await.unwrap();
        let app = owner.clone().username(&role).password("runtime");
        let (mut creator, mut created) = (owner, role.clone());
        if roles {
            // No superuser: an owner of the tables that can create roles.
            let owner = format!("{role}_owner");
            let pool_owner = creator.get_username();
            let options = "LOGIN CREATEDB CREATEROLE NOSUPERUSER NOBYPASSRLS PASSWORD 'owner'";
            as_admin(format!("CREATE ROLE {owner} {options} IN ROLE \"{pool_owner}\"")).await.unwrap();
            created = format!("{role}, {owner}");
            creator = creator.username(&owner).password("owner");
        }
        let owner_url = creator.to_url_lossy().to_string();
        let mut places = PostgresPlaces::new(creator).runtime_role(&role);
        if roles {
            places = places.role_per_tenant();
        }
        let gone = Cleanup::database(created, async |roles| as_admin(format!("DROP ROLE {roles}")).await);
        (places, Login { url: app.to_url_lossy().to_string(), roles, gone: Some(gone) }, owner_url)
    }

    async fn open(login: &Login, _: &Path) -> TenantDb<Self> {
        let app: PgConnectOptions = login.url.parse().unwrap();
        let registry =
            move |name: &PlacementName| Ok(Some(DatabaseConfig::new(app.clone().database(name.as_str()))));
        let options = sqlx::postgres::PgPoolOptions::new().max_connections(2);
        let db = TenantDb::postgres(options, &login.url).databases(registry, ConnectionLimits::new(9));
        let db = if login.roles { db.role_per_tenant() } else { db };
        db.build().await.unwrap()
    }

    fn url_of(pool: &Pool<Self>) -> String {
        pool.connect_options().to_url_lossy().to_string()
    }

    fn cleanup(tenant: &Tenant, roles: bool) -> (Option<Cleanup>, Option<Cleanup>) {
        let name = PlacementName::of(tenant.id()).to_string();
        let role = Cleanup::database(name.clone(), async |name| {
            as_admin(format!("DROP ROLE IF EXISTS \"{name}\"")).await
        });
        let database = Cleanup::database(name, async |name| {
            as_admin(format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await
        });
        let has_database = matches!(tenant.placement(), Placement::Database { .. });
        (has_database.then_some(database), roles.then_some(role))
    }
}

pub(crate) async fn as_admin(sql: String) -> sqlx::Result<()> {
    let admin = sqlx::PgPool::connect(&admin_url()).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&admin).await.map(|_| ())
}

/// An application whose table has rows from before its gauge: in each place `acme` has 4, of which 1 is archived, and
/// `globex` has 2.
pub(crate) struct World<DB: Shop> {
    pub(crate) db: TenantDb<DB>,
    pub(crate) store: SqlStore<DB>,
    pub(crate) directory: TenantDirectory,
    /// The tenants `acme-KIND` and `globex-KIND`, of each kind of place.
    pub(crate) tenants: Vec<[TenantContext; 2]>,
    pub(crate) url: String,
    pub(crate) control_url: String,
    /// How the owner of the tables logs in.
    pub(crate) owner_url: String,
    pub(crate) roles: bool,
    pub(crate) dir: tempfile::TempDir,
    _cleanup: Vec<Cleanup>,
}

impl<DB: Shop> World<DB> {
    pub(crate) async fn new(roles: bool) -> Self {
        let (pool, control_url, database) = database::<DB>().await;
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        std::fs::create_dir(&files).unwrap();
        write(dir.path(), "tenancy.toml", "shared = [\"countries\"]\n");
        write(dir.path(), "plans.toml", CATALOG);
        let store = SqlStore::new(pool.clone());
        store.migrate().await.unwrap();
        let directory = TenantDirectory::new(Arc::new(store.clone()), Catalog::from_toml(CATALOG).unwrap());
        let (places, login, owner_url) = DB::places(&pool, &control_url, &files, roles).await;
        let sql = AssertSqlSafe(DB::TABLE).into_sql_str();
        let migration = Migration::new(1, "projects".into(), MigrationType::Simple, sql, false);
        let provisioner = Provisioner::new(store.clone(), places, Migrator::with_migrations(vec![migration]));
        let shared: Vec<_> = provisioner.migrations().run().collect().await;
        assert!(shared.len() == 1 && shared[0].as_ref().unwrap().result.is_ok(), "{shared:?}");
        let db = DB::open(&login, &files).await;
        let (mut tenants, mut databases, mut place_roles) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, place) in DB::KINDS {
            let mut both = Vec::new();
            for (who, rows) in [("acme", 4), ("globex", 2)] {
                let slug = Slug::parse(&format!("{who}-{kind}")).unwrap();
                let tenant = provisioner.create(place(NewTenant::new(slug, who, "free"))).await.unwrap();
                let (database, role) = DB::cleanup(&tenant, roles);
                databases.extend(database);
                place_roles.extend(role);
                let ctx = directory.context(tenant.id(), Actor::user("ada")).await.unwrap();
                let rows: Vec<_> = (1..=rows).map(project).collect();
                Project::insert_many(&db.scope(&ctx), &rows).await.unwrap();
                both.push(ctx);
            }
            tenants.push(both.try_into().unwrap());
        }
        // Databases go before the roles, which have privileges in them.
        let cleanup = databases.into_iter().chain([database]).chain(place_roles).chain(login.gone).collect();
        let url = login.url;
        Self { db, store, directory, tenants, url, control_url, owner_url, roles, dir, _cleanup: cleanup }
    }

    /// The arguments of a command, with the databases of the application.
    pub(crate) fn arguments<'a>(&'a self, control_url: &'a str, command: &[&'a str]) -> Vec<&'a str> {
        let mut all = command.to_vec();
        all.extend(["--url", &self.url, "--control-url", control_url]);
        if self.url.starts_with("sqlite:") {
            all.extend(["--files", "files"]);
        }
        if self.roles {
            all.push("--role-per-tenant");
        }
        all
    }

    /// Runs a command on the databases of the application.
    pub(crate) fn command(&self, command: &[&str]) -> (i32, String, String) {
        self.command_at(&self.control_url, command)
    }

    pub(crate) fn command_at(&self, control_url: &str, command: &[&str]) -> (i32, String, String) {
        let (code, out, err) = tenancy(&self.arguments(control_url, command), self.dir.path());
        assert!(!out.contains("runtime") && !err.contains("runtime"), "a password: {out}{err}");
        (code, out, err)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &TenantContext> {
        self.tenants.iter().flatten()
    }

    pub(crate) async fn used(&self, ctx: &TenantContext) -> u64 {
        PROJECTS.usage(&self.db.scope(ctx)).await.unwrap().used
    }
}

pub(crate) fn project(id: i64) -> Project {
    Project { id, code: Uuid::from_u128(id.unsigned_abs().into()), archived: i64::from(id == 4) }
}
