//! `tenancy tenants create` with a place of its own: the application can use it, and other tenants are unchanged.

use std::process::ExitCode;

use serde_json::{Value, json};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, SqlSafeStr};
use tenancy::TenantScoped;
use tenancy::cli::Program;
use tenancy::operations::TenantData;
use tenancy::plan::Catalog;
use tenancy::scope::Schema;
use tenancy::tenant::{Placement, TenantStatus};

use crate::cli::{tenancy, write};
use crate::common::{CATALOG, Cleanup};
use crate::on_every_database;
use crate::owner::Owner;
use crate::shop::{Login, Project, Shop, World, project};

const MIGRATIONS: [&str; 2] = ["--migrations", "migrations"];

fn create<'a>(slug: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["create", slug, "--plan", "free", "--catalog", "plans.toml"], more].concat()
}

/// Drops the database of a tenant, also if an assertion fails later.
async fn cleanup<DB: Shop + TenantData>(owner: &Owner<'_, DB>, slug: &str) -> Option<Cleanup> {
    DB::cleanup(&owner.tenant(slug).await.unwrap(), false).0
}

async fn a_tenant_is_created_in_a_place_of_its_own<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let is_sqlite = world.url.starts_with("sqlite:");
    let mut cleanups = Vec::new();
    for who in ["initech", "umbrella"] {
        for (kind, option) in [("database", "--own-database"), ("schema", "--own-schema")] {
            if is_sqlite && kind == "schema" {
                owner.refused(&create("copy", &[option, "--migrations", "migrations"]), "SQLite");
                continue;
            }
            let slug = format!("{who}-{kind}");
            let named = ["--name", "A name", option];
            let out = owner.ok(&create(&slug, &[&named[..], &MIGRATIONS].concat()));
            cleanups.push(cleanup(&owner, &slug).await);
            assert_eq!(out, owner.listed(&["show", &slug]), "the same as a tenant in the shared tables");
            assert!(out.contains("status   active, set by operator\n") && out.contains(kind), "{out}");
            let tenant = owner.tenant(&slug).await.unwrap();
            let expected = match kind {
                "schema" => Placement::schema_of(tenant.id()),
                _ => Placement::database_of(tenant.id()),
            };
            assert_eq!((tenant.placement(), tenant.name(), tenant.plan()), (&expected, "A name", "free"));

            // As a process of the application that starts now.
            assert_eq!(owner.projects(&slug).await, 0);
            let login = Login { url: world.url.clone(), roles: false, gone: None };
            let db = DB::open(&login, &world.dir.path().join("files")).await;
            Project::insert(&db.scope(&owner.context(&slug).await), &project(1)).await.unwrap();
            assert_eq!(owner.projects(&slug).await, 1);
            assert_eq!(owner.projects("globex-shared").await, 2);
            let (code, events, err) = world.command(&["audit", "export", "--tenant", &slug]);
            assert_eq!(code, 0, "{err}");
            let event: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
            assert_eq!(
                (&event["action"], &event["actor"]["id"]),
                (&json!("tenant.create"), &json!("tenancy tenants"))
            );
        }
    }
    let json = owner.json(&create("json", &["--own-database", "--migrations", "migrations"]));
    cleanups.push(cleanup(&owner, "json").await);
    assert_eq!(json, serde_json::to_value(owner.tenant("json").await.unwrap()).unwrap());
    assert_eq!((owner.projects("json").await, owner.projects("acme-shared").await), (0, 4));
}

async fn a_program_creates_a_tenant_with_its_own_migrations<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let sql = AssertSqlSafe(DB::TABLE).into_sql_str();
    let migration = Migration::new(1, "projects".into(), MigrationType::Simple, sql, false);
    let program = Program::new()
        .migrations(Migrator::with_migrations(vec![migration]))
        .catalog(Catalog::from_toml(CATALOG).unwrap())
        .schema(Schema::from_toml("shared = [\"countries\"]").unwrap());
    let mut arguments = owner.arguments(&["create", "initech", "--plan", "free", "--own-database"]);
    arguments.insert(0, "shop".to_owned());
    if let Some(at) = arguments.iter().position(|argument| argument == "files") {
        arguments[at] = world.dir.path().join("files").display().to_string();
    }
    assert_eq!(program.run_from(arguments), ExitCode::SUCCESS);
    let _database = cleanup(&owner, "initech").await;
    assert_eq!((owner.projects("initech").await, owner.projects("globex-shared").await), (0, 2));
}

async fn what_is_missing_is_named_and_adds_no_tenant<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let is_sqlite = world.url.starts_with("sqlite:");
    let before = owner.listed(&["list", "--json"]);
    let own = ["--own-database", "--migrations", "migrations"];
    owner.refused(&create("initech", &["--own-database"]), "name the directory of the migrations");
    owner.refused(&create("initech", &["--own-database", "--migrations", "none"]), "none: ");
    owner.refused(&create("initech", &["--own-schema", "--own-database"]), "cannot be used with");
    owner.refused(&create("A_B", &own), "`A_B`");
    owner.refused(&create("acme-shared", &own), "a tenant with this id or slug exists");
    let gold = ["create", "initech", "--plan", "gold", "--catalog", "plans.toml"];
    owner.refused(&[&gold[..], &own].concat(), "gold");
    owner.refused(&create("initech", &["--resume"]), "<--own-schema|--own-database>");
    owner.refused(&create("initech", &[&own[..], &["--resume"]].concat()), "leave `--resume` out");
    owner.refused(&create("acme-shared", &[&own[..], &["--resume"]].concat()), "so its creation is finished");
    // An option of the owner, without a place.
    let option = if is_sqlite { "`--files`" } else { "`--runtime-role`" };
    owner.refused(&create("initech", &[]), &format!("{option} is for a tenant with a place of its own"));
    let without = |more: &[&str]| {
        let command = [&["tenants"], &create("initech", more)[..], &["--url", &world.control_url]].concat();
        tenancy(&command, world.dir.path())
    };
    let (code, out, err) = without(&MIGRATIONS);
    assert!((code, out.as_str()) == (2, "") && err.contains("`--migrations` is for a tenant"), "{err}");
    if is_sqlite {
        let (code, out, err) = without(&own);
        assert!((code, out.as_str()) == (2, "") && err.contains("`--files`"), "{err}");
    }
    std::fs::remove_file(world.dir.path().join("tenancy.toml")).unwrap();
    owner.refused(&create("initech", &own), "`--config` names the file");
    assert_eq!(owner.listed(&["list", "--json"]), before);
    // The shared tables need none of this, and the list of tenants can be elsewhere.
    let (code, out, err) = without(&[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let command = create("hooli", &["--url", "postgres://none/none", "--control-url", &world.control_url]);
    let (code, _, err) = tenancy(&[&["tenants"], &command[..]].concat(), world.dir.path());
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!((owner.projects("hooli").await, owner.projects("globex-shared").await), (0, 2));
}

async fn a_creation_that_failed_is_resumed<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let own = ["--own-database", "--migrations", "migrations"];
    let resume = [&own[..], &["--resume"]].concat();
    write(world.dir.path(), "migrations/2_bad.sql", "SELECT nothing FROM nowhere");
    let (code, out, err) = owner.run(&create("initech", &own));
    let _database = cleanup(&owner, "initech").await;
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("the step `migrate` failed"), "{err}");
    assert!(err.contains("run the command again with `--resume`"), "{err}");
    assert_eq!(owner.tenant("initech").await.unwrap().status(), TenantStatus::Provisioning);
    owner.refused(&create("initech", &resume), "the step `migrate` failed");
    std::fs::remove_file(world.dir.path().join("migrations/2_bad.sql")).unwrap();

    // Without the option, and with options of another tenant, nothing goes on.
    let (code, _, err) = owner.run(&create("initech", &own));
    assert_eq!(code, 2);
    assert!(err.contains("a tenant with this id or slug exists") && err.contains("--resume"), "{err}");
    for other in [&["--name", "Initech"][..], &["--region", "eu"]] {
        owner.refused(&create("initech", &[&resume[..], other].concat()), "repeat the options");
    }
    let pro = ["create", "initech", "--plan", "pro", "--catalog", "plans.toml"];
    owner.refused(&[&pro[..], &resume].concat(), "repeat the options");
    if !world.url.starts_with("sqlite:") {
        let schema = ["--own-schema", "--migrations", "migrations", "--resume"];
        owner.refused(&create("initech", &schema), "repeat the options");
    }
    assert_eq!(owner.tenant("initech").await.unwrap().status(), TenantStatus::Provisioning);

    let out = owner.ok(&create("initech", &resume));
    assert_eq!(out, owner.listed(&["show", "initech"]));
    assert_eq!((owner.projects("initech").await, owner.projects("globex-shared").await), (0, 2));
    owner.refused(&create("initech", &resume), "the tenant initech is active, so its creation is finished");
}

on_every_database!(
    a_tenant_is_created_in_a_place_of_its_own,
    a_program_creates_a_tenant_with_its_own_migrations,
    what_is_missing_is_named_and_adds_no_tenant,
    a_creation_that_failed_is_resumed,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_ctrl_c_interrupted_is_resumed() {
    let world = World::<Postgres>::new(false).await;
    let owner = Owner::new(&world);
    let own = ["--own-schema", "--migrations", "migrations"];
    write(world.dir.path(), "migrations/2_wait.sql", "SELECT pg_advisory_xact_lock(7)");
    let mut lock = PgConnection::connect(&world.control_url).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut lock).await.unwrap();
    let mut run = owner.start(&create("initech", &own));
    run.until_it_waits(&mut lock).await;
    run.interrupt();
    let (code, out, err) = run.end();
    assert_eq!((code, out.as_str()), (Some(130), ""), "{err}");
    assert!(err.contains("interrupted: a tenant with this slug is not open"), "{err}");
    assert_eq!(owner.tenant("initech").await.unwrap().status(), TenantStatus::Provisioning);
    lock.close().await.unwrap();
    // The session of the interrupted command ends with its statement, and its lock of the place with the session.
    let mut watch = PgConnection::connect(&world.control_url).await.unwrap();
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while sqlx::query_scalar::<_, i64>(locks).fetch_one(&mut watch).await.unwrap() > 0 {
        assert!(std::time::Instant::now() < deadline, "the session of the command is still there");
    }
    owner.ok(&create("initech", &[&own[..], &["--resume"]].concat()));
    assert_eq!((owner.projects("initech").await, owner.projects("globex-shared").await), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_role_of_the_application_the_remark_says_so() {
    let world = World::<Postgres>::new(false).await;
    let owner = Owner::new(&world);
    let own = ["--own-schema", "--migrations", "migrations", "--url", &world.control_url];
    let command = [&["tenants"], &create("initech", &own)[..]].concat();
    let (code, out, err) = tenancy(&command, world.dir.path());
    assert_eq!(
        (code, err.as_str()),
        (0, "tenancy: without `--runtime-role` the application was granted no rights on the new tables\n")
    );
    assert_eq!(out, owner.listed(&["show", "initech"]));
    assert_eq!(owner.projects("globex-shared").await, 2);
}
