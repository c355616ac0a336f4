//! A rewritten query has the same plan as the query with its predicates written by hand, on a million rows.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres, Row, SqliteConnection};
use tenancy_sql::{Bind, Dialect, Schema, rewrite};

use crate::common::TestBackend;
use crate::plan_cases::{Case, EVERYWHERE, INDEXES, ON_POSTGRES, OTHERWISE_ON_SQLITE, ROWS, TABLES};

/// One of the hundred tenants.
const TENANT: &str = "8";

#[tokio::test]
async fn w02_plain_wrapping_costs_nothing_on_postgres() {
    let (url, _cleanup) = Postgres::fresh_url().await;
    let mut connection = PgConnection::connect(&url).await.expect("the new database opens");
    load(&mut connection, |n| format!("generate_series(0::bigint, {n} - 1) AS rows (n)")).await;
    connection.execute("VACUUM (ANALYZE) customers, orders, items").await.expect("statistics are gathered");

    let otherwise = OTHERWISE_ON_SQLITE.iter().map(|(case, ..)| case);
    let cases: Vec<&Case> = EVERYWHERE.iter().chain(&ON_POSTGRES).chain(otherwise).collect();
    let mut wrong = Vec::new();
    for mode in ["force_custom_plan", "force_generic_plan"] {
        connection.execute(AssertSqlSafe(format!("SET plan_cache_mode = {mode}"))).await.unwrap();
        for case in &cases {
            let values: Vec<&str> = case.values.iter().copied().chain([TENANT]).collect();
            let own = rewritten(Dialect::Postgres, case);
            let plan = on_postgres(&mut connection, &own, &values).await;
            let by_hand = on_postgres(&mut connection, &case.by_hand(), &values).await;
            assert!(by_hand.contains("Index Name"), "{}: no plan for many rows:\n{by_hand}", case.name);
            if plan != by_hand {
                wrong.push(format!("{}, {mode}:\n{own}\n{plan}\nby hand:\n{by_hand}", case.name));
            }
            let of_all = on_postgres(&mut connection, &case.plain(), case.values).await;
            assert_ne!(of_all, by_hand, "{}: the plan tells nothing of the tenant", case.name);
        }
        let fenced = EVERYWHERE[0].fenced("OFFSET 0");
        let fenced = on_postgres(&mut connection, &fenced, &["4207", TENANT]).await;
        assert!(fenced.contains("Subquery Scan"), "a fence is not seen:\n{fenced}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test]
async fn w02_plain_wrapping_costs_nothing_on_sqlite() {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("SQLite opens");
    load(&mut connection, |n| {
        format!(
            "(WITH RECURSIVE rows (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM rows LIMIT {n}) SELECT n FROM rows)"
        )
    })
    .await;
    connection.execute("ANALYZE").await.expect("statistics are gathered");

    let mut wrong = Vec::new();
    for case in &EVERYWHERE {
        let own = rewritten(Dialect::Sqlite, case);
        let plan = on_sqlite(&mut connection, &own).await;
        let by_hand = on_sqlite(&mut connection, &case.by_hand()).await;
        if plan != by_hand {
            wrong.push(format!("{}:\n{own}\n{plan}\nby hand:\n{by_hand}", case.name));
        }
        let of_all = on_sqlite(&mut connection, &case.plain()).await;
        assert_ne!(of_all, by_hand, "{}: the plan tells nothing of the tenant", case.name);
    }
    for (case, plan, by_hand) in &OTHERWISE_ON_SQLITE {
        let own = rewritten(Dialect::Sqlite, case);
        for (sql, wanted) in [(&own, plan), (&case.by_hand(), by_hand)] {
            let got = on_sqlite(&mut connection, sql).await;
            let wanted: String = wanted
                .lines()
                .flat_map(|line| [line.strip_prefix("         ").unwrap_or(line), "\n"])
                .collect();
            if got != wanted {
                wrong.push(format!("{}:\n{sql}\n{got}\nwanted:\n{wanted}", case.name));
            }
        }
    }
    let fenced = on_sqlite(&mut connection, &EVERYWHERE[0].fenced("LIMIT -1")).await;
    assert!(fenced.contains("CO-ROUTINE"), "a fence is not seen:\n{fenced}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The documentation names each query with the result that the tests above prove.
#[test]
fn the_documentation_names_every_query() {
    let docs = include_str!("../../docs/explanation/query-plans.md");
    let otherwise = OTHERWISE_ON_SQLITE.iter().map(|(case, ..)| (case, "same", "**other**"));
    let verdicts = EVERYWHERE.iter().map(|case| (case, "same", "same"));
    let verdicts = verdicts.chain(ON_POSTGRES.iter().map(|case| (case, "same", "-"))).chain(otherwise);
    for (case, postgres, sqlite) in verdicts {
        let row = format!("| {} | {postgres} | {sqlite} |", case.name);
        assert!(docs.contains(&row), "docs/explanation/query-plans.md has no row `{row}`");
    }
}

/// The rewritten text of a case.
fn rewritten(dialect: Dialect, case: &Case) -> String {
    let keys = "primary_keys = { customers = [\"id\"], orders = [\"id\"], items = [\"id\"] }";
    let schema = Schema::new("tenant_id").and_then(|schema| schema.with_snapshot(keys)).unwrap();
    let own =
        rewrite(dialect, &case.plain(), &schema).unwrap_or_else(|refused| panic!("{}: {refused}", case.name));
    assert_eq!(own.binds().len(), case.values.len() + 1, "{}", case.name);
    assert_eq!(own.binds().last(), Some(&Bind::Tenant), "{}", case.name);
    own.text().to_owned()
}

/// Loads the rows in one transaction, and makes the indexes afterwards.
async fn load<C: Connection>(connection: &mut C, rows: impl Fn(u32) -> String)
where
    for<'c> &'c mut C: Executor<'c>,
{
    let mut script = format!("BEGIN; {TABLES};");
    for (table, n, columns) in ROWS {
        write!(script, "INSERT INTO {table} SELECT {columns} FROM {};", rows(n)).unwrap();
    }
    write!(script, "{INDEXES}; COMMIT").unwrap();
    connection.execute(sqlx::raw_sql(AssertSqlSafe(script))).await.expect("the rows go in");
}

/// The plan with its costs, without the parts that only depend on the text.
async fn on_postgres(connection: &mut PgConnection, sql: &str, values: &[&str]) -> String {
    let prepare = format!("PREPARE asked AS {sql}");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let given = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
    let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE asked{given}");
    let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(explain))).await.expect("it has a plan");
    connection.execute("DEALLOCATE asked").await.unwrap();
    let mut plan: Value = serde_json::from_str(row.get_unchecked(0)).expect("the plan reads");
    without_names(&mut plan);
    serde_json::to_string_pretty(&plan).unwrap()
}

fn without_names(plan: &mut Value) {
    match plan {
        Value::Object(fields) => {
            fields.remove("Alias");
            fields.values_mut().for_each(without_names);
        }
        Value::Array(values) => values.iter_mut().for_each(without_names),
        Value::String(text) => *text = sorted_conditions(&without_qualifiers(text)),
        _ => {}
    }
}

/// Writes `o.id` as `id`.
fn without_qualifiers(text: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut plain = String::new();
    for part in text.split_inclusive('.') {
        let qualifier = part.strip_suffix('.').map(|before| before.trim_end_matches(word));
        plain.push_str(qualifier.unwrap_or(part));
    }
    plain
}

/// Sorts conditions, so that `((a = 1) AND (b = 2))` equals `((b = 2) AND (a = 1))`.
fn sorted_conditions(text: &str) -> String {
    let mut conditions: Vec<&str> = text.split(" AND ").map(|one| one.trim_matches(['(', ')'])).collect();
    conditions.sort_unstable();
    conditions.join(" AND ")
}

/// The steps, each below the step that contains it, with tables in place of aliases.
async fn on_sqlite(connection: &mut SqliteConnection, sql: &str) -> String {
    let explain = format!("EXPLAIN QUERY PLAN {sql}");
    let steps = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(explain))).await;
    let mut indents = HashMap::from([(0_i64, 0_usize)]);
    let mut plan = String::new();
    for step in steps.unwrap_or_else(|e| panic!("{sql}: {e}")) {
        let (id, parent, detail): (i64, i64, &str) = (step.get(0), step.get(1), step.get(3));
        let indent = indents[&parent];
        indents.insert(id, indent + 2);
        let words: Vec<&str> = detail.split(' ').map(table_of).filter(|word| !is_number(word)).collect();
        writeln!(plan, "{:indent$}{}", "", words.join(" ")).unwrap();
    }
    plan
}

/// Subqueries are numbered, and a guard counts as one.
fn is_number(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_digit())
}

fn table_of(word: &str) -> &str {
    match word {
        "c" => "customers",
        "o" | "o2" => "orders",
        "i" => "items",
        _ => word.strip_prefix("__tnt_").unwrap_or(word),
    }
}
