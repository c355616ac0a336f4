//! `docs/refusals.md` explains every code, and each of its examples is refused with the code it stands under.
#![cfg(feature = "rewrite")]

mod cases;

use tenancy_sql::{Code, Dialect, rewrite, says_what_is_null};

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
        let refused = match code {
            "T021" => rewrite(dialect, sql, &schema).and_then(|_| says_what_is_null(sql)).unwrap_err(),
            _ => rewrite(dialect, sql, &schema).unwrap_err(),
        };
        assert_eq!(refused.code().as_str(), code, "{sql}\n{refused}");
        examples += 1;
    }
    // Too long for a page, and never to be seen.
    assert_eq!(examples, Code::ALL.len() - 2);
    assert_eq!(rewrite(Dialect::Postgres, &" ".repeat(70_000), &schema).unwrap_err().code(), Code::TooLong);
}
