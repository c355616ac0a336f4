//! The README is short and its program is a tested example; the rejection in the tutorial is the one that is printed.

const README: &str = include_str!("../../README.md");
const PROGRAM: &str = include_str!("../../examples/hello_axum.rs");

#[test]
fn the_program_of_the_readme_is_the_example() {
    let start = "```rust,no_run\n";
    let at = README.find(start).expect("the README has a program") + start.len();
    let shown = README[at..].split("```").next().unwrap_or_default();
    let (program, _) = PROGRAM.split_once("\n#[tokio::test]").expect("the example has a test");
    assert_eq!(shown.trim_end(), program.trim_end(), "copy examples/hello_axum.rs into README.md");
}

#[test]
fn the_readme_is_read_in_two_minutes() {
    let words = README.split_whitespace().count();
    assert!((400..=900).contains(&words), "{words} words; move what is too much to a guide");
}

#[test]
fn the_tutorial_quotes_the_rejection_that_is_printed() {
    let tutorial = include_str!("../../docs/tutorial.md");
    let schema = tenancy_sql::Schema::new("tenant_id").unwrap();
    let sql = "SELECT name AS text, 1 AS id FROM sqlite_schema";
    assert!(tutorial.contains(sql));
    let rejection = tenancy_sql::rewrite(tenancy_sql::Dialect::Sqlite, sql, &schema).unwrap_err().to_string();
    let (title, help) = (rejection.lines().next().unwrap(), rejection.lines().last().unwrap().trim());
    assert!(help.starts_with("help: "), "{rejection}");
    for line in [title, help] {
        assert!(tutorial.contains(line), "the tutorial lacks: {line}");
    }
}
