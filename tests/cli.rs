//! The command line, as somebody runs it on a code base.

use std::path::Path;
use std::process::{Command, Output};

fn tenancy(args: &[&str], dir: &Path) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_tenancy")).args(args).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

const HANDLERS: &str = r##"
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
"##;

fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "Cargo.toml", "[package]\nname = \"shop\"\n");
    write(dir.path(), "tenancy.toml", "dialects = [\"postgres\"]\nshared = [\"countries\"]\n");
    write(dir.path(), "src/handlers.rs", HANDLERS);
    write(dir.path(), "queries/report.sql", "UPDATE orders SET total = 0 WHERE id = $1;\n");
    // Neither is read: what is built, and what is hidden.
    write(dir.path(), "target/debug/out.rs", "fn f() { sqlx::query(\"SELECT spy(1)\"); }");
    write(dir.path(), ".git/hook.rs", "fn f() { sqlx::query(\"SELECT spy(1)\"); }");
    dir
}

#[test]
fn each_query_of_a_tree_is_shown_with_its_verdict() {
    let dir = project();
    let (code, out, err) = tenancy(&["sql", "check", "."], dir.path());
    let wanted = r#"./src/handlers.rs:3:11: scoped
    SELECT id FROM orders WHERE orders.tenant_id = $2 AND (status = $1)
./src/handlers.rs:4:11: shared tables only
    SELECT name FROM countries
./src/handlers.rs:5:11: no table
    SELECT 1
./src/handlers.rs:6:19: refused
    T007: the function `spy` could read any table
      |
    2 |          WHERE id = spy(id)
      |                     ^^^
    help: if it reads none, add it to `functions` in tenancy.toml
./src/handlers.rs:10:11: not read
    made while the program runs (no literal); on `&scope` or `&mut tx` it is proven then
./src/handlers.rs:11:11: scoped
    UPDATE orders SET total = 0 WHERE orders.tenant_id = $2 AND (id = $1)
6 queries: 2 scoped, 2 of no tenant's table, 1 refused, 1 not read
"#;
    assert_eq!((code, out.as_str(), err.as_str()), (1, wanted, ""));

    let (code, out, _) = tenancy(&["sql", "check", "--quiet", "src"], dir.path());
    assert_eq!(code, 1);
    assert!(!out.contains(": scoped") && out.contains("T007") && out.contains("not read"), "{out}");
}

#[test]
fn a_clean_tree_succeeds_and_the_configuration_decides() {
    let dir = project();
    write(dir.path(), "other.toml", "dialects = [\"postgres\"]\nfunctions = [\"spy\"]\n");
    let (code, out, _) = tenancy(&["sql", "check", "--config", "other.toml", "src"], dir.path());
    assert_eq!(code, 0, "{out}");
    // There, `countries` is a tenant's.
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
        ["all.sql:2: scoped", "all.sql:5: refused\n    T005", "all.sql:6: scoped", "3 queries: 2 scoped"]
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
