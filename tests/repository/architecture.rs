//! Imports between modules go down the module map of `docs/explanation/architecture.md` only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::files;

/// Each module may use the modules above it, and no other.
const MAP: [&str; 21] = [
    "clock",
    "error",
    "signed",
    "plan",
    "tenant",
    "context",
    "namespace",
    "audit",
    "database",
    "isolation",
    "scope",
    "resolve",
    "quota",
    "billing",
    "store",
    "placement",
    "operations",
    "web",
    "testing",
    "cli",
    "bin",
];

/// The re-exports of the root, with their modules.
const ROOT: [(&str, &str); 7] = [
    ("Error", "error"),
    ("ErrorKind", "error"),
    ("PlanDenial", "error"),
    ("Result", "error"),
    ("TenantContext", "context"),
    ("TenantDb", "scope"),
    ("TenantScoped", "scope"),
];

fn rank(module: &str) -> usize {
    MAP.iter().position(|known| *known == module).unwrap_or_else(|| {
        panic!("`{module}` is not in the module map: add it to tests/repository/architecture.rs and docs/explanation/architecture.md")
    })
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs")).collect()
}

/// The file without comments, because a link in a comment is no import.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file reads");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules of the crate that a file names; a re-export counts as its module.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` in a macro means the same, and `other_crate::` something else.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        assert!(!rest.starts_with('{'), "write `use crate::module::..`, one line for each module");
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let module = ROOT.iter().find(|(name, _)| *name == word).map_or(word.as_str(), |(_, module)| module);
        found.insert(module.to_owned());
    }
    found
}

#[test]
fn imports_go_down_the_map_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&src);
    assert!(files.len() > 25, "only {} source files were found", files.len());
    let mut edges = 0;
    let mut faults = Vec::new();
    for file in files {
        let within = file.strip_prefix(&src).expect("the file is in src");
        let first = within.components().next().expect("a path has a part").as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        for import in imports(&code(&file)) {
            edges += 1;
            if import != module && rank(&import) >= rank(module) {
                faults
                    .push(format!("{} imports `{import}`, which stands below `{module}`", within.display()));
            }
        }
    }
    assert!(edges > 60, "only {edges} imports were seen: the test does not read them any more");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_implementations_of_a_store_do_not_know_each_other() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let all = ["memory", "cached", "sql"];
    let files = sources(&store);
    for file in files.iter().filter(|file| **file != store.join("mod.rs")) {
        let own = file.strip_prefix(&store).expect("the file is in store").to_string_lossy().into_owned();
        let code = code(file);
        for other in all.iter().filter(|name| !own.starts_with(**name)) {
            assert!(!code.contains(&format!("super::{other}")), "src/store/{own} imports {other}");
            assert!(!code.contains(&format!("store::{other}")), "src/store/{own} imports {other}");
        }
    }
    assert!(files.len() > 4, "the stores were not found");
}

#[test]
fn the_test_sees_an_import_that_goes_up() {
    assert_eq!(
        imports("use crate::web::Problem;\nuse crate::Error;"),
        ["error", "web"].map(str::to_owned).into()
    );
    assert_eq!(imports("other_crate::web"), BTreeSet::new());
    assert!(rank("tenant") < rank("web"));
}

/// The packages of the example.
const EXAMPLES: [&str; 3] = ["saas", "saas-actix", "saas-axum"];

#[test]
fn the_packages_of_the_example_have_one_set_of_lints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let rules =
        EXAMPLES.map(|name| fs::read_to_string(root.join(name).join("clippy.toml")).expect("it has lints"));
    assert!(rules[0].contains("sqlx::PgPool"), "{}", rules[0]);
    assert!(rules.iter().all(|one| *one == rules[0]), "copy examples/saas-axum/clippy.toml to the others");
}

/// A longer file is split by word.
const LONGEST: usize = 400;

#[test]
fn each_file_is_short_and_says_what_is_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let examples = EXAMPLES.map(|name| format!("examples/{name}/src"));
    for dir in ["src", "sql/src", "macros/src"].map(str::to_owned).into_iter().chain(examples) {
        files.extend(sources(&root.join(dir)));
    }
    assert!(files.len() > 200, "only {} source files were found", files.len());
    let mut faults = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file reads");
        let lines = text.lines().count();
        if lines > LONGEST {
            faults.push(format!("{} has {lines} lines; split it by word", file.display()));
        }
        // The root's documentation is the README.
        if !text.starts_with("//! ") && !text.starts_with("#![doc = include_str!") {
            faults
                .push(format!("{} does not begin with a `//!` line that says what is in it", file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
