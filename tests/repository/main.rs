//! The repository's own rules: its module map, its tables of attacks and leaks, and its servers.

#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/mysql.rs"]
mod mysql;

use std::path::{Path, PathBuf};

mod architecture;
mod attacks;
mod billing_failures;
mod binaries;
mod circles;
mod citus;
mod contributing;
mod dashboard;
mod leak_list;
mod links;
mod quota_failures;
mod readme;
mod servers;

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("the directory reads").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}
