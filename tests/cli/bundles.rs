//! `tenancy tenants export` and `import`: a tenant is copied, and another one is unchanged.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Postgres};
use tenancy::TenantScoped;
use tenancy::operations::TenantData;
use tenancy::tenant::Placement;

use crate::cli::{tenancy, write};
use crate::on_every_database;
use crate::owner::{Owner, locked};
use crate::people::in_terminal;
use crate::shop::{Login, Project, Shop, World};

const IMPORT: [&str; 6] = ["--plan", "free", "--catalog", "plans.toml", "--migrations", "migrations"];

fn import<'a>(file: &'a str, slug: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["import", file, "--slug", slug], &IMPORT[..], more].concat()
}

async fn a_tenant_is_exported_and_imported<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    for (at, [acme, globex]) in owner.slugs().iter().enumerate() {
        let file = format!("{acme}.tar");
        let report = owner.ok(&["export", acme, "--output", &file]);
        let path = world.dir.path().join(&file);
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(report.starts_with("table ") && report.contains("sha256\n"), "{report}");
        assert!(report.contains(&format!(" rows, {bytes} bytes in {file}\n")), "{report}");
        let json = owner.json(&["export", acme, "--output", &format!("{acme}-2.tar")]);
        assert_eq!((&json["slug"], &json["schema_version"]), (&json!(acme), &json!(1)));
        assert_eq!(json["bytes"], json!(bytes));
        let tables = json["tables"].as_array().unwrap();
        let projects = tables.iter().find(|table| table["name"] == "projects").unwrap();
        assert_eq!(projects["rows"], 4);
        assert!(report.contains(projects["sha256"].as_str().unwrap()), "{report}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!world.dir.path().join(format!("{file}.part")).exists());
        let (code, out, err) = owner.run(&["export", acme, "--output", "-"]);
        assert_eq!(code, 0, "{err}");
        assert_eq!(out, std::fs::read_to_string(&path).unwrap(), "the same bytes");
        assert!(err.contains(&format!("{bytes} bytes in standard output\n")), "{err}");

        let id = owner.tenant(acme).await.unwrap().id().to_string();
        owner.refused(&["export", &id, "--output", &file], "the file exists");
        write(world.dir.path(), "busy.tar.part", "");
        owner
            .refused(&["export", acme, "--output", "busy.tar"], "busy.tar.part: another run writes the file");
        owner.refused(&["export", acme, "--output", "none/a.tar"], "name a file in a directory that exists");
        owner.refused(&["export", "initech", "--output", "b.tar"], "no tenant has the slug or the id");
        assert!(!world.dir.path().join("b.tar").exists());

        for (place, option) in [("shared", None), ("own", Some("--own-database"))] {
            let slug = format!("copy-{at}-{place}");
            let more: Vec<&str> = ["--name", "The copy"].into_iter().chain(option).collect();
            let copied = owner.json(&import(&file, &slug, &more));
            let tenant = owner.tenant(&slug).await.unwrap();
            // It is dropped, also if an assertion fails.
            let _cleanup = DB::cleanup(&tenant, false);
            assert_eq!(copied["rows"]["projects"], 4, "{copied}");
            assert_eq!((&copied["tenant"]["name"], &copied["new_ids"]), (&json!("The copy"), &json!(false)));
            assert_eq!(*tenant.placement() == Placement::Shared, option.is_none());
            assert_eq!(owner.projects(&slug).await, 4);
            assert_eq!((owner.projects(acme).await, owner.projects(globex).await), (4, 2));
        }
        owner.refused(&import(&file, acme, &[]), "id or slug exists");
    }
}

async fn what_cannot_be_imported_leaves_no_tenant<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let before = owner.listed(&["list", "--json"]);
    let file = "acme.tar";
    owner.ok(&["export", "acme-shared", "--output", file]);
    write(world.dir.path(), "text.tar", "not a bundle");
    let whole = std::fs::read(world.dir.path().join(file)).unwrap();
    std::fs::write(world.dir.path().join("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    owner.refused(&import("none.tar", "copy", &[]), "none.tar: ");
    owner.refused(&import("text.tar", "copy", &[]), "this is no complete bundle of a tenant");
    owner.refused(&import("cut.tar", "copy", &[]), "this is no complete bundle of a tenant");
    owner.refused(&import(file, "A_B", &[]), "`A_B`");
    owner.refused(
        &["import", file, "--slug", "copy", "--plan", "gold", "--catalog", "plans.toml"],
        "--migrations",
    );
    let gold = ["--plan", "gold", "--catalog", "plans.toml", "--migrations", "migrations"];
    owner.refused(&[&["import", file, "--slug", "copy"], &gold[..]].concat(), "gold");
    owner.refused(
        &["import", file, "--slug", "copy", "--plan", "free", "--migrations", "migrations"],
        "--catalog",
    );
    owner.refused(&import(file, "copy", &["--own-schema", "--own-database"]), "cannot be used with");
    if world.url.starts_with("sqlite:") {
        owner.refused(&import(file, "copy", &["--own-schema"]), "SQLite");
    }
    // The directory of the migrations is another one.
    write(world.dir.path(), "migrations/2_more.sql", "SELECT 1");
    owner.refused(&import(file, "copy", &[]), "the bundle is of the migration 1");
    std::fs::remove_file(world.dir.path().join("tenancy.toml")).unwrap();
    owner.refused(&["export", "acme-shared", "--output", "d.tar"], "`--config` names the file");
    assert_eq!(owner.listed(&["list", "--json"]), before);
}

on_every_database!(
    a_tenant_is_exported_and_imported,
    what_cannot_be_imported_leaves_no_tenant,
    a_tenant_is_restored,
    a_bundle_goes_through_a_pipe,
);

async fn a_bundle_goes_through_a_pipe<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    for [acme, globex] in owner.slugs() {
        let slug = format!("{acme}-copy");
        let export = ["export", &acme, "--output", "-"];
        let [(exported, _, report), (imported, out, err)] =
            owner.piped(&export, &import("-", &slug, &["--json"]));
        assert_eq!((exported, imported, err.as_str()), (0, 0, ""), "{report}{out}");
        assert!(report.ends_with(" bytes in standard output\n"), "{report}");
        let copied: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&copied["rows"]["projects"], &copied["tenant"]["slug"]), (&json!(4), &json!(slug)));
        assert_eq!((owner.projects(&slug).await, owner.projects(&globex).await), (4, 2));

        // Back into the tenant that it is of.
        owner.ok(&["export", &acme, "--output", &format!("{acme}.tar")]);
        let file = format!("{acme}.tar");
        let login = Login { url: world.url.clone(), roles: false, gone: None };
        let db = DB::open(&login, &world.dir.path().join("files")).await;
        let ctx = owner.context(&acme).await;
        let mut tx = db.begin(&ctx).await.unwrap();
        let _ = Project::select().delete(&mut tx).await.unwrap();
        tx.commit_unaudited("a mistake").await.unwrap();
        owner.suspend(&acme);
        let restore = ["restore", &acme, "-", "--migrations", "migrations"];
        let (code, out, err) = owner.run_with(&[&restore[..], &["--dry-run"]].concat(), &file);
        let projects = out.lines().find(|line| line.starts_with("projects ")).unwrap();
        assert_eq!(projects.split_whitespace().collect::<Vec<_>>(), ["projects", "4", "0", "0"]);
        assert_eq!((code, err.as_str()), (0, ""));
        let (code, out, err) = owner.run_with(&[&restore[..], &["--confirm", &acme]].concat(), &file);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains("standard input has the bundle, so nobody can be asked"), "{err}");
        let (code, _, err) = owner.run_with(&[&restore[..], &["--confirm", &acme, "--yes"]].concat(), &file);
        assert_eq!(code, 0, "{err}");
        owner.listed(&["resume", &acme, "--reason", "restored"]);
        assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (4, 2));
        // The bundle of another tenant, and one that is cut off.
        let other = [&["restore", &globex, "-", "--migrations", "migrations"][..], &["--dry-run"]].concat();
        let (code, _, err) = owner.run_with(&other, &file);
        assert!(code == 2 && err.contains("the bundle is of another tenant"), "{err}");
    }
    let before = owner.listed(&["list", "--json"]);
    let whole = std::fs::read(world.dir.path().join("acme-shared.tar")).unwrap();
    std::fs::write(world.dir.path().join("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    for file in ["cut.tar", "plans.toml", "/dev/null"] {
        let (code, out, err) = owner.run_with(&import("-", "copy", &[]), file);
        assert_eq!((code, out.as_str()), (2, ""), "{file}");
        assert!(err.contains("this is no complete bundle of a tenant"), "{file}: {err}");
    }
    let arguments = owner.arguments(&import("-", "copy", &[]));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, out) = in_terminal(&arguments, 100, "", world.dir.path());
    assert!(code == 2 && out.contains("a bundle is not read from a terminal"), "{out}");
    assert_eq!(owner.listed(&["list", "--json"]), before);
}

/// Whether Ctrl-C comes while rows are read or written, nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_leaves_no_bundle_and_no_tenant() {
    let world = World::<Postgres>::new(false).await;
    let owner = Owner::new(&world);
    let mut watch = PgConnection::connect(&world.control_url).await.unwrap();

    let lock = locked(&world.control_url, "ACCESS EXCLUSIVE").await;
    let mut export = owner.start(&["export", "acme-shared", "--output", "acme.tar"]);
    export.until_it_waits(&mut watch).await;
    export.interrupt();
    let (code, out, err) = export.end();
    assert_eq!((code, out.as_str()), (Some(130), ""), "{err}");
    assert!(err.contains("interrupted: there is no bundle"), "{err}");
    for file in ["acme.tar", "acme.tar.part"] {
        assert!(!world.dir.path().join(file).exists(), "{file}");
    }
    lock.close().await.unwrap();

    owner.ok(&["export", "acme-shared", "--output", "acme.tar"]);
    let lock = locked(&world.control_url, "SHARE").await;
    let mut copy = owner.start(&import("acme.tar", "copy", &[]));
    copy.until_it_waits(&mut watch).await;
    copy.interrupt();
    copy.until("tenancy: interrupted: ");
    lock.close().await.unwrap();
    let (code, out, err) = copy.end();
    assert_eq!((code, out.as_str()), (Some(130), ""), "{err}");
    assert!(err.ends_with("tenancy: nothing was imported\n"), "{err}");
    assert!(owner.tenant("copy").await.is_none());
    let copied: Value = owner.json(&import("acme.tar", "copy", &[]));
    assert_eq!(copied["rows"]["projects"], 4);
    assert_eq!((owner.projects("copy").await, owner.projects("globex-shared").await), (4, 2));
}

/// A tenant whose place could not be protected is removed again, with its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_without_its_place_leaves_no_tenant() {
    let world = World::<Postgres>::new(false).await;
    let owner = Owner::new(&world);
    let before = owner.listed(&["list", "--json"]);
    owner.ok(&["export", "acme-shared", "--output", "acme.tar"]);
    let mut arguments = owner.arguments(&import("acme.tar", "copy", &["--own-schema"]));
    *arguments.last_mut().unwrap() = "a_role_that_does_not_exist".to_owned();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, out, err) = tenancy(&arguments, world.dir.path());
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert_eq!(owner.listed(&["list", "--json"]), before);
    let copied: Value = owner.json(&import("acme.tar", "copy", &[]));
    assert_eq!(copied["rows"]["projects"], 4, "the slug is free again");
}

async fn a_tenant_is_restored<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    let migrations = ["--migrations", "migrations"];
    for [acme, globex] in owner.slugs() {
        let file = format!("{acme}.tar");
        owner.ok(&["export", &acme, "--output", &file]);
        let ctx = owner.context(&acme).await;
        let login = Login { url: world.url.clone(), roles: world.roles, gone: None };
        let db = DB::open(&login, &world.dir.path().join("files")).await;
        let mut tx = db.begin(&ctx).await.unwrap();
        let _ = Project::select().delete(&mut tx).await.unwrap();
        tx.commit_unaudited("a mistake").await.unwrap();
        assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (0, 2));

        let restore = |more: &[&str]| {
            [&["restore", &acme, &file], &migrations[..], more]
                .concat()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let run = |more: &[&str]| {
            let arguments = restore(more);
            owner.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let (code, out, err) = run(&["--dry-run"]);
        assert_eq!(code, 0, "{err}");
        let projects = out.lines().find(|line| line.starts_with("projects ")).unwrap();
        assert_eq!(projects.split_whitespace().collect::<Vec<_>>(), ["projects", "4", "0", "0"]);
        let (code, out, _) = run(&["--dry-run", "--json"]);
        assert_eq!(code, 0);
        assert!(out.lines().any(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["table"] == "projects" && line["added"] == 4
        }));
        for (more, why) in [
            (vec!["--confirm", &*globex, "--yes"], "`--confirm` is not the slug"),
            (vec!["--confirm", &*acme], "confirm it by `--yes`"),
            (vec!["--confirm", &*acme, "--yes"], "suspend it"),
        ] {
            let (code, _, err) = run(&more);
            assert_eq!(code, 2, "{why}");
            assert!(err.contains(why), "{why}: {err}");
        }
        assert_eq!(owner.projects(&acme).await, 0, "nothing was restored");
        owner.suspend(&acme);
        let (code, _, err) = run(&["--confirm", &acme, "--yes"]);
        assert_eq!(code, 0, "{err}");
        owner.listed(&["resume", &acme, "--reason", "restored"]);
        assert_eq!((owner.projects(&acme).await, owner.projects(&globex).await), (4, 2));
    }
}

/// The writer of the bundle has stopped, and its pipe is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_an_import_that_waits_for_its_input() {
    let world = World::<Postgres>::new(false).await;
    let owner = Owner::new(&world);
    owner.ok(&["export", "acme-shared", "--output", "acme.tar"]);
    let bundle = std::fs::read(world.dir.path().join("acme.tar")).unwrap();
    let mut copy = owner.start_with(&import("-", "copy", &[]), Stdio::piped());
    let mut input = copy.input();
    // The rows are complete, and the manifest is missing.
    let at = bundle.windows(13).position(|name| name == b"manifest.json").unwrap();
    input.write_all(&bundle[..at]).unwrap();
    // The session has the rows, and nothing to do: the import waits for its input.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' \
                 AND query LIKE '%tenancy_links%' AND state_change < clock_timestamp() - interval '500 ms'";
    let mut watch = PgConnection::connect(&world.control_url).await.unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut watch).await.unwrap() == 0 {
        assert!(Instant::now() < deadline, "the import does not wait for its input");
    }
    copy.interrupt();
    copy.until_it_ends();
    let (code, out, err) = copy.end();
    assert_eq!((code, out.as_str()), (Some(130), ""), "{err}");
    assert!(
        err.contains("tenancy: interrupted: ") && err.ends_with("tenancy: nothing was imported\n"),
        "{err}"
    );
    drop(input);
    assert!(owner.tenant("copy").await.is_none());
    assert_eq!((owner.projects("acme-shared").await, owner.projects("globex-shared").await), (4, 2));
}
