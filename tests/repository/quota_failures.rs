//! The table in `docs/reference/quota-failures.md` has a row for each failure, and each named test exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::files;

const PAGE: &str = include_str!("../../docs/reference/quota-failures.md");

/// The numbers of the failures, with gaps.
const NUMBERS: [u8; 41] = [
    1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22, 24, 25, 26, 28, 29, 30, 32, 33, 34, 36, 37,
    38, 40, 41, 42, 44, 45, 46, 48, 49, 50, 52, 53, 54,
];

/// The functions of the tests, in the order of the files.
fn functions() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = Vec::new();
    for path in ["src", "tests", "examples/saas/suite"].iter().flat_map(|folder| files(&root.join(folder))) {
        if path.extension().is_none_or(|ext| ext != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a test reads");
        for line in text.lines() {
            let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn ");
            names.extend(name.and_then(|name| name.split(['(', '<']).next()).map(str::to_owned));
        }
    }
    names
}

/// The number of each row, and its tests.
fn rows() -> Vec<(String, Vec<&'static str>)> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, failure, here, tests] = cells[..] else { panic!("not four cells: {line}") };
        assert!(failure.len() > 10 && here.len() > 10, "{number} says too little");
        let name = |test: &'static str| test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
        let tests =
            tests.split(", ").map(|test| name(test).unwrap_or_else(|| panic!("{number}: no test: {test}")));
        (number.to_owned(), tests.collect())
    };
    PAGE.lines().filter(|line| line.starts_with("| Q")).map(row).collect()
}

#[test]
fn each_failure_of_quotas_names_tests_that_exist() {
    let functions: BTreeSet<String> = functions().into_iter().collect();
    let rows = rows();
    for (number, tests) in &rows {
        for test in tests {
            assert!(functions.contains(*test), "{number} names `{test}`, which does not exist");
        }
    }
    let numbers: Vec<_> = rows.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, NUMBERS.map(|number| format!("Q{number}")));
}

/// A test of limits whose name begins with numbers, such as `q17_q18_…`, is in the row of each.
#[test]
fn each_test_that_has_the_number_of_a_failure_is_in_its_row() {
    let rows = rows();
    let listed: BTreeSet<&str> = rows.iter().flat_map(|(_, tests)| tests.iter().copied()).collect();
    let mut found = 0;
    for name in functions().iter().filter(|name| listed.contains(name.as_str())) {
        for part in name.split('_') {
            let Some(number) = part.strip_prefix('q').and_then(|digits| digits.parse::<u8>().ok()) else {
                break;
            };
            let row = rows.iter().find(|row| row.0 == format!("Q{number}"));
            let (_, tests) = row.unwrap_or_else(|| panic!("`{name}`: there is no row Q{number}"));
            assert!(tests.contains(&name.as_str()), "the row Q{number} does not name `{name}`");
            found += 1;
        }
    }
    assert!(found > 40, "only {found} tests have a number");
}
