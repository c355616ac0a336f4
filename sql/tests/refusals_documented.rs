//! `docs/refusals.md` explains every code, and each of its examples is refused with the code it stands under; so is
//! each row of `docs/calls.md`, or it runs.
#![cfg(feature = "rewrite")]

mod cases;

use tenancy_sql::{Code, Dialect, check_nullability, rewrite};

const DOCS: &str = include_str!("../../docs/refusals.md");

#[test]
fn every_code_is_explained_and_every_example_is_refused() {
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
        // This one is of the macros that give the statement on to sqlx.
        let rejected = match code {
            "T021" => rewrite(dialect, sql, &schema).and_then(|_| check_nullability(sql)).unwrap_err(),
            _ => rewrite(dialect, sql, &schema).unwrap_err(),
        };
        assert_eq!(rejected.code().as_str(), code, "{sql}\n{rejected}");
        examples += 1;
    }
    // Too long for a page, and never to be seen.
    assert_eq!(examples, Code::ALL.len() - 2);
    assert_eq!(rewrite(Dialect::Postgres, &" ".repeat(70_000), &schema).unwrap_err().code(), Code::TooLong);
}

#[test]
fn every_way_to_call_a_function_does_what_its_row_says() {
    let schema = cases::schema();
    let (mut rejected, mut ran) = (0, 0);
    let mut dialect = None;
    for line in include_str!("../../docs/calls.md").lines() {
        match line {
            "## PostgreSQL" => dialect = Some(Dialect::Postgres),
            "## SQLite" => dialect = Some(Dialect::Sqlite),
            _ if line.starts_with("## ") => dialect = None,
            _ => {}
        }
        let (Some(dialect), true) = (dialect, line.starts_with("| ") && line.contains('`')) else { continue };
        let columns: Vec<&str> = line.split(" | ").collect();
        let [_, example, answer] = columns[..] else { panic!("not three columns: {line}") };
        let sql = example.trim_matches('`');
        let answer = answer.trim_end_matches('|').trim();
        match rewrite(dialect, sql, &schema) {
            Ok(rewritten) => {
                assert!(answer.starts_with("runs"), "{sql} runs: {}", rewritten.text());
                ran += 1;
            }
            Err(why) => {
                assert_eq!(answer, why.code().as_str(), "{sql}\n{why}");
                rejected += 1;
            }
        }
    }
    assert!(rejected > 45 && ran > 20, "{rejected} are refused, {ran} run");
}
