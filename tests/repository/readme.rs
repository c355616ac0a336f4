//! The README is short, and its program is the example that is tested.

const README: &str = include_str!("../../README.md");
const PROGRAM: &str = include_str!("../../examples/hello_axum.rs");

#[test]
fn the_program_of_the_readme_is_the_example() {
    let start = "```rust,no_run\n";
    let at = README.find(start).expect("the README has a program") + start.len();
    let shown = README[at..].split("```").next().unwrap_or_default();
    let (program, _) = PROGRAM.split_once("\n#[cfg(test)]").expect("the example has a test");
    assert_eq!(shown.trim_end(), program.trim_end(), "copy examples/hello_axum.rs into README.md");
}

#[test]
fn the_readme_is_read_in_two_minutes() {
    let words = README.split_whitespace().count();
    assert!((400..=900).contains(&words), "{words} words; move what is too much to a guide");
}
