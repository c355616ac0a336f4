//! `tenancy recount` compares a gauge with the rows of each tenant in every placement, and sets it where asked.

use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Postgres};
use tenancy::context::Actor;
use tenancy::scope::StoredEvent;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, PlacementName, Region, Slug, TenantStatus, TenantStore};
use tenancy::{TenantContext, TenantScoped};

use crate::cli::tenancy;
use crate::common::{TestBackend, admin_url};
use crate::on_every_database;
use crate::shop::{PROJECTS, Project, Shop, World, project};

impl<DB: Shop> World<DB> {
    fn run(&self, more: &[&str]) -> (i32, String, String) {
        self.run_at(&self.control_url, more)
    }

    /// With the list of tenants in another database.
    fn recount_at(&self, control_url: &str) -> (i32, String, String) {
        self.run_at(control_url, &["--feature", "projects", "--table", "projects"])
    }

    fn run_at(&self, control_url: &str, more: &[&str]) -> (i32, String, String) {
        self.command_at(control_url, &[&["recount", "--catalog", "plans.toml"], more].concat())
    }

    /// For the gauge `projects` over all rows of the table.
    fn recount(&self, more: &[&str]) -> (i32, String, String) {
        self.run(&[&["--feature", "projects", "--table", "projects"], more].concat())
    }

    /// The recounts in the audit log of a tenant, newest first: actor, reason, old and new number.
    async fn recounts(&self, ctx: &TenantContext) -> Vec<(Value, Value, Value, Value)> {
        let events = StoredEvent::newest(&self.db.scope(ctx), None, 9).await.unwrap();
        let parsed = events.iter().map(|event| serde_json::from_str::<Value>(event.json()).unwrap());
        parsed
            .map(|mut event| {
                assert_eq!(event["action"], "tenancy.gauge_recount");
                let mut details = event["details"].take();
                (
                    event["actor"]["id"].take(),
                    details["reason"].take(),
                    details["old"].take(),
                    details["new"].take(),
                )
            })
            .collect()
    }
}

fn row(tenant: &str, stored: &str, counted: &str, drift: &str, remarks: &str) -> String {
    let line = format!("{tenant:<24} {stored:>9} {counted:>9} {drift:>9} {:>9}  {remarks}", "5");
    line.trim_end().to_owned() + "\n"
}

const HEAD: &str = "tenant                      stored   counted     drift     limit\n";

/// The lines of the tenants by slug, and the summary.
fn lines(out: &str) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut last = lines.pop().unwrap();
    (lines, last["summary"].take())
}

async fn a_report_shows_the_drift_of_every_placement_and_changes_nothing<DB: Shop>() {
    let world = World::<DB>::new(false).await;
    let (code, out, err) = world.recount(&[]);
    let mut wanted = format!("projects: all rows of projects\n{HEAD}");
    for (kind, _) in DB::KINDS {
        wanted += &row(&format!("acme-{kind}"), "0", "4", "-4", "");
        wanted += &row(&format!("globex-{kind}"), "0", "2", "-2", "");
    }
    let count = 2 * DB::KINDS.len();
    let last = format!("{count} tenants: 0 exact, {count} with drift, 0 failed\n");
    assert_eq!((code, out, err), (1, wanted + &last, String::new()));
    for ctx in world.all() {
        assert_eq!((world.used(ctx).await, world.recounts(ctx).await), (0, Vec::new()));
    }

    // One tenant, by its slug and by its id; with a condition.
    let acme = &world.tenants[1][0];
    let slug = acme.tenant().slug().as_str();
    for name in [slug, &acme.tenant_id().to_string()] {
        let (code, out, _) = world.recount(&["--tenant", name, "--where", "archived = 0"]);
        let wanted = format!(
            "projects: the rows of projects where archived = 0\n{HEAD}{}1 tenant: 0 exact, 1 with drift, 0 failed\n",
            row(slug, "0", "3", "-3", "")
        );
        assert_eq!((code, out), (1, wanted));
    }
    let (code, out, _) = world.recount(&["--tenant", slug, "--json"]);
    let wanted = json!({
        "place": acme.tenant().placement(), "tenant": acme.tenant_id(), "slug": slug, "gauge": "projects",
        "stored": 0, "counted": 4, "drift": -4, "missing_ids": 0, "extra_ids": 0, "limit": 5, "recounted": false,
        "error": null,
    });
    let summary = json!({ "exact": 0, "drift": 1, "recounted": 0, "failed": 0 });
    assert_eq!((code, lines(&out)), (1, (vec![wanted], summary)));
}

async fn a_recount_sets_the_gauges_and_is_in_the_audit_log<DB: Shop>() {
    let world = World::<DB>::new(false).await;
    // One tenant first: no other changes.
    let slug = world.tenants[0][0].tenant().slug().to_string();
    let apply = ["--apply", "--reason", "the gauge is new"];
    let (code, out, err) = world.recount(&[&apply[..], &["--tenant", &slug]].concat());
    assert!(code == 0 && out.contains(&row(&slug, "0", "4", "-4", "set to 4")), "{out}{err}");
    for ctx in world.all() {
        let expected = if ctx.tenant().slug().as_str() == slug { 4 } else { 0 };
        assert_eq!(world.used(ctx).await, expected, "{}", ctx.tenant().slug());
    }
    let (code, out, err) = world.recount(&apply);
    let count = 2 * DB::KINDS.len();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.ends_with(&format!("{count} tenants: 1 exact, {} recounted, 0 failed\n", count - 1)),
        "{out}"
    );
    for ctx in world.all() {
        let rows = if ctx.tenant().slug().as_str().starts_with("acme") { 4 } else { 2 };
        assert_eq!(world.used(ctx).await, rows);
        let event =
            (json!("tenancy recount"), json!("the gauge is new"), json!("0"), json!(rows.to_string()));
        assert_eq!(world.recounts(ctx).await, [event]);
        // An old row can be deleted now, and the plan's limit holds.
        let mut tx = world.db.begin(ctx).await.unwrap();
        let deleted = Project::delete(&mut tx, 1).await.unwrap();
        assert_eq!(PROJECTS.release(&mut tx, deleted).await.unwrap().used, rows - 1);
        assert!(PROJECTS.acquire(&mut tx, 6 - (rows - 1)).await.is_err(), "the limit is 5");
        tx.rollback().await.unwrap();
    }
    let (code, out, _) = world.recount(&["--quiet"]);
    let exact =
        format!("projects: all rows of projects\n{count} tenants: {count} exact, 0 with drift, 0 failed\n");
    assert_eq!((code, out), (0, exact));

    // A row that was deleted past the gauge: a lower count is reported first, and recorded.
    let globex = &world.tenants[1][1];
    let _ = Project::delete(&world.db.scope(globex), 2).await.unwrap();
    let slug = globex.tenant().slug().as_str();
    let (code, out, _) = world.recount(&["--quiet"]);
    assert!(code == 1 && out.contains(&format!("{HEAD}{}", row(slug, "2", "1", "+1", ""))), "{out}");
    assert_eq!((world.used(globex).await, world.recounts(globex).await.len()), (2, 1));
    let (code, _, _) = world.recount(&["--apply", "--reason", "a row was deleted by hand"]);
    assert_eq!((code, world.used(globex).await, world.recounts(globex).await.len()), (0, 1, 2));
    let acme = &world.tenants[1][0];
    assert_eq!((world.used(acme).await, world.recounts(acme).await.len()), (4, 1));
}

async fn a_recount_by_id_compares_and_replaces_the_ids<DB: Shop>() {
    let world = World::<DB>::new(false).await;
    for (column, id, other) in [("id", "1".to_owned(), "2".to_owned()), ("code", code(1), code(2))] {
        let by_id = ["--id-column", column];
        let (code, out, err) = world.recount(&[&by_id[..], &["--apply", "--reason", "by id now"]].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        assert!(out.starts_with(&format!("projects: all rows of projects, by id from {column}\n")), "{out}");
        assert_eq!(world.recount(&by_id).0, 0);
        for ctx in world.all() {
            let rows = if ctx.tenant().slug().as_str().starts_with("acme") { 4 } else { 2 };
            assert_eq!(world.used(ctx).await, rows);
            assert!(PROJECTS.holds(&world.db.scope(ctx), &id).await.unwrap());
        }
        // The same number, and other ids.
        let acme = &world.tenants[1][0];
        let mut tx = world.db.begin(acme).await.unwrap();
        assert!(PROJECTS.release_for(&mut tx, &id).await.unwrap());
        PROJECTS.acquire_for(&mut tx, "gone").await.unwrap();
        tx.commit().await.unwrap();
        let slug = acme.tenant().slug().as_str();
        let (code, out, _) = world.recount(&[&by_id[..], &["--quiet"]].concat());
        let remarks = "ids that are not counted: 1, counted ids without a row: 1";
        assert!(code == 1 && out.contains(&row(slug, "4", "4", "0", remarks)), "{out}");
        assert_eq!(world.recount(&[&by_id[..], &["--apply", "--reason", "ids differ"]].concat()).0, 0);
        let scope = world.db.scope(acme);
        assert!(!PROJECTS.holds(&scope, "gone").await.unwrap());
        assert!(PROJECTS.holds(&scope, &id).await.unwrap() && PROJECTS.holds(&scope, &other).await.unwrap());
    }
    // A gauge that counts by id is not set by number. Every other tenant is reported.
    let globex = &world.tenants[0][1];
    Project::insert(&world.db.scope(globex), &project(9)).await.unwrap();
    let (code, out, _) = world.recount(&["--apply", "--reason", "by number"]);
    let failed = format!("{}: `projects` counts by id; ", globex.tenant().slug());
    assert!(code == 2 && out.contains(&failed) && out.ends_with("0 recounted, 1 failed\n"), "{out}");
    assert_eq!(world.used(globex).await, 2);
}

fn code(id: i64) -> String {
    project(id).code.to_string()
}

/// Tenants that are closed for requests are counted. Those of other regions, and those without a place, are not.
async fn tenants_of_every_status_are_counted<DB: Shop>() {
    let world = World::<DB>::new(false).await;
    let [acme, globex] = &world.tenants[1];
    for (ctx, status) in [(acme, TenantStatus::Suspended), (globex, TenantStatus::Deactivated)] {
        world.store.update(&ctx.tenant().with_status(status).unwrap()).await.unwrap();
        assert!(world.directory.context(ctx.tenant_id(), Actor::user("ada")).await.is_err());
    }
    let new = NewTenant::new(Slug::parse("initech").unwrap(), "Initech", "free");
    world.store.insert(new.own_database().status(TenantStatus::Provisioning)).await.unwrap();
    let elsewhere = world.tenants[0][0].tenant();
    world.store.update(&elsewhere.with_region(Some(Region::parse("eu").unwrap()))).await.unwrap();
    // A plan that the catalog does not have, and numbers above the limit of one that it has.
    let globex_shared = world.tenants[0][1].tenant();
    world.store.update(&globex_shared.with_plan("lost")).await.unwrap();
    let more: Vec<_> = (10..=15).map(project).collect();
    Project::insert_many(&world.db.scope(acme), &more).await.unwrap();

    let (code, out, err) = world.recount(&["--apply", "--reason", "the gauge is new"]);
    let count = 2 * DB::KINDS.len();
    assert!(
        out.contains(&row(acme.tenant().slug().as_str(), "0", "10", "-10", "over the limit by 5, set to 10")),
        "{out}"
    );
    assert!(out.contains(&row(globex.tenant().slug().as_str(), "0", "2", "-2", "set to 2")), "{out}");
    assert!(out.contains(&format!("{}: ", globex_shared.slug())) && out.contains("lost"), "{out}");
    assert!(
        out.ends_with(&format!("{} tenants: 0 exact, {} recounted, 1 failed\n", count - 1, count - 2)),
        "{out}"
    );
    assert_eq!(code, 2);
    for left in ["provisioning is not finished: 1", "another region than `--region`: 1"] {
        assert!(err.contains(left), "{err}");
    }
    assert_eq!((world.used(acme).await, world.used(globex).await), (10, 2));
    let slug = elsewhere.slug().as_str();
    for (name, wanted) in
        [(slug, "of another region"), ("initech", "provisioning of this tenant is not finished")]
    {
        let (code, out, err) = world.recount(&["--tenant", name]);
        assert!(code == 2 && err.contains(wanted) && !out.contains(name), "{out}{err}");
    }
    let (code, out, err) = world.recount(&["--region", "eu", "--tenant", slug]);
    assert!(code == 1 && out.contains(&row(slug, "0", "4", "-4", "")), "{out}{err}");
}

async fn a_run_that_cannot_be_done_is_an_error<DB: Shop>() {
    let world = World::<DB>::new(false).await;
    let run = |more: &[&str]| world.run(more);
    let table = ["--table", "projects"];
    for (more, wanted) in [
        (&["--feature", "seats", "--table", "projects"][..], "plans.toml: "),
        (&["--feature", "export", "--table", "projects"], "plans.toml: "),
        (&["--feature", "projects", "--table", "countries"], "has no tenant column in tenancy.toml"),
        (
            &["--feature", "projects", "--table", "projects, tenancy_gauges"],
            "`--table` is the name of one table",
        ),
        (
            &["--feature", "projects", "--table", "projects", "--id-column", "a.b"],
            "`--id-column` is the name",
        ),
        (&["--feature", "projects", "--table", "projects", "--where", " "], "`--where` is empty"),
        (
            &["--feature", "projects", "--table", "projects", "--tenant", "nobody"],
            "no tenant has the slug or the id of `--tenant`",
        ),
        (&["--feature", "projects", "--table", "projects", "--region", "E U"], "`--region`: "),
        (&["--feature", "projects", "--table", "projects", "--apply"], "--reason <TEXT>"),
        (&["--feature", "projects", "--table", "projects", "--reason", "x"], "--apply"),
        (&["--feature", "projects"], "--table <TABLE>"),
    ] {
        let (code, out, err) = run(more);
        assert_eq!(code, 2, "{more:?}: {out}{err}");
        assert!(err.contains(wanted), "{more:?}: {err}");
        assert!(!out.contains("acme") && !out.contains("globex"), "{out}");
    }
    // Rejected SQL, a table that is not there, a reason that is blank, and rows without an id: each tenant is listed.
    let count = 2 * DB::KINDS.len();
    for more in [
        &["--where", "spy(id)"][..],
        &["--where", "id IN (SELECT id FROM tenancy_gauges)"],
        &["--where", "archived = 0; DELETE FROM projects"],
        &["--apply", "--reason", " "],
    ] {
        let all = [&["--feature", "projects"][..], &table, more].concat();
        let (code, out, err) = run(&all);
        assert!(code == 2 && out.ends_with(&format!("{count} failed\n")), "{more:?}: {out}{err}");
    }
    let (code, out, _) = run(&["--feature", "projects", "--table", "missing"]);
    assert!(code == 2 && out.ends_with(&format!("{count} failed\n")), "{out}");
    // A list without tenants is that of another database.
    let (empty, _gone) = DB::fresh(1).await;
    SqlStore::new(empty.clone()).migrate().await.unwrap();
    let control = DB::url_of(&empty);
    let (code, out, err) = world.recount_at(&control);
    assert!(code == 2 && err.contains("no tenant was compared"), "{out}{err}");
    // Whatever the condition is, the rows are those of the tenant.
    let (code, out, _) = world.recount(&["--where", "false) OR (true"]);
    for (kind, _) in DB::KINDS {
        assert!(out.contains(&row(&format!("acme-{kind}"), "0", "4", "-4", "")), "{out}");
        assert!(out.contains(&row(&format!("globex-{kind}"), "0", "2", "-2", "")), "{out}");
    }
    assert_eq!(code, 1);
    std::fs::remove_file(world.dir.path().join("tenancy.toml")).unwrap();
    let (code, _, err) = world.recount(&[]);
    assert!(code == 2 && err.contains("`--config` names"), "{err}");
    for ctx in world.all() {
        let rows = if ctx.tenant().slug().as_str().starts_with("acme") { 4 } else { 2 };
        assert_eq!(Project::count(&world.db.scope(ctx)).await.unwrap(), rows);
        assert_eq!((world.used(ctx).await, world.recounts(ctx).await), (0, Vec::new()));
    }
}

on_every_database!(
    a_report_shows_the_drift_of_every_placement_and_changes_nothing,
    a_recount_sets_the_gauges_and_is_in_the_audit_log,
    a_recount_by_id_compares_and_replaces_the_ids,
    tenants_of_every_status_are_counted,
    a_run_that_cannot_be_done_is_an_error,
);

/// Where each place has a role, the application's own role reads no place of a tenant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_place_is_counted_as_its_role() {
    let mut world = World::<Postgres>::new(true).await;
    let (code, out, err) = world.recount(&["--apply", "--reason", "the gauge is new"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("6 tenants: 0 exact, 6 recounted, 0 failed\n"), "{out}");
    for [acme, globex] in &world.tenants {
        assert_eq!((world.used(acme).await, world.used(globex).await), (4, 2));
    }
    assert_eq!(world.recount(&[]).0, 0);
    world.roles = false;
    let (code, out, _) = world.recount(&[]);
    assert!(code == 2 && out.ends_with("6 tenants: 2 exact, 0 with drift, 4 failed\n"), "{out}");
}

/// A role past row-level security is not the application's, and is rejected before anything is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superuser_is_rejected() {
    let world = World::<Postgres>::new(false).await;
    let admin: PgConnectOptions = admin_url().parse().unwrap();
    let options: PgConnectOptions = world.control_url.parse().unwrap();
    let url = admin.database(options.get_database().unwrap()).to_url_lossy().to_string();
    let all =
        ["recount", "--feature", "projects", "--table", "projects", "--catalog", "plans.toml", "--url", &url];
    let (code, out, err) = tenancy(&all, world.dir.path());
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("exempt-role") && err.contains("`--url` logs in as the application does"), "{err}");
}

/// What the application declares about its database is declared here too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_policies_needs_the_declaration() {
    let world = World::<Postgres>::new(false).await;
    let owner = sqlx::PgPool::connect(&world.control_url).await.unwrap();
    Postgres::raw(&owner, "ALTER TABLE projects DISABLE ROW LEVEL SECURITY").await.unwrap();
    let (code, out, err) = world.recount(&[]);
    assert!(code == 2 && out.is_empty() && err.contains("rls-off"), "{out}{err}");
    let accepted = ["--accept", "rls-off", "--accept", "probe-read", "--accept", "probe-write"];
    let (code, out, err) = world.recount(&accepted);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    for [acme, globex] in &world.tenants {
        assert!(out.contains(&row(acme.tenant().slug().as_str(), "0", "4", "-4", "")), "{out}");
        assert!(out.contains(&row(globex.tenant().slug().as_str(), "0", "2", "-2", "")), "{out}");
    }
    for schema in world.tenants[1].iter().map(|ctx| PlacementName::of(ctx.tenant_id())) {
        let off = format!("ALTER TABLE \"{schema}\".projects DISABLE ROW LEVEL SECURITY");
        Postgres::raw(&owner, &off).await.unwrap();
    }
    for (more, expected) in [(&[][..], 1), (&["--apply", "--reason", "the gauge is new"], 0), (&[], 0)] {
        let (code, out, err) = world.recount(&[&["--predicate-only"], more].concat());
        assert_eq!((code, err.as_str()), (expected, ""), "{out}");
    }
    for [acme, globex] in &world.tenants {
        assert_eq!((world.used(acme).await, world.used(globex).await), (4, 2));
    }
    let (code, _, err) = world.recount(&["--accept", "nothing"]);
    assert!(code == 2 && err.contains("nothing"), "{err}");
}
