//! `tenancy tenants delete` and `verify-receipt`: a tenant is deleted with its rows, and another one is unchanged.

use std::path::Path;
use std::process::{Command, ExitCode};

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Postgres, Sqlite};
use tenancy::cli::Program;
use tenancy::context::Actor;
use tenancy::operations::{DeletionHook, TenantData};
use tenancy::scope::Schema;
use tenancy::tenant::{NewTenant, Placement, Slug, Tenant, TenantId, TenantStatus, TenantStore};

use crate::cli::write;
use crate::on_every_database;
use crate::owner::{Owner, locked};
use crate::people::in_terminal;
use crate::shop::{Shop, World};

const SECRET: &str = "a secret of at least thirty-two bytes";

/// Runs a command with the key of receipts in its environment.
fn with_key(arguments: &[String], key: &str, dir: &Path) -> (i32, String, String) {
    with_keys(arguments, &variables("2026", key, None), dir)
}

/// Runs a command with these variables, whose values with a key are not printed.
fn with_keys(arguments: &[String], variables: &[(&str, &str)], dir: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tenancy"))
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(dir)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    for (_, value) in variables.iter().filter(|(name, _)| !name.ends_with("_ID")) {
        for key in value.lines().map(|line| line.split_once('=').map_or(line, |(_, key)| key)) {
            assert!(key.is_empty() || !(out.contains(key) || err.contains(key)), "the key: {out}{err}");
        }
    }
    (output.status.code().unwrap(), out, err)
}

/// The variables with the key that signs, and with earlier ones.
fn variables<'a>(id: &'a str, key: &'a str, previous: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let previous = previous.map(|keys| ("TENANCY_RECEIPT_PREVIOUS_KEYS", keys));
    [("TENANCY_RECEIPT_KEY_ID", id), ("TENANCY_RECEIPT_KEY", key)].into_iter().chain(previous).collect()
}

fn verify(file: &str, key: &str, more: &[&str], dir: &Path) -> (i32, String, String) {
    let arguments = [&["tenants", "verify-receipt", file], more].concat();
    let arguments: Vec<String> = arguments.into_iter().map(ToOwned::to_owned).collect();
    with_key(&arguments, key, dir)
}

async fn a_tenant_is_deleted_with_its_rows<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let (owner, dir) = (Owner::new(&world), world.dir.path());
    for [acme, globex] in owner.slugs() {
        let tenant = owner.tenant(&acme).await.unwrap();
        let is_own = *tenant.placement() != Placement::Shared;
        let dry = ["delete", &acme, "--dry-run"];

        // An open tenant.
        let (code, out, _) = owner.run(&dry);
        assert_eq!(code, 1, "{out}");
        assert!(out.ends_with("the tenant is open: suspend or deactivate it first\n"), "{out}");
        let delete = ["delete", &acme, "--confirm", &acme];
        owner.refused(
            &[&delete[..], &["--yes"]].concat(),
            "the tenant is active: suspend or deactivate it first",
        );
        owner.suspend(&acme);

        // What is wrong changes nothing.
        let plan = owner.json(&dry);
        assert_eq!((&plan["drops_place"], &plan["is_open"]), (&json!(is_own), &json!(false)), "{plan}");
        let projects = json!({ "name": "projects", "rows": 4, "hold": null });
        assert!(plan["tables"].as_array().unwrap().contains(&projects), "{plan}");
        owner.refused(&["delete", &acme], "--confirm <SLUG>");
        owner.refused(
            &["delete", &acme, "--confirm", &globex, "--yes"],
            "`--confirm` is not the slug of the tenant",
        );
        owner.refused(&["delete", &acme, "--confirm", "A_B", "--yes"], "`--confirm`: ");
        owner.refused(&["delete", "initech", "--confirm", "initech", "--yes"], "no tenant has the slug");
        let (code, out, err) = owner.run(&delete);
        assert!(code == 2 && err.contains("confirm it by `--yes`"), "{err}");
        assert!(out.contains("projects ") && out.contains(&format!("{acme}, in the ")), "{out}");
        for (hold, why) in
            [("bills=a law", "names no table"), ("projects= ", "has no reason"), ("projects", "`=`")]
        {
            let hold = format!("--hold={hold}");
            owner.refused(&[&delete[..], &["--yes", &hold]].concat(), why);
        }
        write(dir, "taken", "");
        owner.refused(&[&delete[..], &["--yes", "--receipt", "taken"]].concat(), "taken: the file exists");
        let (code, _, err) = with_key(&owner.arguments(&[&delete[..], &["--yes"]].concat()), "short", dir);
        assert!(code == 2 && err.contains("TENANCY_RECEIPT_KEY"), "{err}");
        assert_eq!(owner.json(&dry), plan);

        let file = format!("{acme}.receipt");
        let (code, out, err) =
            with_key(&owner.arguments(&[&delete[..], &["--yes", "--receipt", &file]].concat()), SECRET, dir);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        assert!(out.contains(&format!("{acme} ({}) was deleted from the ", tenant.id())), "{out}");
        assert!(owner.tenant(&acme).await.is_none());
        if *tenant.placement() == Placement::Shared {
            // Only those of the other tenant.
            let pool = sqlx::Pool::<DB>::connect(&world.control_url).await.unwrap();
            let number =
                DB::number(&pool, "SELECT count(*) FROM tenancy_tenants WHERE slug = 'acme-shared'").await;
            assert_eq!(number, 0);
        }
        assert_eq!(owner.projects(&globex).await, 2);

        let (code, out, _) = verify(&file, SECRET, &["--json"], dir);
        let receipt: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &receipt["slug"], &receipt["tables"]["projects"]), (0, &json!(acme), &json!(4)));
        assert_eq!(receipt["actor"], "system:tenancy tenants");
        let (code, out, _) = verify(&file, SECRET, &[], dir);
        assert!(code == 0 && out.contains("projects ") && out.contains("was deleted from"), "{out}");
        let (code, out, err) = verify(&file, &SECRET.to_uppercase(), &[], dir);
        assert!(code == 1 && out.is_empty() && err.contains("the signature differs"), "{err}");

        // The receipt is written again, by the id; without a key it is not signed.
        let id = tenant.id().to_string();
        let again = ["delete", &id, "--confirm", &acme, "--yes"];
        let (code, out, err) = owner.run(&[&again[..], &["--json"]].concat());
        let printed: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &printed["receipt"], &printed["signed"]), (0, &receipt, &Value::Null));
        assert!(err.contains("the receipt is not signed"), "{err}");
        let signed = std::fs::read_to_string(dir.join(&file)).unwrap();
        let (_, out, _) = with_key(&owner.arguments(&again), SECRET, dir);
        assert!(out.ends_with(&signed), "{out}");
        owner.refused(&["delete", &id, "--confirm", &globex, "--yes"], "is not the tenant's");
        let unsigned = format!("{acme}.json");
        owner.ok(&[&again[..], &["--receipt", &unsigned]].concat());
        let (code, _, err) = verify(&unsigned, SECRET, &[], dir);
        assert!(code == 1 && err.contains("the receipt is not signed"), "{err}");
    }
    let (code, _, err) = verify("none", SECRET, &[], dir);
    assert!(code == 2 && err.contains("none: "), "{err}");
    owner.refused(&["verify-receipt", "acme-shared.receipt"], "unexpected argument");
    let (code, _, err) = crate::cli::tenancy(&["tenants", "verify-receipt", "acme-shared.receipt"], dir);
    assert!(code == 2 && err.contains("set TENANCY_RECEIPT_KEY_ID and TENANCY_RECEIPT_KEY"), "{err}");
}

async fn rows_on_hold_are_kept_and_named<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    owner.suspend("acme-shared");
    let held = ["delete", "acme-shared", "--hold", "projects=a law of 10 years"];
    let plan = owner.ok(&[&held[..], &["--dry-run"]].concat());
    assert!(plan.contains("kept: a law of 10 years\n"), "{plan}");
    let receipt = owner.ok(&[&held[..], &["--confirm", "acme-shared", "--yes", "--receipt", "r"]].concat());
    assert!(
        receipt
            .lines()
            .any(|line| line.starts_with("projects ") && line.ends_with("kept  a law of 10 years")),
        "{receipt}"
    );
    let json: Value = serde_json::from_slice(&std::fs::read(world.dir.path().join("r")).unwrap()).unwrap();
    assert_eq!(
        (&json["holds"]["projects"], &json["tables"]["projects"]),
        (&json!("a law of 10 years"), &Value::Null)
    );
    assert_eq!(owner.projects("globex-shared").await, 2);
}

/// The key is changed between the deletions of two tenants.
async fn receipts_of_a_previous_key_are_verified<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let (owner, dir) = (Owner::new(&world), world.dir.path());
    let new = SECRET.to_uppercase();
    let previous = format!("2024={}\n\n2025={SECRET}\n", SECRET.replace("thirty-two", "forty"));
    let rotated = variables("2026", &new, Some(&previous));
    let delete = |slug, variables: &[(&str, &str)]| {
        owner.suspend(slug);
        let delete = ["delete", slug, "--confirm", slug, "--yes", "--receipt", slug];
        with_keys(&owner.arguments(&delete), variables, dir)
    };
    let (code, out, err) = delete("acme-shared", &variables("2025", SECRET, None));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(owner.projects("globex-shared").await, 2);
    let (code, out, err) = delete("globex-shared", &rotated);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");

    let verify = |file: &str, variables: &[(&str, &str)]| {
        let arguments = ["tenants", "verify-receipt", file, "--json"].map(ToOwned::to_owned);
        with_keys(&arguments, variables, dir)
    };
    for (file, projects) in [("acme-shared", 4), ("globex-shared", 2)] {
        let (code, out, err) = verify(file, &rotated);
        let receipt: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
        assert_eq!(
            (code, &receipt["slug"], &receipt["tables"]["projects"]),
            (0, &json!(file), &json!(projects))
        );
    }
    // The current key signed the second receipt alone.
    assert_eq!(verify("globex-shared", &variables("2026", &new, None)).0, 0);
    let (code, out, err) = verify("acme-shared", &variables("2026", &new, None));
    assert!((code, out.as_str()) == (1, "") && err.contains("no key has its id"), "{err}");
    let other = format!("2025={new}");
    let (code, out, err) = verify("acme-shared", &variables("2026", &new, Some(&other)));
    assert!((code, out.as_str()) == (1, "") && err.contains("the signature differs"), "{err}");

    // What cannot be read is an error, which has no key.
    let same = format!("2026={SECRET}");
    for (keys, why) in [
        (SECRET, "line 1: write `ID=KEY`"),
        (&same, "line 1: two signing keys have the same id"),
        ("\n2025=short", "line 2: a signing key has at least 32 bytes"),
    ] {
        let (code, out, err) = verify("acme-shared", &variables("2026", &new, Some(keys)));
        assert_eq!((code, out.as_str()), (2, ""), "{why}");
        assert!(err.contains(&format!("TENANCY_RECEIPT_PREVIOUS_KEYS, {why}")), "{err}");
    }
    let (code, _, err) = verify("acme-shared", &[("TENANCY_RECEIPT_PREVIOUS_KEYS", previous.as_str())]);
    assert!(code == 2 && err.contains("set TENANCY_RECEIPT_KEY_ID and TENANCY_RECEIPT_KEY"), "{err}");
}

async fn a_person_answers_at_the_terminal<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    owner.suspend("acme-shared");
    let delete = owner.arguments(&["delete", "acme-shared", "--confirm", "acme-shared"]);
    let delete: Vec<&str> = delete.iter().map(String::as_str).collect();
    for (answer, wanted, code) in
        [("n\n", "not confirmed, so nothing was changed", 2), ("yes\n", "was deleted from", 0)]
    {
        assert!(owner.tenant("acme-shared").await.is_some());
        let (found, out) = in_terminal(&delete, 100, answer, world.dir.path());
        assert!(found == code && out.contains(wanted), "{answer:?}: {out}");
        assert!(out.contains("Delete acme-shared with all of its data? [y/N]"), "{out}");
    }
    assert!(owner.tenant("acme-shared").await.is_none());
    assert_eq!(owner.projects("globex-shared").await, 2);
}

on_every_database!(
    a_tenant_is_deleted_with_its_rows,
    rows_on_hold_are_kept_and_named,
    a_person_answers_at_the_terminal,
    receipts_of_a_previous_key_are_verified,
    the_hooks_of_a_program_run,
);

/// Claims that seven documents were deleted.
struct Search;

#[async_trait]
impl<DB: TenantData> DeletionHook<DB> for Search {
    fn name(&self) -> &'static str {
        "search"
    }

    async fn delete(&self, tenant: &Tenant, _: &mut DB::Connection) -> tenancy::Result<u64> {
        assert_eq!(tenant.slug().as_str(), "acme-shared");
        Ok(7)
    }
}

async fn the_hooks_of_a_program_run<DB: Shop + TenantData>() {
    let world = World::<DB>::new(false).await;
    let owner = Owner::new(&world);
    owner.suspend("acme-shared");
    let receipt = world.dir.path().join("receipt").display().to_string();
    let files = world.dir.path().join("files").display().to_string();
    let confirmed = ["--confirm", "acme-shared", "--yes", "--receipt", &receipt];
    let mut delete = [&["shop", "tenants", "delete", "acme-shared"], &confirmed[..]].concat();
    delete.extend(["--url", &world.control_url]);
    if world.url.starts_with("sqlite:") {
        delete.extend(["--files", &files]);
    }
    let schema = Schema::from_toml("shared = [\"countries\"]").unwrap();
    let program = Program::new().schema(schema).postgres_deletion_hook(Search).sqlite_deletion_hook(Search);
    assert!(format!("{program:?}").contains("search"));
    assert_eq!(program.run_from(delete), ExitCode::SUCCESS);
    let receipt: Value = serde_json::from_slice(&std::fs::read(receipt).unwrap()).unwrap();
    assert_eq!(receipt["hooks"], json!({ "search": 7 }));
    assert_eq!(owner.projects("globex-shared").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_ctrl_c_interrupted_goes_on() {
    let world = World::<Postgres>::new(false).await;
    let owner = Owner::new(&world);
    owner.suspend("acme-shared");
    let delete = ["delete", "acme-shared", "--confirm", "acme-shared", "--yes", "--receipt", "r"];
    let mut watch = PgConnection::connect(&world.control_url).await.unwrap();
    // The plan is read, and no row can be deleted.
    let lock = locked(&world.control_url, "SHARE").await;
    let mut run = owner.start(&delete);
    run.until_it_waits(&mut watch).await;
    run.interrupt();
    let (code, _, err) = run.end();
    assert_eq!(code, Some(130), "{err}");
    assert!(err.contains("run the same command again, and it goes on"), "{err}");
    assert!(!world.dir.path().join("r").exists() && !world.dir.path().join("r.part").exists());
    let acme = owner.tenant("acme-shared").await.unwrap();
    assert_eq!(world.store.by_id(acme.id()).await.unwrap().unwrap().status(), TenantStatus::Deleting);
    lock.close().await.unwrap();
    owner.ok(&delete);
    assert!(owner.tenant("acme-shared").await.is_none());
    assert_eq!(owner.projects("globex-shared").await, 2);
}

/// Only a tenant that certainly does not exist is taken for deleted already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_cannot_be_found_is_not_deleted() {
    let world = World::<Sqlite>::new(false).await;
    let owner = Owner::new(&world);
    for (id, slug) in [("beta", "alpha"), ("gamma", "beta")] {
        let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free");
        let new = new.id(TenantId::parse(id).unwrap()).status(TenantStatus::Active);
        world.store.create(new, &Actor::user("ada")).await.unwrap();
    }
    owner.suspend("alpha");
    owner.suspend("gamma");
    // The id of one tenant is the slug of another.
    let why = "`SLUG_OR_ID` is the id of one tenant and the slug of another";
    for confirm in ["alpha", "beta"] {
        for more in [&[][..], &["--yes"], &["--dry-run"]] {
            owner.refused(&[&["delete", "beta", "--confirm", confirm], more].concat(), why);
        }
    }
    assert!(owner.tenant("alpha").await.is_some() && owner.tenant("beta").await.is_some());

    // The store fails.
    let pool = sqlx::SqlitePool::connect(&world.control_url).await.unwrap();
    let delete = ["delete", "gamma", "--confirm", "beta", "--yes"];
    sqlx::raw_sql("ALTER TABLE tenancy_tenants RENAME TO hidden").execute(&pool).await.unwrap();
    owner.refused(&delete, "the list of tenants cannot be read");
    sqlx::raw_sql("ALTER TABLE hidden RENAME TO tenancy_tenants").execute(&pool).await.unwrap();
    assert!(owner.tenant("alpha").await.is_some() && owner.tenant("beta").await.is_some());

    // A name that is not ambiguous is deleted, and the other tenant is left alone.
    owner.ok(&delete);
    assert!(owner.tenant("alpha").await.is_some() && owner.tenant("beta").await.is_none());
    owner.ok(&["delete", "gamma", "--confirm", "beta"]);
}
