//! The commands of `tenancy` report on a code base and a database, with the right exit codes.

use std::path::Path;
use std::process::{Command, Output};

use sqlx::{Connection, Pool, Postgres, Sqlite};

use crate::common::{Cleanup, TestBackend};
use crate::doctor_cases;

pub(crate) fn tenancy(args: &[&str], dir: &Path) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_tenancy")).args(args).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A new database, with its URL.
pub(crate) async fn database<DB: TestBackend>() -> (Pool<DB>, String, Cleanup) {
    let (url, cleanup) = DB::fresh_url().await;
    let created = if url.starts_with("sqlite:") { format!("{url}?mode=rwc") } else { url.clone() };
    (Pool::connect(&created).await.unwrap(), url, cleanup)
}

pub(crate) fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

const HANDLERS: &str = r#"
async fn handlers(pool: &sqlx::PgPool) {
    sqlx::query("SELECT id FROM orders WHERE status = $1").bind("open").fetch_all(pool).await;
    sqlx::query_as!(Country, "SELECT name FROM countries");
    sqlx::query_scalar::<_, i64>("SELECT 1");
    assert!(sqlx::query!(
        "DELETE FROM orders
         WHERE id = spy(id)"
    ).execute(pool).await.is_ok());
    sqlx::query(&format!("SELECT {column} FROM orders"));
    sqlx::query_file!("queries/report.sql", 1);
}
"#;

pub(crate) fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "Cargo.toml", "[package]\nname = \"shop\"\n");
    write(dir.path(), "tenancy.toml", "dialects = [\"postgres\"]\nshared = [\"countries\"]\n");
    write(dir.path(), "src/handlers.rs", HANDLERS);
    write(dir.path(), "queries/report.sql", "UPDATE orders SET total = 0 WHERE id = $1;\n");
    // Build output and hidden files are not read.
    write(dir.path(), "target/debug/out.rs", "fn f() { sqlx::query(\"SELECT spy(1)\"); }");
    write(dir.path(), ".git/hook.rs", "fn f() { sqlx::query(\"SELECT spy(1)\"); }");
    dir
}

#[test]
fn each_query_of_a_tree_is_shown_with_its_verdict() {
    let dir = project();
    let (code, out, err) = tenancy(&["sql", "check", "."], dir.path());
    let wanted = r"./src/handlers.rs:3:11: scoped
    SELECT id FROM orders WHERE orders.tenant_id = $2 AND (status = $1)
./src/handlers.rs:4:11: shared tables only
    SELECT name FROM countries
./src/handlers.rs:5:11: no table
    SELECT 1
./src/handlers.rs:6:19: rejected
    T007: the function `spy` could read any table
      |
    2 |          WHERE id = spy(id)
      |                     ^^^
    help: if it reads none, add it to `functions` in tenancy.toml, from which the `Schema` of the `TenantDb` is made
./src/handlers.rs:10:11: not read
    built at run time (not a literal); an executor of `&scope` or `&mut tx` proves it then
./src/handlers.rs:11:11: scoped
    UPDATE orders SET total = 0 WHERE orders.tenant_id = $2 AND (id = $1)
6 queries: 2 scoped, 2 without tenant tables, 1 rejected, 1 not read
";
    assert_eq!((code, out.as_str(), err.as_str()), (1, wanted, ""));

    // A module named like build output is read.
    write(dir.path(), "src/target/mod.rs", "fn f() { sqlx::query(\"SELECT spy(1)\"); }");
    let (code, out, _) = tenancy(&["sql", "check", "--quiet", "src"], dir.path());
    assert!(out.contains("src/target/mod.rs:1:"), "{out}");
    assert_eq!(code, 1);
    assert!(!out.contains(": scoped") && out.contains("T007") && out.contains("not read"), "{out}");
}

/// The file of an `include_str!` is beside the source, and a table that the database does not have is named.
#[test]
fn files_of_sql_are_read_and_unknown_tables_are_named() {
    let dir = project();
    let source = r#"
        fn f(pool: &PgPool, old: bool) {
            let sql = include_str!("sql/list.sql");
            sqlx::query(sql);
            sqlx::query(if old { "SELECT id FROM ordrs" } else { "SELECT name FROM countries" });
        }
    "#;
    write(dir.path(), "src/handlers.rs", source);
    write(dir.path(), "src/sql/list.sql", "SELECT id FROM orders");
    let toml = "dialects = [\"postgres\"]\nshared = [\"countries\"]\n";
    write(dir.path(), "tenancy.toml", toml);
    let (code, out, _) = tenancy(&["sql", "check", "src"], dir.path());
    assert!(code == 0 && out.contains("3 queries: 2 scoped, 1 without tenant tables, 0 rejected"), "{out}");
    assert!(!out.contains("snapshot"), "{out}");

    write(dir.path(), "tenancy.toml", &format!("{toml}snapshot = \"shot.toml\"\n"));
    write(dir.path(), "shot.toml", "tenants = [\"orders\"]");
    let (code, out, _) = tenancy(&["sql", "check", "--quiet", "src"], dir.path());
    let wanted = r"src/handlers.rs:5:19: scoped
    SELECT id FROM ordrs WHERE ordrs.tenant_id = $1
    not in the snapshot: `ordrs`
3 queries: 2 scoped, 1 without tenant tables, 0 rejected, 0 not read
1 accepted queries use tables that are not in the snapshot: correct the names, or write the snapshot again with `tenancy sql snapshot`
";
    assert_eq!((code, out.as_str()), (0, wanted));

    std::fs::remove_file(dir.path().join("src/sql/list.sql")).unwrap();
    let (code, out, _) = tenancy(&["sql", "check", "src"], dir.path());
    assert!(code == 2 && out.contains("src/handlers.rs:4:19: sql/list.sql: "), "{out}");
}

/// Everything that is wrong with a statement is shown at once, for each database that it must run on.
#[test]
fn a_rejected_query_is_shown_with_all_its_problems() {
    let dir = project();
    let query = |sql: &str| format!("fn f() {{ sqlx::query(\"{sql}\"); }}");
    write(dir.path(), "src/handlers.rs", &query("SELECT spy(a), xmin FROM pg_class WHERE f(b)"));
    let args = ["sql", "check", "-q", "--dialect", "postgres", "--dialect", "sqlite", "src"];
    let (code, out, _) = tenancy(&args, dir.path());
    assert_eq!(code, 1);
    let titles: Vec<&str> =
        out.lines().filter(|line| line.contains(": rejected") || line.contains("    T0")).collect();
    assert_eq!(
        titles,
        [
            "src/handlers.rs:1:16: rejected on Postgres",
            "    T007: the functions `spy` and `f` could read any table",
            "    T019: `xmin` is not a column of the tenant's rows",
            "    T009: the database's catalogue contains data of other tenants",
            "src/handlers.rs:1:16: rejected on Sqlite",
            "    T007: the functions `spy` and `f` could read any table",
        ],
        "{out}"
    );
    assert!(out.contains("1 queries: 0 scoped, 0 without tenant tables, 1 rejected"), "{out}");
    write(dir.path(), "src/handlers.rs", &query("SELECT spy(a) FROM orders"));
    let (_, out, _) = tenancy(&args, dir.path());
    assert_eq!(out.matches("rejected on Postgres and Sqlite").count(), 1, "{out}");
}

#[test]
fn a_struct_over_a_table_of_the_library_is_rejected() {
    let dir = project();
    let row = |table: &str| {
        format!("#[derive(TenantScoped)]\n#[tenant(table = \"{table}\")]\nstruct Row {{ id: i64 }}")
    };
    for (table, code) in [
        ("tenancy_gauges", 1),
        ("shop.TENANCY_audit_events", 1),
        ("__tnt_orders", 1),
        ("orders", 0),
        ("tenancy.orders", 0),
    ] {
        write(dir.path(), "src/handlers.rs", &row(table));
        let (got, out, _) = tenancy(&["sql", "check", "src"], dir.path());
        assert_eq!(
            (got, out.contains("src/handlers.rs:2:2: rejected\n    T015: ")),
            (code, code == 1),
            "{table}: {out}"
        );
    }
}

#[test]
fn a_clean_tree_succeeds_and_the_configuration_decides() {
    let dir = project();
    write(dir.path(), "other.toml", "dialects = [\"postgres\"]\nfunctions = [\"spy\"]\n");
    let (code, out, _) = tenancy(&["sql", "check", "--config", "other.toml", "src"], dir.path());
    assert_eq!(code, 0, "{out}");
    // With that file, `countries` is a tenant table.
    assert!(out.contains("countries.tenant_id = $1"), "{out}");

    let (code, out, _) = tenancy(&["sql", "check", "--dialect", "mysql", "src"], dir.path());
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("orders.tenant_id = ?"), "{out}");
}

#[test]
fn a_file_of_sql_is_read_statement_by_statement() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "all.sql",
        "-- first; not the end\nSELECT id\nFROM orders;\n\nTRUNCATE orders;\nSELECT ';' FROM orders",
    );
    let (code, out, _) = tenancy(&["sql", "check", "all.sql"], dir.path());
    assert_eq!(code, 1);
    for part in
        ["all.sql:2: scoped", "all.sql:5: rejected\n    T005", "all.sql:6: scoped", "3 queries: 2 scoped"]
    {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    assert!(out.contains("no tenancy.toml was found"), "{out}");
}

#[test]
fn what_cannot_be_read_is_said_and_is_no_success() {
    let dir = project();
    write(dir.path(), "src/torn.rs", "fn f( {");
    write(dir.path(), "src/gone.rs", "fn f() { sqlx::query_file!(\"queries/none.sql\"); }");
    let (code, out, _) = tenancy(&["sql", "check", "src"], dir.path());
    assert_eq!(code, 2, "{out}");
    assert!(
        out.contains("torn.rs:1:") && out.contains("queries/none.sql") && out.contains("2 files"),
        "{out}"
    );

    let (code, _, err) = tenancy(&["sql", "check", "nowhere"], dir.path());
    assert_eq!(code, 2);
    assert!(err.starts_with("tenancy: nowhere: "), "{err}");
    write(dir.path(), "bad.toml", "shred = []");
    let (code, out, _) = tenancy(&["sql", "check", "--config", "bad.toml", "src/handlers.rs"], dir.path());
    assert_eq!(code, 2);
    assert!(out.contains("unknown field `shred`"), "{out}");
}

const POSTGRES: &str = "
    CREATE SCHEMA archive;
    CREATE TABLE orders (tenant_id uuid NOT NULL, id uuid NOT NULL, placed date NOT NULL, PRIMARY KEY (tenant_id, id, placed))
        PARTITION BY RANGE (placed);
    CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (id);
    CREATE TABLE orders_2026_rest PARTITION OF orders_2026 DEFAULT;
    CREATE TYPE archive.address AS (street text, city text);
    CREATE TABLE archive.orders (tenant_id uuid NOT NULL, id uuid NOT NULL PRIMARY KEY, email varchar(20), home archive.address);
    CREATE UNIQUE INDEX ON archive.orders (lower(email), id) INCLUDE (tenant_id) WHERE home IS NULL;
    CREATE UNIQUE INDEX ON archive.orders (tenant_id, email);
    CREATE TABLE countries (code text PRIMARY KEY);
    CREATE TABLE secrets (token text);
    CREATE TABLE \"odd name\" (id int);
    CREATE TABLE tenancy_things (id int);
    CREATE VIEW recent AS SELECT * FROM orders_2026 WHERE placed > '2026-06-01';
    CREATE VIEW most_recent AS SELECT * FROM recent, countries;
    CREATE MATERIALIZED VIEW codes AS SELECT code FROM countries";

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one snapshot, and all that is read by it")]
async fn a_postgres_snapshot_is_written_and_used_for_queries() {
    let (url, _cleanup) = Postgres::fresh_url().await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    Postgres::raw(&pool, POSTGRES).await.unwrap();
    let dir = project();
    write(
        dir.path(),
        "tenancy.toml",
        "dialects = [\"postgres\"]\nshared = [\"countries\"]\nsnapshot = \"db.toml\"\n",
    );
    let (code, out, err) = tenancy(&["sql", "snapshot", "--url", &url], dir.path());
    assert_eq!((code, out.as_str(), err.as_str()), (0, "wrote db.toml: 9 tables, 3 views\n", ""));
    let wanted = r#"type = "uuid"
tenants = [
    "archive.orders",
    "most_recent",
    "orders",
    "orders_2026",
    "orders_2026_rest",
    "recent",
]
others = [
    "codes",
    "countries",
    "secrets",
]

[views]
"codes" = ["countries"]
"most_recent" = ["countries", "orders"]
"recent" = ["orders"]

[partitions]
"orders_2026" = "orders"
"orders_2026_rest" = "orders"

[table_columns]
"archive.orders" = ["email", "home", "id", "tenant_id"]
"codes" = ["code"]
"public.codes" = ["code"]
"countries" = ["code"]
"public.countries" = ["code"]
"most_recent" = ["code", "id", "placed", "tenant_id"]
"public.most_recent" = ["code", "id", "placed", "tenant_id"]
"orders" = ["id", "placed", "tenant_id"]
"public.orders" = ["id", "placed", "tenant_id"]
"orders_2026" = ["id", "placed", "tenant_id"]
"public.orders_2026" = ["id", "placed", "tenant_id"]
"orders_2026_rest" = ["id", "placed", "tenant_id"]
"public.orders_2026_rest" = ["id", "placed", "tenant_id"]
"recent" = ["id", "placed", "tenant_id"]
"public.recent" = ["id", "placed", "tenant_id"]
"secrets" = ["token"]
"public.secrets" = ["token"]

[primary_keys]
"orders" = ["tenant_id", "id", "placed"]
"public.orders" = ["tenant_id", "id", "placed"]
"orders_2026" = ["tenant_id", "id", "placed"]
"public.orders_2026" = ["tenant_id", "id", "placed"]
"orders_2026_rest" = ["tenant_id", "id", "placed"]
"public.orders_2026_rest" = ["tenant_id", "id", "placed"]
"archive.orders" = ["id"]

[global_keys]
"archive.orders" = ["id", "lower(email::text), id"]

[composite_types]
"archive.address" = ["city", "street"]
"#;
    let written = std::fs::read_to_string(dir.path().join("db.toml")).unwrap();
    assert_eq!(written.split_once("\ntype").map(|(_, rest)| format!("type{rest}")).as_deref(), Some(wanted));

    let sql =
        "SELECT id FROM most_recent; SELECT code FROM codes; SELECT token FROM secrets; DELETE FROM recent;
        SELECT (o.home).city, o.history FROM archive.orders o; SELECT (o.home).planet FROM archive.orders o;
        INSERT INTO archive.orders (id, email) VALUES ($1, $2) ON CONFLICT (id, lower(email)) WHERE home IS NULL DO NOTHING;
        INSERT INTO archive.orders (id, email) VALUES ($1, $2) ON CONFLICT (email) DO NOTHING;";
    write(dir.path(), "all.sql", sql);
    let (code, out, _) = tenancy(&["sql", "check", "all.sql"], dir.path());
    assert_eq!(code, 1);
    for part in [
        "SELECT id FROM most_recent WHERE most_recent.tenant_id = $1::UUID",
        "shared tables only\n    SELECT code FROM codes",
        "T022: `secrets` has no column `tenant_id`",
        "T010: `recent` is declared as read only",
        "T007: no column `history` is known here",
        "T007: no field `planet` is known",
        "ON CONFLICT(id, lower(email)) WHERE home IS NULL DO NOTHING",
        "ON CONFLICT(tenant_id, email) DO NOTHING",
    ] {
        assert!(out.contains(part), "{part}:\n{out}");
    }

    let check = ["sql", "snapshot", "--check", "--url", &url];
    assert_eq!(tenancy(&check, dir.path()), (0, "db.toml matches the database\n".to_owned(), String::new()));
    Postgres::raw(&pool, "DROP VIEW most_recent; CREATE TABLE items (tenant_id uuid)").await.unwrap();
    let (code, out, _) = tenancy(&check, dir.path());
    assert_eq!(code, 1);
    assert!(out.contains("-    \"most_recent\",\n") && out.contains("+    \"items\",\n"), "{out}");

    // A view is shared only if everything that it reads is known to be shared.
    let hidden =
        "CREATE FUNCTION every_id() RETURNS SETOF uuid LANGUAGE sql STABLE AS 'SELECT id FROM orders';
        CREATE TABLE \"Odd name\" (tenant_id uuid, note text); CREATE TABLE \"2026_codes\" (code text);
        CREATE VIEW by_function AS SELECT code, every_id() AS id FROM countries;
        CREATE VIEW by_odd_name AS SELECT c.code, o.note FROM countries c, \"Odd name\" o;
        CREATE VIEW by_own_table AS SELECT c.code, t.id FROM countries c, tenancy_things t;
        CREATE VIEW by_another AS SELECT code, id FROM by_function";
    Postgres::raw(&pool, hidden).await.unwrap();
    assert_eq!(tenancy(&["sql", "snapshot", "--url", &url], dir.path()).0, 0);
    for view in ["by_function", "by_odd_name", "by_own_table", "by_another"] {
        write(dir.path(), "all.sql", &format!("SELECT code FROM {view}"));
        let (_, out, _) = tenancy(&["sql", "check", "all.sql"], dir.path());
        assert!(out.contains(&format!("T022: `{view}` has no column `tenant_id`")), "{out}");
    }
    let written = std::fs::read_to_string(dir.path().join("db.toml")).unwrap();

    // A table is not shared under another name either.
    let other =
        "dialects = [\"postgres\"]\nshared = [\"countries\", \"public.items\"]\nsnapshot = \"db.toml\"\n";
    write(dir.path(), "other.toml", other);
    let (code, _, err) = tenancy(&["sql", "snapshot", "--config", "other.toml", "--url", &url], dir.path());
    assert_eq!(code, 2);
    assert!(err.contains("`public.items` is declared as shared"), "{err}");

    // A shared table with a tenant column is an error before anything is written.
    Postgres::raw(&pool, "ALTER TABLE countries ADD COLUMN tenant_id uuid").await.unwrap();
    let (code, _, err) = tenancy(&["sql", "snapshot", "--url", &url], dir.path());
    assert_eq!(code, 2);
    assert!(err.contains("`countries` is declared as shared"), "{err}");
    assert_eq!(std::fs::read_to_string(dir.path().join("db.toml")).unwrap(), written);
}

#[tokio::test]
async fn a_sqlite_snapshot_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _cleanup) = Sqlite::fresh_url().await;
    let mut conn = sqlx::SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
    let tables = "CREATE TABLE Orders (TENANT_ID TEXT, id INTEGER PRIMARY KEY, a, b, UNIQUE (a, b), UNIQUE (tenant_id, b));
        CREATE UNIQUE INDEX low ON Orders (lower(a)); CREATE TABLE countries (code TEXT);
        CREATE TABLE jobs (id INTEGER); CREATE VIEW open AS WITH o AS (SELECT * FROM Orders) SELECT * FROM o, countries";
    sqlx::raw_sql(tables).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    write(dir.path(), "tenancy.toml", "dialects = [\"sqlite\"]\nshared = [\"countries\"]\n");
    let (code, out, err) = tenancy(&["sql", "snapshot", "--url", &url], dir.path());
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("add to tenancy.toml: snapshot = \"tenancy.snapshot.toml\""), "{out}");
    let written = std::fs::read_to_string(dir.path().join("tenancy.snapshot.toml")).unwrap();
    for part in [
        "type = \"text\"",
        "tenants = [\n    \"Orders\",\n    \"open\",\n]",
        "others = [\n    \"countries\",\n    \"jobs\",\n]",
        "\"open\" = [\"Orders\", \"countries\"",
        "[primary_keys]\n\"Orders\" = [\"id\"]\n\"main.Orders\" = [\"id\"]",
        "[global_keys]\n\"Orders\" = [\"a, b\", \"id\"]\n\"main.Orders\" = [\"a, b\", \"id\"]",
    ] {
        assert!(written.contains(part), "{part}:\n{written}");
    }
}

#[test]
fn a_missing_snapshot_is_an_error() {
    let dir = project();
    write(dir.path(), "tenancy.toml", "snapshot = \"db.toml\"\n");
    let (code, out, _) = tenancy(&["sql", "check", "src"], dir.path());
    assert_eq!(code, 2);
    assert!(out.contains("write it with `tenancy sql snapshot`"), "{out}");
    let (code, _, err) = tenancy(&["sql", "snapshot", "--url", "mysql://localhost/x"], dir.path());
    assert_eq!(
        (code, err.as_str()),
        (
            2,
            "tenancy: the database cannot be read: the database is not known; use a URL of the form postgres://… or sqlite:…\n"
        )
    );
}

#[tokio::test]
async fn the_doctor_is_brief_on_a_clean_schema_and_fails_on_a_defect() {
    let fixture = doctor_cases::Fixture::new().await;
    let url = fixture.url(&fixture.app);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "tenancy.toml", doctor_cases::TOML);
    write(dir.path(), "Cargo.lock", "[[package]]\nname = \"sqlx-core\"\nversion = \"0.9.1\"\n");
    let (code, out, err) = tenancy(&["doctor", "--url", &url], dir.path());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines.len() == 2
            && lines[0].starts_with("note: ")
            && lines[1].starts_with("clean: 12 tenant tables in `"),
        "{out}"
    );

    fixture.as_owner("CREATE POLICY debug ON notes USING (true); DROP POLICY tenancy_floor ON notes").await;
    write(dir.path(), "Cargo.lock", "[[package]]\nname = \"sqlx-core\"\nversion = \"0.9.0\"\n");
    let (code, out, _) = tenancy(&["doctor", "--url", &url], dir.path());
    assert_eq!(code, 1, "{out}");
    for part in [
        "error[open-policy]: notes: ",
        "\n         CREATE POLICY \"tenancy_floor\" ON public.notes AS RESTRICTIVE\n             USING (\"customer\" = nullif(",
        "advice[sqlx-begin]: sqlx 0.9.0: ",
        "\n1 error, 0 warnings, 1 advice: 12 tenant tables in `",
    ] {
        assert!(out.contains(part), "{part}:\n{out}");
    }

    let accepted = ["doctor", "--url", &url, "--format", "json", "--accept", "open-policy"];
    let (code, out, _) = tenancy(&accepted, dir.path());
    assert_eq!(code, 0, "{out}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["findings"][0]["check"], "sqlx-begin");
    assert_eq!(json["notes"][1], "accepted: open-policy (1)");
    let (code, out, _) = tenancy(&["doctor", "--url", &url, "--format", "sarif"], dir.path());
    let sarif: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &sarif["runs"][0]["results"][0]["ruleId"]), (1, &serde_json::json!("open-policy")));

    let (code, _, err) = tenancy(&["doctor", "--url", &url, "--accept", "everything"], dir.path());
    assert_eq!(code, 2);
    assert!(err.starts_with("tenancy: the doctor has no check `everything`; it has exempt-role, "), "{err}");
    let (code, _, err) = tenancy(&["doctor", "--url", "sqlite:x.db"], dir.path());
    assert_eq!(
        (code, err.as_str()),
        (2, "tenancy: the doctor examines PostgreSQL only; use a URL of the form postgres://…\n")
    );
}

/// A connection string in place of a URL can hold a password.
#[test]
fn what_is_no_url_is_not_repeated() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tenancy.toml"), "").unwrap();
    for command in [
        &["doctor"][..],
        &["doctor", "--all-places"],
        &["doctor", "--database", "t_1"],
        &["policies"],
        &["policies", "--all-places"],
        &["sql", "snapshot"],
    ] {
        for url in [
            "host=localhost password=hunter2",
            "hunter2",
            "postgres://u:hunter2@127.0.0.1:1/x",
            "mysql://u:hunter2@x",
        ] {
            let (code, out, err) = tenancy(&[command, &["--url", url]].concat(), dir.path());
            assert_eq!(code, 2, "{command:?} {url}: {err}");
            assert!(!out.contains("hunter2") && !err.contains("hunter2"), "{command:?}: {out}{err}");
        }
    }
    // The parser of the arguments repeats what it does not know.
    let url = "postgres://u:hunter2@127.0.0.1:1/x";
    for arguments in [
        &["doctor", url][..],
        &[url],
        &["doctor", &format!("--ur={url}")],
        &["doctor", "--url", url, "--ur", url],
        &["policies", &format!("--check={url}")],
        &["migrate", "run", &format!("--jobs={url}")],
        &["sql", "check", "--dialect", url],
    ] {
        let (code, out, err) = tenancy(arguments, dir.path());
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(!out.contains("hunter2") && !err.contains("hunter2"), "{arguments:?}: {out}{err}");
        assert!(err.contains("error:"), "{arguments:?}: {err}");
    }
}

/// The policies and the doctor of one schema neither see nor change another.
#[tokio::test]
async fn one_schema_is_examined_and_changed_alone() {
    let (url, _cleanup) = Postgres::fresh_url().await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    for schema in ["t_acme", "t-globex"] {
        let tables = format!(
            "CREATE SCHEMA \"{schema}\"; CREATE TABLE \"{schema}\".orders (tenant_id uuid NOT NULL, id uuid NOT NULL, \
             PRIMARY KEY (tenant_id, id))"
        );
        Postgres::raw(&pool, &tables).await.unwrap();
    }
    let dir = project();
    let policies = |args: &[&str]| tenancy(&[&["policies", "--url", &url], args].concat(), dir.path());
    let (code, out, _) = policies(&["--schema", "t-globex", "--check"]);
    assert!(code == 1 && out.contains("t-globex.orders") && !out.contains("t_acme"), "{out}");
    let (code, out, err) = policies(&["--schema", "t-globex", "--apply"]);
    assert!(code == 0 && out.contains("3 done, 1 table compared"), "{out}{err}");
    assert_eq!(policies(&["--schema", "t-globex", "--check"]).0, 0);
    assert_eq!(policies(&["--schema", "t_acme", "--check"]).0, 1);

    let doctor = |schema: &str| tenancy(&["doctor", "--url", &url, "--schema", schema], dir.path());
    let (_, out, _) = doctor("t-globex");
    assert!(!out.contains("rls-off") && !out.contains("t_acme"), "{out}");
    let (code, out, _) = doctor("t_acme");
    assert!(code == 1 && out.contains("rls-off") && !out.contains("t-globex"), "{out}");
    for (code, out, err) in [doctor("t_initech"), policies(&["--schema", "t_initech"])] {
        assert_eq!((code, out.as_str()), (2, ""));
        assert_eq!(err, "tenancy: the schema `t_initech` does not exist, or this role may not use it\n");
    }
}

#[tokio::test]
async fn policies_are_printed_checked_and_applied() {
    let (url, _cleanup) = Postgres::fresh_url().await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let tables = "CREATE TABLE orders (tenant_id uuid NOT NULL, id uuid PRIMARY KEY, body jsonb);
        CREATE INDEX by_body ON orders USING gin (body); CREATE TABLE countries (code text)";
    Postgres::raw(&pool, tables).await.unwrap();
    let dir = project();
    let run = |args: &[&str]| tenancy(&[&["policies", "--url", &url], args].concat(), dir.path());

    let lacking = "table public.orders: it has no policy `tenancy_floor`
table public.orders: it has no policy `tenancy_own`
table public.orders: its row-level security is off, and its row-level security does not apply to its owner
3 missing, 1 table compared
besides, columns and keys that lack the tenant: 1; advice: 1; `tenancy policies` prints them
";
    assert_eq!(run(&["--check"]), (1, lacking.to_owned(), String::new()));
    let (code, file, err) = run(&[]);
    assert_eq!((code, err.as_str()), (0, ""));
    for part in [
        "-- Row-level security for tenant tables",
        "\n-- table public.orders: it has no policy `tenancy_floor`\nDROP POLICY IF EXISTS \"tenancy_floor\" ON \"public\".\"orders\";\n",
        "CREATE POLICY \"tenancy_floor\" ON \"public\".\"orders\" AS RESTRICTIVE\n    \
         USING (\"tenant_id\" = nullif(current_setting('app.tenant_id', true), '')::uuid);\n",
        "\nALTER TABLE \"public\".\"orders\" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n",
        "\n-- ALTER TABLE \"public\".\"orders\" DROP CONSTRAINT IF EXISTS \"orders_pkey\",\n",
        "\n-- index by_body of public.orders: row-level security prevents its use",
        "\n-- CREATE INDEX ON \"public\".\"orders\" (\"tenant_id\");\n",
    ] {
        assert!(file.contains(part), "{part}:\n{file}");
    }
    assert!(!file.contains("countries"), "{file}");

    // The output is the missing SQL.
    Postgres::raw(&pool, &file).await.unwrap();
    let (code, out, _) = run(&["--check"]);
    assert!(code == 0 && out.starts_with("the policies are as planned: 1 table compared\n"), "{out}");
    let (code, out, _) = run(&["--apply", "--missing-tenant", "error"]);
    assert!(
        code == 0 && out.contains("from another declaration") && out.contains("\n2 done, 1 table compared\n"),
        "{out}"
    );
    assert_eq!(run(&["--check", "--missing-tenant", "error"]).0, 0);
    assert_eq!(run(&["--check"]).0, 1);
    let (code, out, _) = run(&["--apply", "--missing-tenant", "error", "--keys"]);
    assert!(
        code == 0 && out.contains("primary key orders_pkey of public.orders: it lacks the tenant"),
        "{out}"
    );
    assert_eq!(run(&["--check", "--missing-tenant", "error", "--keys"]).0, 0);

    // An undeclared table is an error in any schema, and so is a database in which nothing was compared.
    let as_raised: &[&str] = &["--check", "--missing-tenant", "error"];
    for (table, wanted) in [
        ("secrets (token text)", "table public.secrets: it has no tenant column and is not declared shared"),
        (
            "elsewhere.hidden (tenant_id uuid)",
            "table elsewhere.hidden: its schema is outside of the search_path",
        ),
    ] {
        let name = table.split(' ').next().unwrap();
        Postgres::raw(&pool, &format!("CREATE SCHEMA IF NOT EXISTS elsewhere; CREATE TABLE {table}"))
            .await
            .unwrap();
        let (code, out, err) = run(as_raised);
        assert!(code == 1 && out.starts_with(wanted), "{out}{err}");
        assert!(out.contains("\n1 without a policy; decide whether each needs one\n"), "{out}");
        Postgres::raw(&pool, &format!("DROP TABLE {name}")).await.unwrap();
        assert_eq!(run(as_raised).0, 0);
    }
    let (empty, _empty) = Postgres::fresh_url().await;
    let (code, out, _) = tenancy(&["policies", "--url", &empty, "--check"], dir.path());
    assert!(
        code == 1 && out.starts_with("nothing was compared: no table in the schemas of the search_path"),
        "{out}"
    );

    // An impossible request is an error with a reason.
    for (args, wanted) in [
        (&["--role", "nobody_of_that_name"][..], "tenancy: there is no role `nobody_of_that_name`"),
        (&["--check", "--apply"], "error: the argument '--check' cannot be used with '--apply'"),
        (&["--config", "none.toml"], "tenancy: none.toml: "),
    ] {
        let (code, _, err) = run(args);
        assert!(code == 2 && err.starts_with(wanted), "{err}");
    }
    Postgres::raw(&pool, "ALTER TABLE countries ADD tenant_id uuid").await.unwrap();
    let (code, _, err) = run(&["--check"]);
    assert_eq!(code, 2);
    assert!(err.starts_with("tenancy: the table `public.countries` is declared shared"), "{err}");
    let (code, _, err) = tenancy(&["policies", "--url", "sqlite:x.db"], dir.path());
    assert!(code == 2 && err.contains("row-level security needs PostgreSQL"), "{err}");
}
