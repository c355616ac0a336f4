//! `tenancy policies` and `tenancy doctor` work in one place of a tenant, or in all of them.

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, PgPool, Postgres};
use uuid::Uuid;

use crate::cli::{project, tenancy};
use crate::common::{Cleanup, TestBackend, postgres_url};

const TABLE: &str = "orders (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id))";

/// The shared tables, two schemas and two databases of tenants, without policies.
struct Places {
    url: String,
    pool: PgPool,
    schemas: [String; 2],
    databases: [String; 2],
    _cleanup: Vec<Cleanup>,
}

impl Places {
    async fn new() -> Self {
        let (url, cleanup) = Postgres::fresh_url().await;
        let mut cleanup = vec![cleanup];
        let pool = PgPool::connect(&url).await.unwrap();
        let name = || format!("t_{}", Uuid::now_v7().simple());
        let (schemas, databases) = ([name(), name()], [name(), name()]);
        Postgres::raw(&pool, &format!("CREATE TABLE {TABLE}")).await.unwrap();
        for schema in &schemas {
            Postgres::raw(&pool, &format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.{TABLE}"))
                .await
                .unwrap();
        }
        for database in &databases {
            Postgres::raw(&pool, &format!("CREATE DATABASE {database}")).await.unwrap();
            cleanup.push(Cleanup::database(database.clone(), async move |name| {
                let server = PgPool::connect(&postgres_url()).await?;
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                sqlx::raw_sql(AssertSqlSafe(drop)).execute(&server).await.map(|_| ())
            }));
        }
        let places = Self { url, pool, schemas, databases, _cleanup: cleanup };
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

    /// The places in words, the shared tables first.
    fn words(&self) -> Vec<String> {
        let schemas = self.schemas.iter().map(|name| format!("schema {name}"));
        let databases = self.databases.iter().map(|name| format!("database {name}"));
        ["shared tables".to_owned()].into_iter().chain(schemas).chain(databases).collect()
    }
}

#[tokio::test]
async fn all_places_are_checked_changed_and_examined() {
    let places = Places::new().await;
    let ([acme, globex], [umbrella, initech]) = (&places.schemas, &places.databases);
    let dir = project();
    let policies = |args: &[&str]| tenancy(&[&["policies", "--url", &places.url], args].concat(), dir.path());
    let doctor = |args: &[&str]| tenancy(&[&["doctor", "--url", &places.url], args].concat(), dir.path());

    // One summary; each difference names its place.
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
    let (code, out, err) = doctor(&["--all-places"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("5 tenant tables in 5 places of `") && out.contains("5 of 5 proven with rows"),
        "{out}"
    );

    // A fault in one schema and in one database.
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
        assert!(out.matches("[").count() == out.matches(&format!("]: {place}: ")).count(), "{place}: {out}");
    }
    let (code, out, _) = policies(&["--all-places", "--check"]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.ends_with("2 missing, 0 without a policy, in 2 places; 5 tables in 5 places compared\n"),
        "{out}"
    );

    // A place that cannot be reached is named, and the others are reported.
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
    assert!(out.contains(&format!("schema {globex}: ")) && out.ends_with("1 places failed\n"), "{out}");
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
