//! Misuse does not compile, and the compiler error names the fix. The cases are in `tests/ui` and `tests/live`.

#[path = "../../tests/fixture/common.rs"]
mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::process::Command;

use common::TestBackend;
use sqlx::Postgres;

/// The minimum number of cases, so that a deleted case fails the test.
const CASES: usize = 81;

/// The environment variable with the cases that this process compiles.
const COMPILES: &str = "TENANCY_TEST_COMPILES";

/// The flags with which trybuild compiles cases. It compiles their dependencies without the last flag, and cargo builds
/// the dependencies twice if the flags differ. Flags from the environment apply to both builds.
const FLAGS: &str = "--cfg\u{1f}trybuild\u{1f}--verbose\u{1f}-A\u{1f}dead_code\u{1f}--diagnostic-width=140";

/// Compiles cases in a second run of the named test: another environment needs another process.
fn compile<'a>(test: &str, cases: &str, environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>) {
    if std::env::var_os(COMPILES).is_some() {
        return trybuild::TestCases::new().compile_fail(cases);
    }
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(COMPILES, cases)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS)
        .envs(environment)
        .output()
        .unwrap();
    let [out, err] = [&run.stdout, &run.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(run.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

#[test]
fn what_could_cross_tenants_does_not_compile() {
    let cases = std::fs::read_dir("tests/ui")
        .expect("the cases are beside this file")
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ext| ext == "rs"))
        .count();
    assert!(cases >= CASES, "{cases} cases, at least {CASES} are expected");
    compile("what_could_cross_tenants_does_not_compile", "tests/ui/*.rs", []);
}

/// With `DATABASE_URL` the macros query the database, and the compiler prints its errors: `tests/live`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_that_is_not_the_databases_does_not_compile() {
    let (test, cases) = ("a_type_that_is_not_the_databases_does_not_compile", "tests/live/*.rs");
    if std::env::var_os(COMPILES).is_some() {
        return compile(test, cases, []);
    }
    let (url, cleanup) = Postgres::fresh_url().await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    for tables in [Postgres::ORDERS, include_str!("../../tests/fixture/customers.sql")] {
        Postgres::raw(&pool, tables).await.unwrap();
    }
    pool.close().await;
    let saved = tempfile::tempdir().unwrap();
    compile(
        test,
        cases,
        [
            ("SQLX_OFFLINE", OsStr::new("false")),
            ("SQLX_OFFLINE_DIR", saved.path().as_os_str()),
            ("DATABASE_URL", OsStr::new(&url)),
        ],
    );
    drop(cleanup);
    // The macros described the guarded text, not the text in the source.
    let asked: BTreeSet<String> = std::fs::read_dir(saved.path())
        .unwrap()
        .map(|entry| {
            let json = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let data: serde_json::Value = serde_json::from_str(&json).unwrap();
            data["query"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(!asked.is_empty() && asked.iter().all(|sql| sql.contains("tenant_id = $")), "{asked:?}");
}
