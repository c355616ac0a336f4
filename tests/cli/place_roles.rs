//! The commands of the owner with `--role-per-tenant`: each place has a role of its own, which alone may use the place.

use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgPool, Postgres};
use tenancy::TenantScoped;
use tenancy::tenant::{Placement, PlacementName, Tenant};

use crate::cli::tenancy;
use crate::common::Cleanup;
use crate::owner::Owner;
use crate::shop::{Login, Project, Shop, World, as_admin};

const MIGRATIONS: [&str; 2] = ["--migrations", "migrations"];
const PLAN: [&str; 4] = ["--plan", "free", "--catalog", "plans.toml"];

/// What is dropped when the test ends: databases before the fixture, and roles after it.
#[derive(Default)]
struct Cleanups(Vec<Cleanup>);

impl Cleanups {
    fn add(&mut self, cleanup: Option<Cleanup>) {
        self.0.extend(cleanup);
    }
}

/// Whether the role of this name exists.
async fn has_role(world: &World<Postgres>, name: &str) -> bool {
    let pool = PgPool::connect(&world.control_url).await.unwrap();
    let exists = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
    sqlx::query_scalar(exists).bind(name).fetch_one(&pool).await.unwrap()
}

fn owner_role(world: &World<Postgres>) -> String {
    world.owner_url.parse::<PgConnectOptions>().unwrap().get_username().to_owned()
}

/// The name of the role of a tenant's place.
fn role_of(tenant: &Tenant) -> String {
    PlacementName::of(tenant.id()).to_string()
}

/// In a place of its own, only the role of the place may read and write the rows. In the shared tables, there is no role.
async fn check_role(owner: &Owner<'_, Postgres>, tenant: &Tenant) {
    let role = role_of(tenant);
    let mut options: PgConnectOptions = owner.world.owner_url.parse().unwrap();
    match tenant.placement() {
        Placement::Shared => {
            assert!(!has_role(owner.world, &role).await, "{tenant:?}");
            return;
        }
        Placement::Database { name } => options = options.database(name.as_str()),
        _ => {}
    }
    let table = match tenant.placement() {
        Placement::Schema { name } => format!("\"{name}\".projects"),
        _ => "projects".to_owned(),
    };
    let pool = PgPool::connect_with(options).await.unwrap();
    let login = owner.role.as_deref().unwrap();
    for privilege in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
        let may: (bool, bool) =
            sqlx::query_as("SELECT has_table_privilege($1, $3, $4), has_table_privilege($2, $3, $4)")
                .bind(&role)
                .bind(login)
                .bind(&table)
                .bind(privilege)
                .fetch_one(&pool)
                .await
                .unwrap();
        assert_eq!(may, (true, false), "{privilege} on {table} of {role}, and of {login}");
    }
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tenant_gets_a_role() {
    let mut roles = Cleanups::default();
    let world = World::<Postgres>::new(true).await;
    let mut databases = Cleanups::default();
    let owner = Owner::new(&world);
    for [acme, globex] in owner.slugs() {
        owner.ok(&["export", &acme, "--output", &format!("{acme}.tar")]);
        for option in ["--own-schema", "--own-database"] {
            let (created, copied) = (format!("new{option}-{acme}"), format!("copy{option}-{acme}"));
            let name = ["--name", "A copy", option];
            owner.ok(&[&["create", &created], &PLAN[..], &name, &MIGRATIONS].concat());
            let bundle = format!("{acme}.tar");
            let import = ["import", &bundle, "--slug", &copied];
            let report: Value = owner.json(&[&import[..], &PLAN, &name, &MIGRATIONS].concat());
            assert_eq!(report["rows"]["projects"], 4);
            for (slug, rows) in [(created, 0), (copied, 4)] {
                let tenant = owner.tenant(&slug).await.unwrap();
                let (database, role) = Postgres::cleanup(&tenant, true);
                databases.add(database);
                roles.add(role);
                check_role(&owner, &tenant).await;
                assert_eq!(owner.projects(&slug).await, rows, "{slug}");
            }
            assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (4, 2));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_restored_and_deleted_with_its_role() {
    let world = World::<Postgres>::new(true).await;
    let owner = Owner::new(&world);
    for [acme, globex] in owner.slugs() {
        let file = format!("{acme}.tar");
        owner.ok(&["export", &acme, "--output", &file]);
        let login = Login { url: world.url.clone(), roles: true, gone: None };
        let db = Postgres::open(&login, world.dir.path()).await;
        let ctx = owner.context(&acme).await;
        let mut tx = db.begin(&ctx).await.unwrap();
        let _ = Project::select().delete(&mut tx).await.unwrap();
        tx.commit_unaudited("a mistake").await.unwrap();
        assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (0, 2));
        owner.suspend(&acme);
        let confirmed = ["--confirm", &acme, "--yes"];
        owner.ok(&[&["restore", &acme, &file], &confirmed[..], &MIGRATIONS].concat());
        owner.listed(&["resume", &acme, "--reason", "restored"]);
        assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (4, 2));
        let [tenant, other] = [owner.tenant(&acme).await.unwrap(), owner.tenant(&globex).await.unwrap()];
        check_role(&owner, &tenant).await;

        owner.suspend(&acme);
        drop(db);
        owner.ok(&[&["delete", &acme], &confirmed[..]].concat());
        assert!(owner.tenant(&acme).await.is_none());
        assert!(!has_role(&world, &role_of(&tenant)).await, "the role of {acme} is left");
        check_role(&owner, &other).await;
        assert_eq!(owner.projects(&globex).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_tenant_has_a_role_where_it_has_a_place() {
    let mut roles = Cleanups::default();
    let world = World::<Postgres>::new(true).await;
    let mut databases = Cleanups::default();
    let owner = Owner::new(&world);
    let (acme, globex) = ("acme-shared", "globex-shared");
    let tenant = owner.tenant(acme).await.unwrap();
    let own = tenant.with_placement(Placement::database_of(tenant.id()));
    let (database, role) = Postgres::cleanup(&own, true);
    databases.add(database);
    roles.add(role);
    for to in ["schema", "database", "shared", "database", "schema", "shared"] {
        let plan = owner.json(&["move", acme, "--to", to, "--dry-run"]);
        assert_eq!(plan["refused"], serde_json::json!([]), "{to}: {plan}");
        owner.ok(&[&["move", acme, "--to", to, "--grace", "0"], &MIGRATIONS[..]].concat());
        check_role(&owner, &owner.tenant(acme).await.unwrap()).await;
        assert_eq!((owner.projects(acme).await, owner.projects(globex).await), (4, 2), "{to}");
    }
    // The places that the fixture created.
    for [acme, globex] in owner.slugs().into_iter().skip(1) {
        owner.ok(&["move", &acme, "--to", "shared", "--grace", "0"]);
        for slug in [&acme, &globex] {
            check_role(&owner, &owner.tenant(slug).await.unwrap()).await;
        }
        // The shared tables have the ids of each tenant: their keys have the tenant.
        assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (4, 2));
    }
}

/// A command without `--role-per-tenant` gives nobody else rights in the place, and leaves no role behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_option_a_role_is_respected_and_dropped_with_its_place() {
    let world = World::<Postgres>::new(true).await;
    // An idle session of the application keeps its database for up to a minute.
    world.db.close().await;
    let owner = Owner::new(&world);
    let run = |command: &[&str]| {
        let mut arguments = owner.arguments(command);
        arguments.retain(|argument| argument != "--role-per-tenant");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        tenancy(&arguments, world.dir.path())
    };
    for [acme, globex] in owner.slugs().into_iter().skip(1) {
        let [tenant, other] = [owner.tenant(&acme).await.unwrap(), owner.tenant(&globex).await.unwrap()];
        let to = if matches!(tenant.placement(), Placement::Schema { .. }) { "database" } else { "schema" };
        let (code, _, err) = run(&[&["move", &acme, "--to", to, "--grace", "0"], &MIGRATIONS[..]].concat());
        assert_eq!(code, 2, "{err}");
        assert!(
            err.contains("this place has a role of its own") && err.contains("--role-per-tenant"),
            "{err}"
        );
        let (code, _, err) = run(&["move", &acme, "--roll-back"]);
        assert_eq!(code, 0, "{err}");
        check_role(&owner, &tenant).await;
        assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (4, 2));

        owner.suspend(&acme);
        let (code, _, err) = run(&["delete", &acme, "--confirm", &acme, "--yes"]);
        assert_eq!(code, 0, "{err}");
        assert!(!has_role(&world, &role_of(&tenant)).await, "the role of {acme} is left");
        check_role(&owner, &other).await;
        assert_eq!(owner.projects(&globex).await, 2);
        as_admin(format!("ALTER ROLE {} NOCREATEROLE", owner_role(&world))).await.unwrap();
        let (code, _, err) = run(&["move", &globex, "--to", "shared", "--grace", "0"]);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("as an owner with CREATEROLE, and repeat this"), "{err}");
        assert!(has_role(&world, &role_of(&other)).await);
        as_admin(format!("ALTER ROLE {} CREATEROLE", owner_role(&world))).await.unwrap();
        let (code, _, err) = run(&["move", &globex, "--to", "shared", "--grace", "0"]);
        assert_eq!(code, 0, "{err}");
        check_role(&owner, &owner.tenant(&globex).await.unwrap()).await;
        assert_eq!(owner.projects(&globex).await, 2);
    }
}
