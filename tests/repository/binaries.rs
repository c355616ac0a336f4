//! Every test file is compiled: cargo finds only `tests/<binary>/main.rs` without a `mod` line.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of a directory: its files, and its directories with a `mod.rs`.
fn modules(dir: &Path) -> Vec<String> {
    let name = |path: PathBuf| {
        let is_module = if path.is_dir() {
            path.join("mod.rs").is_file()
        } else {
            path.extension().is_some_and(|ext| ext == "rs")
        };
        is_module.then(|| path.file_stem().expect("it has a name").to_string_lossy().into_owned())
    };
    let entries = fs::read_dir(dir).expect("the directory reads");
    entries.filter_map(|entry| name(entry.expect("the entry reads").path())).collect()
}

#[test]
fn every_file_of_tests_is_a_module_of_its_binary() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let (mut named, mut mains) = (0, String::new());
    for entry in fs::read_dir(&tests).expect("there are tests") {
        let dir = entry.expect("the entry reads").path();
        assert!(dir.is_dir(), "{} belongs to a binary: put it into a directory", dir.display());
        if dir.ends_with("fixture") {
            continue;
        }
        let main = fs::read_to_string(dir.join("main.rs")).expect("each directory but `fixture` is a binary");
        for module in modules(&dir).into_iter().filter(|module| module != "main") {
            assert!(main.contains(&format!("\nmod {module};\n")), "{}: write `mod {module};`", dir.display());
            named += 1;
        }
        mains += &main;
    }
    assert!(named > 70, "only {named} modules were found");
    for module in modules(&tests.join("fixture")) {
        assert!(mains.contains(&format!("\nmod {module};\n")), "no binary takes in fixture/{module}");
    }
}
