//! `tenancy policies` and `tenancy doctor` work in one place of a tenant, or in all of them.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool, Postgres};
use uuid::Uuid;

use crate::cli::{project, tenancy};
use crate::common::{Cleanup, TestBackend, admin_url, postgres_url};

const TABLE: &str = "orders (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id))";

/// The shared tables, two schemas and two databases of tenants, without policies.
struct Places {
    url: String,
    pool: PgPool,
    schemas: [String; 2],
    databases: [String; 2],
    /// A database of another application on the server.
    other: String,
    /// The application's role, which is dropped with the roles of the schemas.
    app: String,
    dir: tempfile::TempDir,
    _cleanup: Vec<Cleanup>,
}

impl Places {
    async fn new() -> Self {
        // An owner of its own: databases of other tests are those of another application.
        let owner = format!("tenancy_test_{}", Uuid::now_v7().simple());
        let admin = PgPool::connect(&admin_url()).await.unwrap();
        Postgres::raw(&admin, &format!("CREATE ROLE {owner} LOGIN CREATEDB PASSWORD 'owner'")).await.unwrap();
        Postgres::raw(&admin, &format!("CREATE DATABASE {owner} OWNER {owner}")).await.unwrap();
        let server: PgConnectOptions = postgres_url().parse().unwrap();
        let server = server.username(&owner).password("owner").database(&owner);
        let url = server.to_url_lossy().to_string();
        let pool = PgPool::connect(&url).await.unwrap();
        // Databases are dropped before the roles, which have privileges in them.
        let dropped = async move |drop: String| {
            let admin = PgPool::connect(&admin_url()).await?;
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&admin).await.map(|_| ())
        };
        let database =
            async move |name: String| dropped(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        let role = async move |name: String| dropped(format!("DROP ROLE IF EXISTS {name}")).await;
        let mut cleanup = vec![Cleanup::database(owner.clone(), database)];
        let name = || format!("t_{}", Uuid::now_v7().simple());
        let (schemas, databases) = ([name(), name()], [name(), name()]);
        Postgres::raw(&pool, &format!("CREATE TABLE {TABLE}")).await.unwrap();
        for schema in &schemas {
            Postgres::raw(&pool, &format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.{TABLE}"))
                .await
                .unwrap();
        }
        for name in &databases {
            Postgres::raw(&pool, &format!("CREATE DATABASE {name}")).await.unwrap();
            cleanup.push(Cleanup::database(name.clone(), database));
        }
        let other = name();
        let others = PgPool::connect(&postgres_url()).await.unwrap();
        Postgres::raw(&others, &format!("CREATE DATABASE {other}")).await.unwrap();
        cleanup.push(Cleanup::database(other.clone(), database));
        let app = format!("tenancy_test_{}", Uuid::now_v7().simple());
        for name in schemas.iter().chain([&app]) {
            cleanup.push(Cleanup::database(name.clone(), role));
        }
        cleanup.push(Cleanup::database(owner, role));
        let places = Self { url, pool, schemas, databases, other, app, dir: project(), _cleanup: cleanup };
        for database in &places.databases {
            places.run(database, &format!("CREATE TABLE {TABLE}")).await;
        }
        places
    }

    async fn run(&self, database: &str, sql: &str) {
        let options: PgConnectOptions = self.url.parse().unwrap();
        let pool = PgPool::connect_with(options.database(database)).await.unwrap();
        Postgres::raw(&pool, sql).await.unwrap();
        pool.close().await;
    }

    /// The error output is without the note about databases of other owners, which other tests have too.
    fn policies(&self, args: &[&str]) -> (i32, String, String) {
        let (code, out, err) = tenancy(&[&["policies", "--url", &self.url], args].concat(), self.dir.path());
        let (notes, others): (Vec<&str>, Vec<&str>) = err
            .lines()
            .partition(|line| line.starts_with("tenancy: left out, because another role owns them: "));
        assert_eq!(
            notes.iter().any(|note| note.contains(&self.other)),
            args.contains(&"--all-places"),
            "{err}"
        );
        (code, out, others.iter().flat_map(|line| [*line, "\n"]).collect())
    }

    fn doctor(&self, args: &[&str]) -> (i32, String, String) {
        tenancy(&[&["doctor", "--url", &self.url], args].concat(), self.dir.path())
    }

    /// The places in words, the shared tables first.
    fn words(&self) -> Vec<String> {
        let schemas = self.schemas.iter().map(|name| format!("schema {name}"));
        let databases = self.databases.iter().map(|name| format!("database {name}"));
        ["shared tables".to_owned()].into_iter().chain(schemas).chain(databases).collect()
    }
}

/// In one test, because each command goes through all places of the server.
#[tokio::test]
async fn all_places_are_checked_changed_and_examined() {
    let places = Places::new().await;
    policies_name_their_place(&places);
    a_place_with_a_role_is_compared_with_its_role(&places).await;
    findings_name_their_place(&places).await;
    a_place_that_cannot_be_reached_is_named(&places).await;
}

/// One summary; each difference names its place.
fn policies_name_their_place(places: &Places) {
    let ([acme, _], [umbrella, initech]) = (&places.schemas, &places.databases);
    let policies = |args: &[&str]| places.policies(args);

    let (code, out, err) = policies(&["--all-places", "--check"]);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    for place in places.words() {
        assert_eq!(out.lines().filter(|line| line.starts_with(&format!("{place}: "))).count(), 3, "{out}");
    }
    assert!(
        out.ends_with("15 missing, 0 without a policy, in 5 places; 5 tables in 5 places compared\n"),
        "{out}"
    );
    let (code, out, _) = policies(&["--all-places"]);
    assert_eq!(code, 0, "{out}");
    for place in places.words() {
        assert!(out.contains(&format!("-- {place}\n")), "{out}");
    }
    assert!(out.contains(&format!("-- database {initech}\n\\connect \"{initech}\"\n")), "{out}");

    // One place alone.
    let (code, out, err) = policies(&["--database", umbrella, "--apply"]);
    assert!(code == 0 && out.contains("3 done, 1 table compared"), "{out}{err}");
    assert_eq!(policies(&["--database", umbrella, "--check"]).0, 0);
    assert_eq!(policies(&["--database", initech, "--check"]).0, 1);
    assert_eq!(policies(&["--schema", acme, "--check"]).0, 1);

    let (code, out, err) = policies(&["--all-places", "--apply"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.ends_with("12 done, 0 without a policy, in 4 places; 5 tables in 5 places compared\n"),
        "{out}"
    );
    let checked =
        (0, "the policies are as planned: 5 tables in 5 places compared\n".to_owned(), String::new());
    assert_eq!(policies(&["--all-places", "--check"]), checked);
}

/// The doctor finds a fault in one schema and in one database.
async fn findings_name_their_place(places: &Places) {
    let ([acme, globex], [umbrella, initech]) = (&places.schemas, &places.databases);
    let policies = |args: &[&str]| places.policies(args);
    let doctor = |args: &[&str]| places.doctor(args);

    let (code, out, err) = doctor(&["--all-places"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("5 tenant tables in 5 places of `") && out.contains("5 of 5 proven with rows"),
        "{out}"
    );

    let off = "ALTER TABLE orders DISABLE ROW LEVEL SECURITY";
    places.run(initech, off).await;
    Postgres::raw(&places.pool, &off.replace("orders", &format!("{globex}.orders"))).await.unwrap();
    let (code, out, _) = doctor(&["--all-places"]);
    assert_eq!(code, 1, "{out}");
    for line in [
        format!("error[rls-off]: database {initech}: orders: "),
        format!("error[rls-off]: schema {globex}: "),
    ] {
        assert!(out.contains(&line), "{out}");
    }
    assert_eq!(out.matches("error[").count(), 2, "{out}");
    let (code, out, _) = doctor(&["--all-places", "--format", "json", "--accept", "owner-role"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let found: Vec<_> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["placement"]["name"].as_str())
        .collect();
    assert_eq!((code, found), (1, vec![&**initech, &**globex]), "{out}");
    let (_, out, _) = doctor(&["--all-places", "--format", "sarif"]);
    assert!(out.contains(&format!("\"placement\": \"database {initech}\"")), "{out}");
    for (args, expected) in [
        (["--database", umbrella], 0),
        (["--database", initech], 1),
        (["--schema", acme], 0),
        (["--schema", globex], 1),
    ] {
        let (code, out, err) = doctor(&args);
        assert_eq!((code, err.as_str()), (expected, ""), "{out}");
        let place = format!("{} {}", &args[0][2..], args[1]);
        assert!(out.matches('[').count() == out.matches(&format!("]: {place}: ")).count(), "{place}: {out}");
    }
    let (code, out, _) = policies(&["--all-places", "--check"]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.ends_with("2 missing, 0 without a policy, in 2 places; 5 tables in 5 places compared\n"),
        "{out}"
    );
}

/// The role of a place gets the grants in it, and the application's role those in the shared tables.
async fn a_place_with_a_role_is_compared_with_its_role(places: &Places) {
    let admin = PgPool::connect(&admin_url()).await.unwrap();
    let (app, [acme, globex]) = (&places.app, &places.schemas);
    for role in [app, acme, globex] {
        Postgres::raw(&admin, &format!("CREATE ROLE {role}")).await.unwrap();
    }
    let policies = |args: &[&str]| places.policies(&[&["--all-places", "--role", app], args].concat());
    assert_eq!(policies(&["--check"]).0, 1);
    let (code, out, err) = policies(&["--apply"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(policies(&["--check"]).0, 0);
    for (role, reached) in
        [(acme, format!("{acme}.orders")), (globex, format!("{globex}.orders")), (app, "orders".to_owned())]
    {
        for table in ["orders".to_owned(), format!("{acme}.orders"), format!("{globex}.orders")] {
            let sql = format!("SELECT has_table_privilege('{role}', '{table}', 'SELECT')::int::bigint");
            let has = Postgres::number(&places.pool, &sql).await;
            assert_eq!(has == 1, table == reached, "{role} {table}");
        }
    }
}

/// A place that cannot be reached is named, and the others are reported.
async fn a_place_that_cannot_be_reached_is_named(places: &Places) {
    let ([acme, globex], [umbrella, initech]) = (&places.schemas, &places.databases);
    let policies = |args: &[&str]| places.policies(args);
    let doctor = |args: &[&str]| places.doctor(args);

    places.run("postgres", &format!("ALTER DATABASE {umbrella} ALLOW_CONNECTIONS false")).await;
    let (code, out, _) = doctor(&["--all-places"]);
    assert_eq!(code, 1);
    for line in
        [format!("error[unexamined]: database {umbrella}: "), format!("error[rls-off]: database {initech}: ")]
    {
        assert!(out.contains(&line), "{out}");
    }
    let (code, out, err) = policies(&["--all-places", "--check"]);
    assert!(code == 2 && err.starts_with(&format!("tenancy: database {umbrella}: ")), "{err}");
    assert!(out.contains(&format!("schema {globex}: ")) && out.ends_with("1 place failed\n"), "{out}");
    let (code, out, err) = doctor(&["--database", umbrella]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with(&format!("tenancy: the database `{umbrella}` cannot be reached: ")), "{err}");
    for (args, why) in [
        (&["--database", "t_missing"][..], "tenancy: the database `t_missing` does not exist"),
        (&["--database", "T!"], "tenancy: --database: not the name of a placement"),
        (&["--all-places", "--schema", acme], "error: the argument '--all-places' cannot be used with"),
        (&["--all-places", "--database", acme], "error: the argument '--all-places' cannot be used with"),
    ] {
        let (code, out, err) = doctor(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.starts_with(why), "{err}");
    }
}
