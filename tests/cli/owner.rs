//! Fixture: the commands that work as the owner of the tables, and one that runs while the test does something.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::migrate::Migrate;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tenancy::tenant::{Slug, Tenant, TenantStore};
use tenancy::{TenantContext, TenantScoped};
use tenancy::{context::Actor, operations::TenantData};

use crate::cli::{tenancy, write};
use crate::shop::{Login, Project, Shop, World};

/// What the commands of the owner do in the fixture.
pub(crate) struct Owner<'a, DB: Shop> {
    pub(crate) world: &'a World<DB>,
    /// How the application logs in, on PostgreSQL.
    pub(crate) role: Option<String>,
}

impl<'a, DB: Shop<Connection: Migrate> + TenantData> Owner<'a, DB> {
    pub(crate) fn new(world: &'a World<DB>) -> Self {
        write(world.dir.path(), "migrations/1_projects.sql", DB::TABLE);
        let login = world.url.parse::<PgConnectOptions>();
        let role = login.ok().filter(|_| world.url.starts_with("postgres"));
        Self { world, role: role.map(|login| login.get_username().to_owned()) }
    }

    /// The arguments of `tenancy tenants`, with the databases of the owner.
    pub(crate) fn arguments(&self, command: &[&str]) -> Vec<String> {
        let mut all = [&["tenants"], command, &["--url", &self.world.owner_url]].concat();
        if self.world.roles {
            all.extend(["--control-url", &self.world.control_url, "--role-per-tenant"]);
        }
        match &self.role {
            Some(role) => all.extend(["--runtime-role", role]),
            None => all.extend(["--files", "files"]),
        }
        all.into_iter().map(ToOwned::to_owned).collect()
    }

    pub(crate) fn run(&self, command: &[&str]) -> (i32, String, String) {
        let arguments = self.arguments(command);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (code, out, err) = tenancy(&arguments, self.world.dir.path());
        assert!(!out.contains("://") && !err.contains("://"), "a URL: {out}{err}");
        (code, out, err)
    }

    /// The output of a command that succeeds.
    pub(crate) fn ok(&self, command: &[&str]) -> String {
        let (code, out, err) = self.run(command);
        assert_eq!(code, 0, "{command:?}: {out}{err}");
        out
    }

    /// The object that a command prints with `--json`.
    pub(crate) fn json(&self, command: &[&str]) -> Value {
        let out = self.ok(&[command, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
    }

    pub(crate) fn refused(&self, command: &[&str], why: &str) {
        let (code, out, err) = self.run(command);
        assert_eq!((code, out.as_str()), (2, ""), "{command:?}: {err}");
        assert!(err.contains(why), "{command:?}: {err}");
    }

    /// A command that works on the list of tenants.
    pub(crate) fn listed(&self, command: &[&str]) -> String {
        let all = [&["tenants"], command, &["--url", &self.world.control_url]].concat();
        let (code, out, err) = tenancy(&all, self.world.dir.path());
        assert_eq!((code, err.as_str()), (0, ""), "{command:?}: {out}");
        out
    }

    pub(crate) fn suspend(&self, slug: &str) {
        self.listed(&["suspend", slug, "--reason", "leaves"]);
    }

    pub(crate) fn start(&self, command: &[&str]) -> Running {
        self.start_with(command, Stdio::null())
    }

    /// A command that reads `input`.
    pub(crate) fn start_with(&self, command: &[&str], input: Stdio) -> Running {
        Running::new(&self.arguments(command), self.world.dir.path(), input)
    }

    /// Runs a command that reads a file of the fixture.
    pub(crate) fn run_with(&self, command: &[&str], file: &str) -> (i32, String, String) {
        let file = std::fs::File::open(self.world.dir.path().join(file)).unwrap();
        let (code, out, err) = self.start_with(command, file.into()).end();
        (code.unwrap(), out, err)
    }

    /// Runs two commands with a pipe between them.
    pub(crate) fn piped(&self, from: &[&str], to: &[&str]) -> [(i32, String, String); 2] {
        let mut from = self.start(from);
        let to = self.start_with(to, from.child.stdout.take().unwrap().into());
        [from, to].map(|run| {
            let (code, out, err) = run.end();
            (code.unwrap(), out, err)
        })
    }

    pub(crate) async fn tenant(&self, slug: &str) -> Option<Tenant> {
        let found = self.world.store.by_slug(&Slug::parse(slug).unwrap()).await.unwrap();
        found.map(|tenant| Tenant::clone(&tenant))
    }

    pub(crate) async fn context(&self, slug: &str) -> TenantContext {
        let tenant = self.tenant(slug).await.expect("the tenant exists");
        self.world.directory.context(tenant.id(), Actor::user("ada")).await.unwrap()
    }

    /// How many projects an open tenant has, as a process of the application reads them that starts now.
    pub(crate) async fn projects(&self, slug: &str) -> u64 {
        let login = Login { url: self.world.url.clone(), roles: self.world.roles, gone: None };
        let db = DB::open(&login, &self.world.dir.path().join("files")).await;
        let count = Project::count(&db.scope(&self.context(slug).await)).await.unwrap();
        // A session that is left keeps its database from being dropped.
        db.close().await;
        count
    }

    /// The slugs of the fixture's tenants: two of each kind of place.
    pub(crate) fn slugs(&self) -> Vec<[String; 2]> {
        let slug = |ctx: &TenantContext| ctx.tenant().slug().to_string();
        self.world.tenants.iter().map(|[acme, globex]| [slug(acme), slug(globex)]).collect()
    }
}

/// A command that runs. It is ended at the latest when the value is dropped.
pub(crate) struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn new(arguments: &[String], dir: &Path, input: Stdio) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_tenancy"))
            .args(arguments)
            .current_dir(dir)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self { child: child.unwrap() }
    }

    /// Waits until a statement of the database waits for a lock.
    pub(crate) async fn until_it_waits(&mut self, conn: &mut PgConnection) {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *conn).await.unwrap() == 0 {
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "the command ended before it waited for a lock"
            );
        }
    }

    /// Waits until standard error has this text, and returns what it had so far.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut seen = Vec::new();
        loop {
            let mut byte = [0];
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "it ended: {}", String::from_utf8_lossy(&seen));
            seen.push(byte[0]);
            if seen.ends_with(text.as_bytes()) {
                return String::from_utf8(seen).unwrap();
            }
        }
    }

    /// Where the command reads, if the test began it with a pipe.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("the command reads from a pipe")
    }

    /// Sends Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let kill = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits until the command has ended, with a deadline. Its output must fit into a pipe.
    pub(crate) fn until_it_ends(&mut self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the command does not end");
            std::thread::yield_now();
        }
    }

    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        // The next command of a pipe has it otherwise.
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut out).unwrap();
        }
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code(), out, err)
    }
}

/// A transaction that locks the projects of the shared tables.
pub(crate) async fn locked(url: &str, mode: &str) -> PgConnection {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let lock = format!("BEGIN; LOCK TABLE projects IN {mode} MODE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut conn).await.unwrap();
    conn
}
