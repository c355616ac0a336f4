//! `tenancy migrate` runs the migrations of a directory in every place, and lists the places that differ.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Pool, Postgres, Sqlite};
use tenancy::placement::{PostgresPlaces, Provision, Provisioner, SqliteFiles, SqlitePlaces};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Placement, Slug, Tenant, TenantId};
use url::Url;
use uuid::Uuid;

use crate::cli::{database, tenancy, write};
use crate::common::{Cleanup, TestBackend, admin_url};
use crate::on_every_database;

/// A database in which the command migrates the places of tenants.
trait TestPlaces: TestBackend + Provision {
    /// The migrations 1 and 2: a new table, and another one.
    const PROJECTS: &'static str;
    const EXTRA: &'static str;
    /// New tenants in places of every kind.
    fn tenants() -> Vec<NewTenant>;
    fn places(shared: &Pool<Self>, files: &Path) -> Self::Places;
    /// A pool that reaches a place without the library.
    fn place_pool(shared: &Pool<Self>, files: &Path, placement: &Placement) -> Pool<Self>;
    /// Removes a database that was provisioned.
    fn cleanup(placement: &Placement) -> Option<Cleanup>;
    /// The URL as a person writes it, and the secret that it contains.
    fn with_secret(url: &str) -> (String, String);
}

/// A tenant that is not inserted yet. The id is new: the names of databases and roles are unique on a server.
fn new_tenant(slug: &str, id: TenantId) -> NewTenant {
    NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").id(id)
}

/// New tenants, whose ids are of every kind.
fn new_tenants() -> [NewTenant; 3] {
    let number = Uuid::now_v7().as_u64_pair().1 >> 2;
    [
        new_tenant("acme", TenantId::random()),
        new_tenant("globex", TenantId::parse(&number.to_string()).unwrap()),
        new_tenant("initech", TenantId::parse(&format!("initech-{}", Uuid::now_v7().simple())).unwrap()),
    ]
}

impl TestPlaces for Sqlite {
    const PROJECTS: &'static str = "CREATE TABLE projects (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, \
        PRIMARY KEY (tenant_id, id)) STRICT";
    const EXTRA: &'static str = "CREATE TABLE extra (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, \
        PRIMARY KEY (tenant_id, id)) STRICT";

    fn tenants() -> Vec<NewTenant> {
        new_tenants().map(NewTenant::own_database).into()
    }

    fn places(shared: &Pool<Self>, files: &Path) -> SqlitePlaces {
        let options = (*shared.connect_options()).clone();
        SqlitePlaces::new(SqliteFiles::new(files).unwrap()).shared_tables(options)
    }

    fn place_pool(shared: &Pool<Self>, files: &Path, placement: &Placement) -> Pool<Self> {
        let Placement::Database { name } = placement else { return shared.clone() };
        Pool::connect_lazy_with(SqliteFiles::new(files).unwrap().connect_options(name))
    }

    fn cleanup(_: &Placement) -> Option<Cleanup> {
        None
    }

    fn with_secret(url: &str) -> (String, String) {
        (url.to_owned(), "no secret".to_owned())
    }
}

impl TestPlaces for Postgres {
    const PROJECTS: &'static str =
        "CREATE TABLE projects (tenant_id uuid NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id))";
    const EXTRA: &'static str =
        "CREATE TABLE extra (tenant_id uuid NOT NULL, id bigint NOT NULL, PRIMARY KEY (tenant_id, id))";

    fn tenants() -> Vec<NewTenant> {
        let [acme, globex, initech] = new_tenants();
        vec![acme.own_schema(), globex.own_schema(), initech.own_database()]
    }

    fn places(shared: &Pool<Self>, _: &Path) -> PostgresPlaces {
        PostgresPlaces::new((*shared.connect_options()).clone())
    }

    fn place_pool(shared: &Pool<Self>, _: &Path, placement: &Placement) -> Pool<Self> {
        let options = (*shared.connect_options()).clone();
        Pool::connect_lazy_with(match placement {
            Placement::Schema { name } => options.options([("search_path", name.as_str())]),
            Placement::Database { name } => options.database(name.as_str()),
            _ => options,
        })
    }

    fn cleanup(placement: &Placement) -> Option<Cleanup> {
        let Placement::Database { name } = placement else { return None };
        Some(Cleanup::database(name.to_string(), async move |name| {
            as_admin(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await
        }))
    }

    fn with_secret(url: &str) -> (String, String) {
        let mut url = Url::parse(url).unwrap();
        if url.password().is_none() {
            // A server that trusts its clients ignores a password.
            url.set_password(Some("hunter2")).unwrap();
        }
        (url.to_string(), url.password().unwrap().to_owned())
    }
}

async fn as_admin(sql: &str) -> sqlx::Result<()> {
    let admin = sqlx::PgPool::connect(&admin_url()).await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&admin).await.map(|_| ())
}

/// An application with tenants at migration 1, whose directory of migrations has a second one.
struct App<DB: TestPlaces> {
    /// The database of the shared tables, and another one with the list of tenants.
    shared: Pool<DB>,
    url: String,
    control_url: String,
    secrets: [String; 2],
    tenants: Vec<Arc<Tenant>>,
    dir: tempfile::TempDir,
    cleanup: Vec<Cleanup>,
}

impl<DB: TestPlaces> App<DB> {
    async fn new() -> Self {
        let (shared, url, gone) = database::<DB>().await;
        let (control, control_url, control_gone) = database::<DB>().await;
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "tenancy.toml", "");
        write(dir.path(), "migrations/1_projects.sql", DB::PROJECTS);
        std::fs::create_dir(dir.path().join("files")).unwrap();
        let store = SqlStore::new(control);
        store.migrate().await.unwrap();
        let files = dir.path().join("files");
        let migrator = Migrator::new(dir.path().join("migrations")).await.unwrap();
        let provisioner = Provisioner::new(store, DB::places(&shared, &files), migrator);
        let (mut tenants, mut cleanup) = (Vec::new(), vec![gone, control_gone]);
        for tenant in DB::tenants() {
            let tenant = provisioner.create(tenant).await.unwrap();
            cleanup.extend(DB::cleanup(tenant.placement()));
            tenants.push(tenant);
        }
        provisioner.create(new_tenant("commons", TenantId::random())).await.unwrap();
        let ((url, secret), (control_url, control_secret)) =
            (DB::with_secret(&url), DB::with_secret(&control_url));
        let app = Self { shared, url, control_url, secrets: [secret, control_secret], tenants, dir, cleanup };
        let (code, out, err) = app.run(&[]);
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.starts_with("4 places: 1 migrated, 3 up to date, 0 failed\n"), "{out}");
        write(app.dir.path(), "migrations/2_extra.sql", DB::EXTRA);
        app
    }

    fn arguments<'a>(&'a self, command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["migrate", command, "--migrations", "migrations"];
        all.extend(["--url", &self.url, "--control-url", &self.control_url]);
        if self.url.starts_with("sqlite:") {
            all.extend(["--files", "files"]);
        }
        all.extend(more);
        all
    }

    fn command(&self, command: &str, more: &[&str]) -> (i32, String, String) {
        let (code, out, err) = tenancy(&self.arguments(command, more), self.dir.path());
        for secret in &self.secrets {
            assert!(!out.contains(secret) && !err.contains(secret), "{out}{err}");
        }
        (code, out, err)
    }

    fn run(&self, more: &[&str]) -> (i32, String, String) {
        self.command("run", more)
    }

    fn status(&self, more: &[&str]) -> (i32, String, String) {
        self.command("status", more)
    }

    async fn raw(&self, tenant: usize, sql: &str) {
        let placement = self.tenants[tenant].placement();
        let pool = DB::place_pool(&self.shared, &self.dir.path().join("files"), placement);
        DB::raw(&pool, sql).await.unwrap();
        pool.close().await;
    }
}

/// The lines of the places by slug, and the summary.
fn lines(out: &str) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut last = lines.pop().unwrap();
    lines.sort_by_key(|line| line["slug"].as_str().map(str::to_owned));
    (lines, last["summary"].take())
}

async fn a_place_that_fails_is_listed_and_the_others_are_migrated<DB: TestPlaces>() {
    let app = App::<DB>::new().await;
    let (code, out, err) = app.status(&[]);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    for place in ["shared tables", "acme", "globex", "initech"] {
        assert!(out.contains(&format!("{place}: missing [2]\n")), "{out}");
    }
    assert!(out.ends_with("\n4 places compared: 0 up to date, 4 different\n"), "{out}");

    // One tenant has the table already.
    app.raw(1, "CREATE TABLE extra (id bigint)").await;
    let (code, out, err) = app.run(&["--parallel", "3"]);
    assert_eq!(code, 1, "{out}{err}");
    let (failed, summary) = out.split_once('\n').unwrap();
    assert!(
        failed.starts_with("globex: the migration 2 failed (") && failed.contains("already exists"),
        "{out}"
    );
    assert_eq!(summary, "4 places: 3 migrated, 0 up to date, 1 failed\n");
    assert!(
        err.ends_with("tenancy: fix the cause of each failure and run the same command again\n"),
        "{err}"
    );

    let (code, out, _) = app.status(&["--json"]);
    let (differ, summary) = lines(&out);
    let globex = &app.tenants[1];
    let wanted = json!({
        "place": globex.placement(), "tenant": globex.id(), "slug": "globex",
        "missing": [2], "unknown": [], "altered": [], "error": null,
    });
    assert_eq!((code, &differ[..], summary), (1, &[wanted][..], json!({ "up_to_date": 3, "different": 1 })));

    let (code, out, _) = app.run(&["--json"]);
    let (places, summary) = lines(&out);
    assert_eq!((code, places.len()), (1, 4), "{out}");
    assert_eq!(places[0]["place"], json!({ "kind": "shared" }));
    assert_eq!(places[0]["tenant"], Value::Null);
    let (acme, globex) = (&places[1], &places[2]);
    assert_eq!(
        (&acme["tenant"], &acme["applied"], &acme["error"]),
        (&json!(app.tenants[0].id()), &json!([]), &Value::Null)
    );
    assert_eq!((&globex["applied"], &globex["error"]["kind"]), (&json!([]), &json!("database")));
    assert!(globex["error"]["text"].as_str().unwrap().contains("already exists"), "{out}");
    assert_eq!(summary, json!({ "migrated": 0, "up_to_date": 3, "failed": 1, "interrupted": false }));

    // The run that is repeated goes on with the place that failed.
    app.raw(1, "DROP TABLE extra").await;
    let (code, out, err) = app.run(&["--json"]);
    assert_eq!(code, 0, "{out}{err}");
    for place in lines(&out).0 {
        let applied = if place["slug"] == "globex" { json!([2]) } else { json!([]) };
        assert_eq!((&place["applied"], &place["error"]), (&applied, &Value::Null));
    }
    let done = (0, "4 places compared: 4 up to date, 0 different\n".to_owned(), String::new());
    assert_eq!(app.status(&[]), done);

    // A directory that is not the one that was applied.
    write(app.dir.path(), "migrations/2_extra.sql", "SELECT 1");
    std::fs::remove_file(app.dir.path().join("migrations/1_projects.sql")).unwrap();
    let (code, out, _) = app.status(&["--without-shared-tables"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("acme: unknown [1], altered [2]\n") && !out.contains("shared tables"), "{out}");
    let (code, out, _) = app.run(&[]);
    assert!(code == 1 && out.contains("4 failed\n") && out.contains("does not have it"), "{out}");
}

async fn a_canary_that_fails_stops_the_run<DB: TestPlaces>() {
    let app = App::<DB>::new().await;
    app.raw(1, "CREATE TABLE extra (id bigint)").await;
    let ids: Vec<String> = app.tenants.iter().map(|tenant| tenant.id().to_string()).collect();
    for canary in ["globex", &ids[1]] {
        let (code, out, err) = app.run(&["--canary", canary]);
        assert_eq!(code, 1, "{out}{err}");
        assert!(
            out.starts_with("globex: ") && out.ends_with("\n1 place: 0 migrated, 0 up to date, 1 failed\n")
        );
        assert!(err.contains("the canary failed, so nothing else was migrated"), "{err}");
    }
    let (_, out, _) = app.status(&[]);
    assert!(out.ends_with("4 places compared: 0 up to date, 4 different\n"), "{out}");

    let (code, out, _) = app.run(&["--canary", &ids[0], "--json"]);
    assert!(code == 1 && out.starts_with("{\"place\":") && out.lines().count() == 5, "{out}");
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((&first["slug"], &first["applied"]), (&json!("acme"), &json!([2])));

    for (canary, wanted) in [
        ("nobody", "no tenant has the slug or the id of `--canary`"),
        ("commons", "the canary has no place of its own"),
    ] {
        let (code, _, err) = app.run(&["--canary", canary]);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(wanted), "{err}");
    }
}

async fn a_run_that_cannot_be_done_is_an_error_without_the_url<DB: TestPlaces>() {
    let app = App::<DB>::new().await;
    let (_, empty_url, _gone) = database::<DB>().await;
    let (empty_url, _) = DB::with_secret(&empty_url);
    let migrate = |command: &str, more: &[&str]| {
        // The last of several options counts, except that the parser rejects a repeated one.
        let mut all = app.arguments(command, &[]);
        for pair in more.chunks(2) {
            match all.iter().position(|one| one == &pair[0]) {
                Some(at) => all.splice(at..at + 2, pair.iter().copied()).for_each(drop),
                None => all.extend(pair),
            }
        }
        tenancy(&all, app.dir.path())
    };
    write(app.dir.path(), "none/readme.txt", "");
    let is_sqlite = app.url.starts_with("sqlite:");
    let unreachable = if is_sqlite { "sqlite:none.db" } else { "postgres://app:hunter2@127.0.0.1:1/x" };
    for (more, wanted) in [
        (&["--migrations", "nowhere"][..], "nowhere: "),
        (&["--migrations", "none"], "none: it has no migration"),
        (&["--control-url", &empty_url], "the list of tenants cannot be read: "),
        (&["--control-url", unreachable], "check `--control-url`"),
        (&["--url", "mysql://root:hunter2@localhost/x"], "neither with `postgres://` nor with `sqlite:`"),
        (&["--url", "user=root password=hunter2"], "neither with `postgres://` nor with `sqlite:`"),
        (&["--url", "postgres://app:hunter2@127.0.0.1:1/x", "--control-url", "postgres://127.0.0.1:1/x"], ""),
        (&["--url", "postgres://app:hunter2@127.0.0.1:x/x", "--control-url", "postgres://127.0.0.1:1/x"], ""),
        (&["postgres://app:hunter2@localhost/x"], "an argument follows no option"),
        (
            &["--url", "sqlite:none.db", "--control-url", "postgres://app:hunter2@localhost/x"],
            "different kinds",
        ),
        (&["--url", "sqlite:none.db", "--control-url", "sqlite:none.db"], ""),
    ] {
        for command in ["run", "status"] {
            let (code, out, err) = migrate(command, more);
            assert_eq!((code, out.as_str()), (2, ""), "{more:?}: {err}");
            assert!(err.starts_with("tenancy: ") && err.contains(wanted), "{more:?}: {err}");
            assert!(!err.contains("hunter2") && !err.contains(&app.secrets[0]), "{err}");
        }
    }
    let tables = app.status(&[]).1;
    assert!(
        tables.ends_with("4 places compared: 0 up to date, 4 different\n"),
        "nothing was begun: {tables}"
    );
}

on_every_database!(
    a_place_that_fails_is_listed_and_the_others_are_migrated,
    a_canary_that_fails_stops_the_run,
    a_run_that_cannot_be_done_is_an_error_without_the_url,
);

/// A new role of the server.
async fn new_role(role: String, options: &str) -> (String, Cleanup) {
    as_admin(&format!("CREATE ROLE \"{role}\" {options}")).await.unwrap();
    let cleanup =
        Cleanup::database(role.clone(), async |role| as_admin(&format!("DROP ROLE \"{role}\"")).await);
    (role, cleanup)
}

fn fresh_role() -> String {
    format!("tenancy_test_{}", Uuid::now_v7().simple())
}

/// Whether a role may read a table of a tenant, which has policies.
async fn may_read(app: &App<Postgres>, tenant: usize, role: &str, table: &str) -> bool {
    let pool = Postgres::place_pool(&app.shared, app.dir.path(), app.tenants[tenant].placement());
    let sql = "SELECT has_table_privilege($1, oid, 'SELECT'), relforcerowsecurity FROM pg_class WHERE oid = $2::regclass";
    let (may, forced): (bool, bool) =
        sqlx::query_as(sql).bind(role).bind(table).fetch_one(&pool).await.unwrap();
    pool.close().await;
    assert!(forced, "a new table has its policies");
    may
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_tables_get_their_policies_and_the_rights_of_the_role() {
    // The role is dropped after the databases in which it has privileges.
    let (role, _role) = new_role(fresh_role(), "NOLOGIN").await;
    let app = App::<Postgres>::new().await;
    let (code, out, err) = app.run(&["--runtime-role", &role]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for tenant in 0..3 {
        assert!(may_read(&app, tenant, &role, "extra").await);
    }
    write(app.dir.path(), "migrations/3_more.sql", &Postgres::EXTRA.replace("extra", "more"));
    let (code, _, err) = app.run(&[]);
    assert!(
        code == 0 && err.contains("without `--runtime-role` the application was granted no rights"),
        "{err}"
    );
    assert!(!may_read(&app, 0, &role, "more").await);
    let (code, _, err) = app.run(&["--role-per-tenant"]);
    assert!(code == 2 && err.contains("--runtime-role <ROLE>"), "{err}");

    std::fs::remove_file(app.dir.path().join("tenancy.toml")).unwrap();
    let (code, _, err) = app.run(&["--runtime-role", &role]);
    assert!(code == 2 && err.contains("tenancy.toml: ") && err.contains("`--config` names"), "{err}");
    assert_eq!(app.status(&[]).0, 0, "it needs no declaration");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_of_a_place_gets_the_rights() {
    let (login, _login) = new_role(fresh_role(), "NOLOGIN NOINHERIT").await;
    let mut app = App::<Postgres>::new().await;
    let mut roles = Vec::new();
    for tenant in &app.tenants {
        let (Placement::Schema { name } | Placement::Database { name }) = tenant.placement() else {
            panic!("each has a place of its own")
        };
        let (role, gone) = new_role(name.to_string(), "NOLOGIN").await;
        roles.push(role);
        app.cleanup.push(gone);
    }
    let (code, out, err) = app.run(&["--runtime-role", &login, "--role-per-tenant"]);
    assert_eq!(code, 0, "{out}{err}");
    for (tenant, role) in roles.iter().enumerate() {
        assert!(may_read(&app, tenant, role, "extra").await);
        assert!(!may_read(&app, tenant, &login, "extra").await);
    }
}

/// A run whose first place waits for a lock.
struct Blocked {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    lock: sqlx::PgConnection,
}

impl Blocked {
    async fn new(app: &App<Postgres>) -> Self {
        use sqlx::Connection;

        write(app.dir.path(), "migrations/2_extra.sql", "SELECT pg_advisory_xact_lock(7)");
        let mut lock = sqlx::PgConnection::connect(&app.url).await.unwrap();
        sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut lock).await.unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenancy"))
            .args(app.arguments("run", &["--without-shared-tables", "--canary", "acme", "--json"]))
            .current_dir(app.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut lock).await.unwrap() == 0 {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it waited for the lock");
        }
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, lock }
    }

    /// Sends Ctrl-C, and returns the line that the program writes.
    fn interrupt(&mut self) -> String {
        let kill = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        self.lines.next().expect("a line").unwrap()
    }

    fn end(self) -> (Option<i32>, String, String) {
        let rest: Vec<String> = self.lines.map(Result::unwrap).collect();
        let output = self.child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), rest.join("\n"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_finishes_the_place_in_work_and_begins_no_other() {
    let app = App::<Postgres>::new().await;
    let mut run = Blocked::new(&app).await;
    let line = run.interrupt();
    assert!(line.starts_with("tenancy: interrupted: "), "{line}");
    sqlx::query("SELECT pg_advisory_unlock(7)").execute(&mut run.lock).await.unwrap();
    let (code, out, err) = run.end();
    assert_eq!(code, Some(130), "{out}{err}");
    assert!(
        err.contains("no other place was begun; run the same command again, and it goes on there"),
        "{err}"
    );
    let (places, summary) = lines(&out);
    assert_eq!((places.len(), &places[0]["slug"], &places[0]["applied"]), (1, &json!("acme"), &json!([2])));
    assert_eq!(summary["interrupted"], true);

    let (code, out, err) = app.run(&[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("4 places: 3 migrated, 1 up to date, 0 failed\n"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_ctrl_c_ends_the_program_at_once() {
    let app = App::<Postgres>::new().await;
    let mut run = Blocked::new(&app).await;
    assert!(run.interrupt().starts_with("tenancy: interrupted: "));
    let line = run.interrupt();
    assert!(line.contains("stopped at once; run the same command again"), "{line}");
    let (code, out, _) = run.end();
    assert_eq!((code, out.as_str()), (Some(130), ""));
}
