//! `tenancy tenants move` and `moves`: a tenant is moved, rolled back, and another one is unchanged.

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Postgres};
use tenancy::operations::TenantData;
use tenancy::tenant::Placement;

use crate::common::Cleanup;
use crate::on_every_database;
use crate::owner::{Owner, locked};
use crate::people::in_terminal;
use crate::shop::{Shop, World};

const MIGRATIONS: [&str; 4] = ["--migrations", "migrations", "--grace", "0"];

/// Drops the database that a tenant can be moved to.
async fn cleanup<DB: Shop + TenantData>(owner: &Owner<'_, DB>, slug: &str) -> Option<Cleanup> {
    let tenant = owner.tenant(slug).await.unwrap();
    let moved = tenant.with_placement(Placement::database_of(tenant.id()));
    DB::cleanup(&moved, false).0
}

async fn a_tenant_moves_to_every_place_and_back<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let (acme, globex) = ("acme-shared", "globex-shared");
    let _database = cleanup(&owner, acme).await;
    let id = owner.tenant(acme).await.unwrap().id().clone();
    let targets: &[(&str, Placement)] = &[
        ("database", Placement::database_of(&id)),
        ("shared", Placement::Shared),
        ("schema", Placement::schema_of(&id)),
        ("database", Placement::database_of(&id)),
    ];
    let is_sqlite = world.url.starts_with("sqlite:");
    for (to, target) in targets {
        if is_sqlite && *to == "schema" {
            owner.refused(&["move", acme, "--to", to, "--migrations", "migrations"], "SQLite has no schemas");
            continue;
        }
        let before = owner.tenant(acme).await.unwrap();
        let plan = owner.json(&["move", acme, "--to", to, "--dry-run"]);
        assert_eq!((&plan["source"], &plan["target"]), (&json!(before.placement()), &json!(target)));
        assert_eq!(plan["refused"], json!([]), "{plan}");
        let tables = plan["tables"].as_array().unwrap();
        assert!(tables.iter().any(|table| table["name"] == "projects" && table["rows"] == 4), "{plan}");
        assert_eq!(owner.tenant(acme).await.unwrap(), before);

        let (code, out, err) = owner.run(&[&["move", acme, "--to", to], &MIGRATIONS[..]].concat());
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains(&format!("{acme} is in the {target}: ")), "{out}");
        assert!(
            out.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == ["projects", "4"]),
            "{out}"
        );
        let steps: Vec<&str> = err.lines().filter(|line| !line.contains(" rows")).collect();
        let expected = ["prepare", "copy", "fence", "verify", "switch", "clean-up"];
        assert_eq!(steps, expected.map(|step| format!("tenancy: {step}")), "{err}");
        assert!(err.contains("tenancy: copy: projects, 4 rows\n"), "{err}");
        assert_eq!(owner.tenant(acme).await.unwrap().placement(), target);
        assert_eq!((owner.projects(acme).await, owner.projects(globex).await), (4, 2));
        assert_eq!(owner.listed(&["moves"]), "0 unfinished moves\n");
    }
    let to = if is_sqlite { "shared" } else { "schema" };
    let moved = [&["move", acme, "--to", to, "--json"], &MIGRATIONS[..]].concat();
    let (code, out, err) = owner.run(&moved);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["tables"]["projects"], &report["slug"]), (0, &json!(4), &json!(acme)), "{err}");
    assert!(report["fenced_ms"].is_u64() && report["copied"].is_u64(), "{report}");
    assert_eq!((owner.projects(acme).await, owner.projects(globex).await), (4, 2));
}

async fn what_cannot_be_moved_stays<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let before = owner.listed(&["list", "--json"]);
    let (code, out, _) = owner.run(&["move", "acme-shared", "--to", "shared", "--dry-run"]);
    assert_eq!(code, 1);
    assert!(out.contains("not possible: the tenant is there already\n"), "{out}");
    owner.refused(&["move", "acme-shared", "--to", "shared"], "the tenant is there already");
    owner.refused(&["move", "acme-shared"], "--to <TO>");
    owner.refused(&["move", "acme-shared", "--to", "moon"], "possible values");
    owner.refused(&["move", "acme-shared", "--to", "database"], "name the directory of the migrations");
    owner.refused(&["move", "initech", "--to", "shared"], "no tenant has the slug");
    owner.refused(&["move", "acme-shared", "--roll-back"], "no move of this tenant is unfinished");
    owner.refused(&["move", "acme-shared", "--roll-back", "--to", "database"], "no move of this tenant");
    owner.refused(
        &["move", "acme-shared", "--roll-back", "--dry-run", "--to", "shared"],
        "cannot be used with",
    );
    owner.refused(&["move", "acme-shared", "--roll-back", "--wait", "5"], "cannot be used with");
    for wait in ["soon", "86401", "-1"] {
        let wait = format!("--wait={wait}");
        owner.refused(&["move", "acme-shared", "--to", "database", &wait], "invalid value");
    }
    assert_eq!(owner.listed(&["moves", "--json"]), "");
    assert_eq!(owner.listed(&["list", "--json"]), before);
}

/// After the switch the move can only be finished.
async fn a_move_that_ctrl_c_interrupted_is_finished<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let [acme, globex] = owner.slugs().last().unwrap().clone();
    let own = owner.tenant(&acme).await.unwrap().placement().clone();
    let mut run = owner.start(&["move", &acme, "--to", "shared", "--grace", "3600"]);
    run.until("tenancy: clean-up\n");
    run.interrupt();
    let (code, out, err) = run.end();
    assert_eq!((code, out.as_str()), (Some(130), ""), "{err}");
    assert!(err.contains("interrupted: the tenant is in the shared tables"), "{err}");
    assert!(err.contains("run the same command again\n"), "{err}");
    let listed: Value = serde_json::from_str(&owner.listed(&["moves", "--json"])).unwrap();
    assert_eq!((&listed["slug"], &listed["step"]), (&json!(acme), &json!("clean-up")), "{listed}");
    assert_eq!((&listed["source"], &listed["target"]), (&json!(own), &json!(Placement::Shared)));
    assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (4, 2));
    owner.refused(&["move", &acme, "--roll-back"], "the tenant is in its new place already");
    let out = owner.ok(&["move", &acme, "--to", "shared", "--grace", "0"]);
    assert!(out.contains(&format!("{acme} is in the shared tables")), "{out}");
    assert_eq!(owner.listed(&["moves"]), "0 unfinished moves\n");
    assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (4, 2));
}

/// At a terminal the progress is one line that changes, and no bundle is written there.
async fn a_terminal_shows_one_line_of_progress<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let [acme, globex] = owner.slugs().last().unwrap().clone();
    let shown = |command: &[&str]| {
        let arguments = owner.arguments(command);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        in_terminal(&arguments, 100, "", world.dir.path())
    };
    let (code, out) = shown(&["export", &acme, "--output", "-"]);
    assert!(code == 2 && out.contains("a bundle is not for a terminal"), "{out}");
    let (code, out) = shown(&["export", &acme, "--output", "acme.tar"]);
    assert!(code == 0 && out.contains(" bytes in acme.tar\n"), "{out}");
    let (code, out) = shown(&["move", &acme, "--to", "shared", "--grace", "0"]);
    assert!(code == 0 && out.contains(&format!("{acme} is in the shared tables")), "{out}");
    assert!(!out.contains("tenancy: copy"), "{out}");
    assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (4, 2));
}

on_every_database!(
    a_terminal_shows_one_line_of_progress,
    a_tenant_moves_to_every_place_and_back,
    what_cannot_be_moved_stays,
    a_move_that_ctrl_c_interrupted_is_finished,
);

/// Before the switch the move is rolled back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_ctrl_c_interrupted_is_rolled_back() {
    let world = World::<Postgres>::new(false).await;
    let owner = Owner::new(&world);
    let (acme, globex) = ("acme-shared", "globex-shared");
    let mut watch = PgConnection::connect(&world.control_url).await.unwrap();
    let lock = locked(&world.control_url, "ACCESS EXCLUSIVE").await;
    let to_schema = [&["move", acme, "--to", "schema"], &MIGRATIONS[..]].concat();
    // The plan waits for the lock too: nothing is begun yet.
    let mut run = owner.start(&to_schema);
    run.until_it_waits(&mut watch).await;
    run.interrupt();
    let (code, _, err) = run.end();
    assert_eq!(code, Some(130), "{err}");
    assert!(err.ends_with("tenancy: interrupted: nothing was begun\n"), "{err}");
    lock.close().await.unwrap();

    // The plan is read, and the policy of the fence waits.
    let lock = locked(&world.control_url, "SHARE").await;
    let mut run = owner.start(&to_schema);
    run.until("tenancy: prepare\n");
    run.until_it_waits(&mut watch).await;
    run.interrupt();
    let (code, out, err) = run.end();
    assert_eq!((code, out.as_str()), (Some(130), ""), "{err}");
    assert!(
        err.contains("interrupted: the move is in the step prepare, and the tenant is served as before"),
        "{err}"
    );
    assert!(err.contains("`tenancy tenants move acme-shared --roll-back`"), "{err}");
    lock.close().await.unwrap();
    let list = owner.listed(&["moves"]);
    assert!(
        list.contains(" acme-shared ")
            && list.contains(" prepare ")
            && list.ends_with("\n1 unfinished move\n"),
        "{list}"
    );
    owner.refused(&["move", acme, "--to", "database", "--migrations", "migrations"], "is not finished");
    owner.refused(&["move", globex, "--roll-back"], "no move of this tenant is unfinished");

    let out = owner.json(&["move", acme, "--roll-back"]);
    assert_eq!((&out["rolled_back"], &out["place"]), (&json!(true), &json!(Placement::Shared)), "{out}");
    assert_eq!(owner.listed(&["moves"]), "0 unfinished moves\n");
    assert_eq!((owner.projects(acme).await, owner.projects(globex).await), (4, 2));
    // The next move begins anew.
    owner.ok(&to_schema);
    assert_eq!((owner.projects(acme).await, owner.projects(globex).await), (4, 2));
}

/// Two moves wait for the same transaction: one for a long time, and one not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_waits_for_open_transactions_as_long_as_it_is_told() {
    let world = World::<Postgres>::new(false).await;
    let owner = Owner::new(&world);
    let (acme, globex) = ("acme-shared", "globex-shared");
    let mut open = PgConnection::connect(&world.control_url).await.unwrap();
    let mut tx = open.begin().await.unwrap();
    let _: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut *tx).await.unwrap();
    let arguments =
        |slug, wait| [&["move", slug, "--to", "schema", "--wait", wait], &MIGRATIONS[..]].concat();

    let mut long = owner.start(&arguments(globex, "86400"));
    long.until("tenancy: fence\n");
    let (code, out, err) = owner.run(&arguments(acme, "0"));
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("a transaction is open since before the tenant was fenced"), "{err}");
    assert!(err.contains("the tenant can be refused until then"), "{err}");

    tx.rollback().await.unwrap();
    let (code, out, err) = long.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(&format!("{globex} is in the schema ")), "{out}");
    assert_eq!(owner.tenant(acme).await.unwrap().placement(), &Placement::Shared);
    owner.ok(&arguments(acme, "60"));
    assert_eq!((owner.projects(acme).await, owner.projects(globex).await), (4, 2));
}
