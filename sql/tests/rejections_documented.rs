//! `docs/reference/sql-rejections.md` explains every code, and each of its examples is rejected with that code. Each
//! row of `docs/reference/sql-functions.md` is rejected with its code, or runs.
#![cfg(feature = "rewrite")]

mod cases;

use tenancy_sql::{Code, Dialect, check_nullability, rewrite};

const DOCS: &str = include_str!("../../docs/reference/sql-rejections.md");

#[test]
fn every_code_is_explained_and_every_example_is_rejected() {
    let schema = cases::schema();
    let mut examples = 0;
    let sections: Vec<&str> = DOCS.split("\n## ").skip(1).collect();
    let codes: Vec<&str> = sections.iter().map(|section| section.split(':').next().unwrap()).collect();
    assert_eq!(codes, Code::ALL.map(Code::as_str));
    for section in sections {
        let code = section.split(':').next().unwrap();
        let Some((_, example)) = section.split_once("```sql") else { continue };
        let (dialect, rest) = example.split_once('\n').unwrap();
        let dialect = match dialect {
            "" => Dialect::Postgres,
            ",sqlite" => Dialect::Sqlite,
            ",mysql" => Dialect::MySql,
            other => panic!("{other}"),
        };
        let sql = rest.split("\n```").next().unwrap();
        // The `_checked` macros add this rejection.
        let rejected = match code {
            "T021" => rewrite(dialect, sql, &schema).and_then(|_| check_nullability(sql)).unwrap_err(),
            _ => rewrite(dialect, sql, &schema).unwrap_err(),
        };
        assert_eq!(rejected.code().as_str(), code, "{sql}\n{rejected}");
        examples += 1;
    }
    // T001 is too long for a page, and no statement is known for T099.
    assert_eq!(examples, Code::ALL.len() - 2);
    assert_eq!(rewrite(Dialect::Postgres, &" ".repeat(70_000), &schema).unwrap_err().code(), Code::TooLong);
}

#[test]
fn every_way_to_call_a_function_does_what_its_row_says() {
    let schema = cases::schema();
    let (mut rejected, mut ran) = (0, 0);
    let mut dialect = None;
    for line in include_str!("../../docs/reference/sql-functions.md").lines() {
        match line {
            "## PostgreSQL" => dialect = Some(Dialect::Postgres),
            "## SQLite" => dialect = Some(Dialect::Sqlite),
            _ if line.starts_with("## ") => dialect = None,
            _ => {}
        }
        let (Some(dialect), true) = (dialect, line.starts_with("| ") && line.contains('`')) else { continue };
        let columns: Vec<&str> = line.split(" | ").collect();
        let [_, example, result] = columns[..] else { panic!("not three columns: {line}") };
        let sql = example.trim_matches('`');
        let result = result.trim_end_matches('|').trim();
        match rewrite(dialect, sql, &schema) {
            Ok(rewritten) => {
                assert!(result.starts_with("runs"), "{sql} runs: {}", rewritten.text());
                ran += 1;
            }
            Err(why) => {
                assert_eq!(result, why.code().as_str(), "{sql}\n{why}");
                rejected += 1;
            }
        }
    }
    assert!(rejected > 45 && ran > 20, "{rejected} are rejected, {ran} run");
}
