//! The answers of CONTRIBUTING.md to "Where is ..?" name files that hold what they say.

use std::path::Path;

const PAGE: &str = include_str!("../../CONTRIBUTING.md");

#[test]
fn each_answer_names_a_file_and_what_stands_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = PAGE.split("### Where is").nth(1).and_then(|rest| rest.split("## Words").next());
    let rows: Vec<&str> =
        table.expect("the section is there").lines().filter(|line| line.ends_with('|')).skip(2).collect();
    assert!(rows.len() >= 10, "{} questions", rows.len());
    for row in rows {
        let answer = row.rsplit('|').nth(1).unwrap_or_default();
        let mut files = Vec::new();
        let mut names = 0;
        for word in answer.split('`').skip(1).step_by(2) {
            if word.starts_with("src/") {
                let text = std::fs::read_to_string(root.join(word));
                files.push(text.unwrap_or_else(|error| panic!("{word}: {error}: {row}")));
            } else {
                names += 1;
                assert!(
                    files.iter().any(|text| text.contains(word)),
                    "no `{word}` in the file before it: {row}"
                );
            }
        }
        assert!(!files.is_empty() && names > 0, "{row}");
    }
}
