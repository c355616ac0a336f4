//! Places that an owner provisions, as the application's own role sees them.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool, Postgres, SqlSafeStr};
use tenancy::audit::MemorySink;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::isolation::{RlsPolicies, doctor};
use tenancy::placement::{ConnectionLimits, DatabaseConfig, PostgresPlaces, Provisioner};
use tenancy::plan::Catalog;
use tenancy::quota::Gauge;
use tenancy::scope::select::PageRequest;
use tenancy::scope::{Reason, Schema};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug};
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};

use crate::common::{CATALOG, Cleanup, TestBackend, admin_url};
use crate::policy_fixture::{new_role, texts};

#[derive(Debug, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "projects")]
pub(crate) struct Project {
    #[tenant(id)]
    pub(crate) id: i64,
    pub(crate) name: String,
}

pub(crate) const TABLES: &str = "CREATE TABLE projects (tenant_id uuid NOT NULL, id bigint NOT NULL, name text NOT NULL, \
    PRIMARY KEY (tenant_id, id)); \
    CREATE TABLE tasks (tenant_id uuid NOT NULL, id bigserial NOT NULL, project_id bigint, title text NOT NULL, \
        PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, project_id) REFERENCES projects)";

/// The tables that a tenant's transaction writes beside its own. Grants on them are the application's to make.
const OWN_TABLES: &str = "GRANT SELECT, INSERT, UPDATE ON tenancy_gauges TO {role}; \
    GRANT SELECT, INSERT, DELETE ON tenancy_gauge_resources TO {role}; \
    GRANT SELECT, INSERT ON tenancy_audit_events TO {role}; \
    GRANT SELECT, INSERT, UPDATE, DELETE ON tenancy_usage, tenancy_usage_batches TO {role}";

pub(crate) fn migrator(texts: &[&str]) -> Migrator {
    let migration = |(version, text): (i64, &&str)| {
        let sql = AssertSqlSafe((*text).to_owned()).into_sql_str();
        Migration::new(version, "tables".into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations((1..).zip(texts).map(migration).collect())
}

pub(crate) struct World {
    pub(crate) db: TenantDb<Postgres>,
    pub(crate) directory: TenantDirectory,
    pub(crate) provisioner: Provisioner<Postgres>,
    /// As the application's role, to the database of the shared tables.
    pub(crate) app: PgConnectOptions,
    pub(crate) owner: PgPool,
    roles: bool,
    cleanup: Vec<Cleanup>,
}

impl World {
    /// The application's role, which owns nothing, on a database whose shared tables are migrated and protected.
    pub(crate) async fn new() -> Self {
        Self::with_roles(false).await
    }

    /// With `roles` each place has a role of its own, and a superuser creates the places.
    pub(crate) async fn with_roles(roles: bool) -> Self {
        let (owner, database) = Postgres::fresh(4).await;
        let name: String = sqlx::query_scalar("SELECT current_user::text").fetch_one(&owner).await.unwrap();
        let (role, gone) =
            new_role(&format!("LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS PASSWORD 'runtime' ROLE {name}"))
                .await;
        let store = SqlStore::new(owner.clone());
        store.migrate().await.unwrap();
        Postgres::raw(&owner, &OWN_TABLES.replace("{role}", &role)).await.unwrap();
        let mut creator = (*owner.connect_options()).clone();
        if roles {
            let admin: PgConnectOptions = admin_url().parse().unwrap();
            creator = admin.database(creator.get_database().unwrap());
        }
        let mut places = PostgresPlaces::new(creator).runtime_role(&role);
        if roles {
            places = places.role_per_tenant();
        }
        let provisioner = Provisioner::new(store.clone(), places, migrator(&[TABLES]));
        let shared: Vec<_> = provisioner.migrations().run().collect().await;
        assert!(shared.iter().all(|place| place.as_ref().unwrap().result.is_ok()), "{shared:?}");
        let app = (*owner.connect_options()).clone().username(&role).password("runtime");
        let config = app.clone();
        let registry =
            move |name: &PlacementName| Ok(Some(DatabaseConfig::new(config.clone().database(name.as_str()))));
        let db = TenantDb::postgres(PgPoolOptions::new().max_connections(3), app.to_url_lossy())
            .databases(registry, ConnectionLimits::new(9));
        let db = if roles { db.role_per_tenant() } else { db };
        let db = db.build().await.unwrap();
        let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
        let directory = TenantDirectory::new(Arc::new(store), catalog);
        // The databases go before the role, which has privileges in them.
        Self { db, directory, provisioner, app, owner, roles, cleanup: vec![database, gone] }
    }

    pub(crate) async fn create(&mut self, slug: &str, kind: fn(NewTenant) -> NewTenant) -> TenantContext {
        let new = kind(NewTenant::new(Slug::parse(slug).unwrap(), slug, "free"));
        let tenant = self.provisioner.create(new).await.unwrap();
        if let Placement::Database { name } = tenant.placement() {
            if self.roles {
                // The databases of one deployment have one owner.
                let admin = PgPool::connect(&admin_url()).await.unwrap();
                let owner = "SELECT datdba::regrole::text FROM pg_database WHERE datname = $1";
                let shared = self.app.get_database().unwrap();
                let owner: String = sqlx::query_scalar(owner).bind(shared).fetch_one(&admin).await.unwrap();
                Postgres::raw(&admin, &format!("ALTER DATABASE \"{name}\" OWNER TO {owner}")).await.unwrap();
            }
            let drop = Cleanup::database(name.to_string(), async move |name| {
                let server = PgPool::connect(&admin_url()).await?;
                let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
                sqlx::raw_sql(AssertSqlSafe(drop)).execute(&server).await.map(|_| ())
            });
            self.cleanup.insert(0, drop);
        }
        if self.roles {
            let role = PlacementName::of(tenant.id()).to_string();
            self.cleanup.push(Cleanup::database(role, async move |name| {
                let admin = PgPool::connect(&admin_url()).await?;
                let drop = format!("DROP ROLE IF EXISTS \"{name}\"");
                sqlx::raw_sql(AssertSqlSafe(drop)).execute(&admin).await.map(|_| ())
            }));
        }
        self.directory.context(tenant.id(), Actor::user("ada")).await.unwrap()
    }

    /// The application's role, connected to the place of a tenant.
    pub(crate) fn in_place(&self, ctx: &TenantContext) -> PgConnectOptions {
        match ctx.tenant().placement() {
            Placement::Schema { name } => self.app.clone().options([("search_path", name.as_str())]),
            Placement::Database { name } => self.app.clone().database(name.as_str()),
            _ => self.app.clone(),
        }
    }
}

/// A role that owns nothing works in every place; the doctor finds no fault in any, also when it starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_applications_role_works_in_every_place() {
    let mut world = World::new().await;
    let mut tenants = HashMap::new();
    for (kind, place) in [
        ("shared", (|new| new) as fn(NewTenant) -> NewTenant),
        ("schema", NewTenant::own_schema),
        ("database", NewTenant::own_database),
    ] {
        for who in ["acme", "globex"] {
            tenants.insert((kind, who), world.create(&format!("{who}-{kind}"), place).await);
        }
    }
    for ((kind, who), ctx) in &tenants {
        let mut tx = world.db.begin(ctx).await.unwrap();
        Project::insert(&mut tx, &Project { id: 1, name: format!("{who} {kind}") }).await.unwrap();
        Gauge::new("projects").acquire(&mut tx, 1).await.unwrap();
        tx.record(tenancy::audit::AuditEvent::new(ctx, "project.create")).await.unwrap();
        tx.commit().await.unwrap();
    }
    let schema = Schema::new("tenant_id").unwrap();
    for ((kind, who), ctx) in &tenants {
        let scope = world.db.scope(ctx);
        let found = Project::find(&scope, 1).await.unwrap().unwrap();
        assert_eq!(found.name, format!("{who} {kind}"));
        assert_eq!(Project::count(&scope).await.unwrap(), 1);
        assert_eq!(Gauge::new("projects").usage(&scope).await.unwrap().used, 1);
        assert_eq!(tenancy::scope::StoredEvent::newest(&scope, None, 9).await.unwrap().len(), 1);

        // Without the library: no tenant, no row; and the doctor as the application's role.
        let mut conn = world.in_place(ctx).connect().await.unwrap();
        assert_eq!(texts(&mut conn, "SELECT name FROM projects").await, Vec::<String>::new());
        for report in [
            doctor::examine(&mut conn, &schema).await.unwrap(),
            doctor::examine_search_path(&mut conn, &schema).await.unwrap(),
        ] {
            let faults = report.failures(&[]);
            assert!(faults.is_empty(), "{kind}: {faults:#?}");
        }
    }
    // The program starts again, now that there are schemas.
    TenantDb::postgres(PgPoolOptions::new(), world.app.to_url_lossy()).build().await.unwrap();
    drop(world.owner);
}

/// `D12`: a migration creates its tables in the tenant's schema, and in no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d12_a_migration_creates_nothing_in_public() {
    let mut world = World::new().await;
    Postgres::raw(&world.owner, "DROP TABLE tasks, projects").await.unwrap();
    let acme = world.create("acme", NewTenant::own_schema).await;
    let globex = world.create("globex", NewTenant::own_schema).await;
    for (schema, expected) in [("public".to_owned(), 0), (schema_of(&acme), 2), (schema_of(&globex), 2)] {
        let sql = format!(
            "SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}' AND tablename IN ('projects', 'tasks')"
        );
        assert_eq!(Postgres::number(&world.owner, &sql).await, expected, "{schema}");
    }
    // `D08`: each schema has sequences of its own, so a value of one tenant tells nothing about another.
    let sequences = "SELECT count(DISTINCT sequencename || schemaname) FROM pg_sequences WHERE sequencename = 'tasks_id_seq'";
    assert_eq!(Postgres::number(&world.owner, sequences).await, 2);
}

fn schema_of(ctx: &TenantContext) -> String {
    PlacementName::of(ctx.tenant_id()).to_string()
}

/// A fault in one tenant's schema is found there, by its name, and in no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_the_schema_of_a_fault() {
    let mut world = World::new().await;
    let acme = world.create("acme", NewTenant::own_schema).await;
    let globex = world.create("globex", NewTenant::own_schema).await;
    let name = PlacementName::of(acme.tenant_id());
    Postgres::raw(&world.owner, &format!("ALTER TABLE \"{name}\".projects DISABLE ROW LEVEL SECURITY"))
        .await
        .unwrap();
    let schema = Schema::new("tenant_id").unwrap();
    for (ctx, faulty) in [(&acme, true), (&globex, false)] {
        let mut conn = world.in_place(ctx).connect().await.unwrap();
        let report = doctor::examine_search_path(&mut conn, &schema).await.unwrap();
        let faults = report.failures(&[]);
        assert_eq!(!faults.is_empty(), faulty, "{faults:#?}");
        assert!(faults.iter().all(|fault| fault.object().contains(name.as_str())), "{faults:#?}");
        let all = doctor::examine(&mut conn, &schema).await.unwrap();
        assert!(all.failures(&[]).iter().all(|fault| fault.object().contains(name.as_str())), "{all}");
    }
    // The next migration writes the policies again.
    let schema_of_acme = (*world.owner.connect_options()).clone().options([("search_path", name.as_str())]);
    let mut owner = schema_of_acme.connect().await.unwrap();
    let plan = RlsPolicies::new(&schema).search_path_only().plan(&mut owner).await.unwrap();
    assert_eq!((plan.changes().len(), plan.unguarded().len()), (1, 0), "{}", plan.sql());
    assert!(plan.sql().contains(name.as_str()), "{}", plan.sql());
}

/// Without it, the next migration would give the application's role the privileges of every place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_with_a_role_for_each_place_keeps_them() {
    let mut world = World::with_roles(true).await;
    for (slug, kind) in
        [("acme", NewTenant::own_schema as fn(NewTenant) -> NewTenant), ("globex", NewTenant::own_database)]
    {
        world.create(slug, kind).await;
    }
    let admin: PgConnectOptions = admin_url().parse().unwrap();
    let owner = admin.database(world.app.get_database().unwrap());
    let places = PostgresPlaces::new(owner).runtime_role(world.app.get_username());
    let texts = [
        TABLES,
        "CREATE TABLE more (tenant_id uuid NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id))",
    ];
    for (places, fits) in [(places.clone(), false), (places.role_per_tenant(), true)] {
        let provisioner = Provisioner::new(SqlStore::new(world.owner.clone()), places, migrator(&texts));
        let migrated: Vec<_> = provisioner.migrations().run().collect().await;
        for place in migrated.into_iter().map(Result::unwrap) {
            match place.result {
                Ok(_) => assert!(fits || place.tenant.is_none(), "{place:?}"),
                Err(ref e) => {
                    assert!(!fits && e.kind() == ErrorKind::Misconfigured, "{place:?}");
                    assert!(e.to_string().contains("role_per_tenant"), "{e}");
                }
            }
        }
    }
}

/// Where each place has a role, PostgreSQL rejects a name with another tenant's schema, and another tenant's database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_for_each_tenant_reads_no_other_place_by_name() {
    let mut world = World::with_roles(true).await;
    let mut tenants = Vec::new();
    for (slug, kind) in [
        ("acme", NewTenant::own_schema as fn(NewTenant) -> NewTenant),
        ("globex", NewTenant::own_schema),
        ("umbrella", NewTenant::own_database),
        ("commons", |new| new),
    ] {
        tenants.push(world.create(slug, kind).await);
    }
    for ctx in &tenants {
        let mut tx = world.db.begin(ctx).await.unwrap();
        Project::insert(&mut tx, &Project { id: 1, name: ctx.tenant().slug().to_string() }).await.unwrap();
        Gauge::new("projects").acquire(&mut tx, 1).await.unwrap();
        tx.record(tenancy::audit::AuditEvent::new(ctx, "project.create")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(Project::count(&world.db.scope(ctx)).await.unwrap(), 1);
    }
    let [acme, globex, umbrella, commons] = &tenants[..] else { unreachable!() };
    for (ctx, other) in [(acme, globex), (globex, acme)] {
        let scope = world.db.scope(ctx);
        let count = async |schema: String| {
            let sql = AssertSqlSafe(format!("SELECT count(*) FROM {schema}.projects"));
            let found = sqlx::query_scalar::<_, i64>(sql).fetch_one(&scope).await;
            found.map_err(|error| tenancy::Error::from_sqlx(error).kind())
        };
        assert_eq!(count(schema_of(ctx)).await, Ok(1));
        assert_eq!(count(schema_of(other)).await, Err(ErrorKind::Misconfigured), "a privilege is missing");
        assert_eq!(count("public".to_owned()).await, Err(ErrorKind::Misconfigured));
    }
    // The application's role itself has no privilege in any place of a tenant.
    for ctx in [acme, globex, umbrella] {
        let mut conn = world.in_place(ctx).connect().await.unwrap();
        let error = sqlx::query("SELECT * FROM projects").fetch_all(&mut conn).await.unwrap_err();
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .unwrap_or_default()
            .into_owned();
        assert!(["42501", "42P01"].contains(&&*code), "{code}");
    }
    // One read over all of them, in one transaction for the shared tables and the schemas.
    let (sink, reason) = (MemorySink::new(), Reason::new("monthly report FIN-12").unwrap());
    let across = world.db.cross_tenant(&world.directory, &sink, reason, Actor::user("ada")).unwrap();
    let counts = across.read(async |tx| Project::list(tx, PageRequest::first(9)).await).await.unwrap();
    for one in &counts {
        let names: Vec<_> = one.value.items.iter().map(|project| &*project.name).collect();
        assert_eq!(names, [one.tenant.slug().as_str()]);
    }
    assert_eq!(counts.len(), 4);
    assert_eq!(Project::count(&world.db.scope(commons)).await.unwrap(), 1);
}

/// The privileges of roles on the library's tables, in the database of a pool.
async fn grants(pool: &PgPool, roles: &[&str]) -> Vec<(String, String, String)> {
    let sql = "SELECT r.rolname::text, c.relname::text, string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type) \
        FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee \
        WHERE c.relname LIKE 'tenancy\\_%' AND r.rolname = ANY($1) GROUP BY 1, 2 ORDER BY 1, 2";
    sqlx::query_as(sql).bind(roles).fetch_all(pool).await.unwrap()
}

/// Places from before a table of the library have its grants after the next run, also without a new migration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_run_grants_the_role_of_each_place_what_it_lacks_on_the_librarys_tables() {
    let mut world = World::with_roles(true).await;
    let mut tenants = Vec::new();
    for (slug, kind) in [
        ("acme", NewTenant::own_schema as fn(NewTenant) -> NewTenant),
        ("globex", NewTenant::own_schema),
        ("umbrella", NewTenant::own_database),
        ("initech", NewTenant::own_database),
    ] {
        tenants.push(world.create(slug, kind).await);
    }
    let names: Vec<String> = tenants.iter().map(schema_of).collect();
    let roles: Vec<&str> = names.iter().map(String::as_str).chain([world.app.get_username()]).collect();
    let admin: PgConnectOptions = admin_url().parse().unwrap();
    let database_of = |ctx: &TenantContext| match ctx.tenant().placement() {
        Placement::Database { name } => name.to_string(),
        _ => world.app.get_database().unwrap().to_owned(),
    };
    let all_grants = async || {
        let mut all = Vec::new();
        for ctx in &tenants[1..] {
            let pool = PgPool::connect_with(admin.clone().database(&database_of(ctx))).await.unwrap();
            all.push(grants(&pool, &roles).await);
            pool.close().await;
        }
        all
    };
    let before = all_grants().await;
    assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [15, 5, 5], "{before:?}");
    let of_new = |role: &str| -> Vec<_> {
        let own = before[0].iter().filter(|one| one.0 == role);
        own.map(|(_, table, privileges)| (table.clone(), privileges.clone())).collect()
    };
    assert_eq!(of_new(roles[0]), of_new(roles[1]));

    // As before the tables were added, and as an upgrade that was interrupted.
    for (ctx, role) in tenants.iter().zip(&roles) {
        let pool = PgPool::connect_with(admin.clone().database(&database_of(ctx))).await.unwrap();
        let revoke = format!(
            "REVOKE ALL ON tenancy_gauge_resources, tenancy_usage, tenancy_usage_batches FROM \"{role}\"; \
             REVOKE UPDATE ON tenancy_gauges FROM \"{role}\""
        );
        Postgres::raw(&pool, &revoke).await.unwrap();
        pool.close().await;
        let mut tx = world.db.begin(ctx).await.unwrap();
        let error = Gauge::new("projects").acquire_for(&mut tx, "p1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    }
    let migrated: Vec<_> = world.provisioner.migrations().parallel(4).run().collect().await;
    assert_eq!(migrated.len(), 5);
    for place in migrated.into_iter().map(Result::unwrap) {
        assert!(matches!(&place.result, Ok(versions) if versions.is_empty()), "{place:?}");
    }
    assert_eq!(all_grants().await, before, "no more and no less than in a new place");
    for ctx in &tenants {
        let mut tx = world.db.begin(ctx).await.unwrap();
        for id in ["p1", "p1"] {
            assert_eq!(Gauge::new("projects").acquire_for(&mut tx, id).await.unwrap().used, 1);
        }
        tx.commit().await.unwrap();
    }
    for (ctx, other) in [(&tenants[0], &tenants[1]), (&tenants[1], &tenants[0])] {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {}.projects", schema_of(other)));
        let found = sqlx::query_scalar::<_, i64>(sql).fetch_one(&world.db.scope(ctx)).await;
        assert_eq!(tenancy::Error::from_sqlx(found.unwrap_err()).kind(), ErrorKind::Misconfigured);
        assert!(!Gauge::new("projects").holds(&world.db.scope(ctx), "p2").await.unwrap());
    }
}
