//! Every link of the documents to a file of this repository finds it.

use std::path::{Component, Path, PathBuf};

use crate::files;

const ON_GITHUB: [&str; 2] = [
    "https://github.com/tenancy-rs/tenancy/blob/main/",
    "https://raw.githubusercontent.com/tenancy-rs/tenancy/main/",
];

/// What follows each `](` of a text, and each `src="`, up to its end.
fn targets(text: &str) -> Vec<&str> {
    let ends = [("](", ')'), ("src=\"", '"')];
    let after = |(start, end): (&'static str, char)| {
        text.split(start).skip(1).filter_map(move |rest| rest.split(end).next())
    };
    ends.into_iter().flat_map(after).collect()
}

/// The file of this repository that a link of `page` names.
fn local(root: &Path, page: &Path, target: &str) -> Option<PathBuf> {
    let path = target.split(['#', ' ']).next().unwrap_or_default();
    if let Some(path) = ON_GITHUB.iter().find_map(|base| path.strip_prefix(base)) {
        return Some(root.join(path));
    }
    let is_path = !path.is_empty() && !path.contains(':') && path.contains('.');
    is_path.then(|| page.parent().expect("a page is in a folder").join(path))
}

/// Without `..`, so that a path through a folder that is not there is no path.
fn normal(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                found.pop();
            }
            part => found.push(part),
        }
    }
    found
}

#[test]
fn each_link_to_a_file_of_the_repository_finds_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = files(&root.join("docs"));
    pages.extend(
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md"]
            .map(|page| root.join(page)),
    );
    let (mut checked, mut missing) = (0, Vec::new());
    for page in pages.iter().filter(|page| page.extension().is_some_and(|ext| ext == "md")) {
        let text = std::fs::read_to_string(page).expect("a page reads");
        // Code holds brackets of its own.
        let prose: String = text.split("```").step_by(2).collect();
        for target in targets(&prose) {
            if let Some(file) = local(root, page, target) {
                checked += 1;
                if !normal(&file).exists() {
                    missing.push(format!("{} links {target}", page.display()));
                }
            }
        }
    }
    assert!(checked > 60, "only {checked} links were seen");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
