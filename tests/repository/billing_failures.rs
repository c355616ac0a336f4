//! The table in `docs/reference/billing-failures.md` has a row for each failure, and each named test exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::files;

const PAGE: &str = include_str!("../../docs/reference/billing-failures.md");

/// How many failures are known.
const FAILURES: usize = 75;

/// The functions in the tests of billing and of the examples.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for path in ["tests/billing", "examples/saas/suite"].iter().flat_map(|folder| files(&root.join(folder))) {
        let text = fs::read_to_string(&path).expect("a test reads");
        for line in text.lines() {
            let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn ");
            names.extend(name.and_then(|name| name.split(['(', '<']).next()).map(str::to_owned));
        }
    }
    names
}

#[test]
fn each_failure_names_tests_that_exist() {
    let functions = functions();
    let mut numbers = Vec::new();
    for line in PAGE.lines().filter(|line| line.starts_with("| B")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, _, _, tests] = cells[..] else { panic!("not four cells: {line}") };
        numbers.push(number.to_owned());
        for test in tests.split(", ") {
            let name = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
            let name = name.unwrap_or_else(|| panic!("{number} names no test: {test}"));
            assert!(functions.contains(name), "{number} names `{name}`, which does not exist");
        }
    }
    let wanted: Vec<String> = (1..=FAILURES).map(|number| format!("B{number}")).collect();
    assert_eq!(numbers, wanted);
}
