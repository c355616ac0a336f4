//! The table of attacks in `docs/reference/identity-attacks.md` names the right tests, and each named test exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tenancy::web::Problem;
use tenancy::{Error, ErrorKind};

use crate::files;

const PAGE: &str = include_str!("../../docs/reference/identity-attacks.md");

/// The numbers of the attacks, with gaps; each has a row and a test.
const NUMBERS: [u16; 75] = [
    1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22, 24, 25, 26, 28, 29, 30, 32, 33, 34, 36, 37,
    38, 40, 41, 42, 44, 45, 46, 48, 49, 50, 52, 53, 54, 56, 57, 58, 60, 61, 62, 64, 65, 66, 68, 69, 70, 72,
    73, 74, 76, 77, 78, 80, 81, 82, 84, 85, 86, 88, 89, 90, 92, 93, 94, 96, 97, 98, 100,
];

/// A row of the table.
struct Row {
    attack: &'static str,
    expected: &'static str,
    tests: Vec<&'static str>,
}

/// The number of an attack, if the word is one: `I33`.
fn number(word: &str) -> Option<u16> {
    let digits = word.strip_prefix('I')?;
    (1..=3).contains(&digits.len()).then(|| digits.parse().ok())?
}

/// The attacks that a text names.
fn named(text: &str) -> BTreeSet<u16> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter_map(number).collect()
}

fn rows() -> Vec<(u16, Row)> {
    let row = |line: &'static str| {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let number = number(cells[0])?;
        let [_, attack, expected, tests] = cells[..] else { panic!("I{number} has not four cells: {line}") };
        let path = |path: &'static str| path.strip_prefix('`').and_then(|path| path.strip_suffix('`'));
        let tests = tests.split(", ").map(|cell| path(cell).unwrap_or_else(|| panic!("no path: {cell}")));
        Some((number, Row { attack, expected, tests: tests.collect() }))
    };
    PAGE.lines().filter_map(row).collect()
}

/// The text of each test file, by its path. This file is left out, because it tests no attack.
fn tests() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = BTreeMap::new();
    for path in files(&root.join("tests")) {
        if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("attacks.rs") {
            let name = path.strip_prefix(root).expect("it is below").to_string_lossy().replace('\\', "/");
            texts.insert(name, fs::read_to_string(&path).expect("a test reads"));
        }
    }
    assert!(texts.len() > 90, "only {} files of tests were found", texts.len());
    texts
}

#[test]
fn every_attack_has_one_row_in_its_place() {
    let numbers: Vec<u16> = rows().into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, NUMBERS);
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("{} attacks", NUMBERS.len())), "README.md says another number");
}

/// The errors that the rows name.
const KINDS: [ErrorKind; 11] = [
    ErrorKind::Conflict,
    ErrorKind::CredentialInvalid,
    ErrorKind::CredentialMissing,
    ErrorKind::InvalidAuthority,
    ErrorKind::InvalidInput,
    ErrorKind::Misdirected,
    ErrorKind::StoreUnavailable,
    ErrorKind::TenantConflict,
    ErrorKind::TenantMissing,
    ErrorKind::TenantSuspended,
    ErrorKind::TenantUnknown,
];

#[test]
fn every_row_says_what_is_expected_with_the_status_it_has() {
    let mut told = BTreeSet::new();
    for (number, Row { attack, expected, tests }) in rows() {
        assert!(attack.len() > 10 && expected.len() >= 10 && !tests.is_empty(), "I{number}");
        let words: Vec<&str> = expected.split(' ').collect();
        for pair in words.windows(2) {
            let Ok(status) = pair[0].parse::<u16>() else { continue };
            let Some(code) = pair[1].strip_prefix('`').and_then(|code| code.split('`').next()) else {
                continue;
            };
            let kind = KINDS.into_iter().find(|kind| kind.code() == code);
            let kind = kind.unwrap_or_else(|| panic!("I{number}: what is {code}?"));
            assert_eq!(Problem::from(&Error::new(kind, "")).status(), status, "I{number}: {code}");
            told.insert(code);
        }
    }
    assert_eq!(told.len(), KINDS.len(), "the rows speak of {told:?}");
}

#[test]
fn every_test_that_a_row_names_names_the_attack() {
    let texts = tests();
    for (number, row) in rows() {
        for path in row.tests {
            let text = texts.get(path).unwrap_or_else(|| panic!("I{number}: there is no {path}"));
            assert!(named(text).contains(&number), "I{number}: {path} does not name it");
        }
    }
}

#[test]
fn every_attack_that_a_test_names_has_that_test_in_its_row() {
    let rows: BTreeMap<u16, Row> = rows().into_iter().collect();
    for (path, text) in tests() {
        for number in named(&text) {
            let row = rows.get(&number).unwrap_or_else(|| panic!("{path}: I{number} has no row"));
            assert!(row.tests.contains(&path.as_str()), "the row of I{number} does not name {path}");
        }
    }
}

#[test]
fn a_number_is_a_word_of_its_own() {
    assert_eq!(named("I1, `I20`: I100; (\"I3 I5\""), [1, 3, 5, 20, 100].into());
    assert_eq!(named("AI1 I1a I_2 i3 I I1000 I+1 FOI4 i64 X7"), BTreeSet::new());
}
