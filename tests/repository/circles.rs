//! Imports between files have no circle.
//!
//! `tests/repository/architecture.rs` orders the modules; this test reads every path, also those that begin with
//! `super::`. A path to a re-export counts as a path to the file that defines the item. Re-exports and `mod` lines
//! are no imports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::files;

/// A module's path within its crate: `["scope", "session"]`.
type Module = Vec<String>;

struct Source {
    /// The path of the file in the crate.
    file: String,
    /// The code without comments, tests, `mod` lines and re-exports.
    code: String,
    /// The re-exported names, and their paths.
    exported: BTreeMap<String, Vec<String>>,
}

struct Tree(BTreeMap<Module, Source>);

impl Tree {
    fn read(src: &Path) -> Self {
        let sources = files(src).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
        Self(sources.map(|path| Self::source(src, &path)).collect())
    }

    /// A file with the module that it holds.
    fn source(src: &Path, path: &Path) -> (Module, Source) {
        let within = path.strip_prefix(src).expect("it is in src");
        let mut module: Module =
            within.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
            module.pop();
        }
        let text = fs::read_to_string(path).expect("a source file reads");
        (module, Source::new(within.to_string_lossy().into_owned(), &text))
    }

    /// The file that defines the item of a path, as seen from `from`.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<&str> {
        let mut module: Module = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => from.clone(),
            _ => return None,
        };
        let mut rest = &path[1..];
        if path[0] == "super" {
            module.pop()?;
        }
        while let Some(first) = rest.first() {
            if first == "super" {
                module.pop()?;
            } else if self.0.contains_key(&[module.as_slice(), std::slice::from_ref(first)].concat()) {
                module.push(first.clone());
            } else {
                break;
            }
            rest = &rest[1..];
        }
        let source = self.0.get(&module)?;
        match rest.first().and_then(|item| source.exported.get(item)) {
            Some(origin) => self.resolve(&module, origin).or(Some(&source.file)),
            None => Some(&source.file),
        }
    }

    /// The files that each file uses.
    fn edges(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (module, source) in &self.0 {
            let found = edges.entry(&source.file).or_default();
            for path in paths(&source.code) {
                found.extend(self.resolve(module, &path).filter(|file| *file != source.file));
            }
        }
        edges
    }
}

impl Source {
    fn new(file: String, text: &str) -> Self {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let text = lines.collect::<Vec<_>>().join("\n");
        let (mut code, mut exported, mut rest) = (String::new(), BTreeMap::new(), text.as_str());
        // A re-export is a `pub use ..;` or `pub(..) use ..;` statement.
        while let Some(at) = rest.find("pub") {
            let statement = &rest[at..];
            let after = statement["pub".len()..].trim_start();
            let after = match after.strip_prefix('(') {
                Some(inside) => inside.split_once(')').map_or("", |(_, after)| after).trim_start(),
                None => after,
            };
            let starts_a_word = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let Some(tree) = after.strip_prefix("use ").filter(|_| starts_a_word) else {
                code.push_str(&rest[..at + "pub".len()]);
                rest = &rest[at + "pub".len()..];
                continue;
            };
            let (tree, left) = tree.split_once(';').expect("a use statement ends");
            for path in expand(tree) {
                let name = path.last().expect("a path has a name").clone();
                exported.insert(name, path);
            }
            code.push_str(&rest[..at]);
            rest = left;
        }
        code.push_str(rest);
        Self { file, code, exported }
    }
}

/// Every path of the code that begins with `crate`, `self` or `super`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = &code[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') || before.ends_with("::") {
                continue;
            }
            let tree = &code[at..];
            let mut depth = 0_usize;
            let end = tree.find(|c: char| {
                match c {
                    '{' => depth += 1,
                    '}' if depth > 0 => {
                        depth -= 1;
                        return false;
                    }
                    _ => {}
                }
                depth == 0 && !(c.is_alphanumeric() || c == '_' || c == ':' || c == '{')
            });
            found.extend(expand(&tree[..end.unwrap_or(tree.len())]));
        }
    }
    found
}

/// The paths of a use tree.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![
            path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect(),
        ];
    };
    let head: Vec<String> =
        head.split("::").map(|part| part.trim().to_owned()).filter(|p| !p.is_empty()).collect();
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&group[start..]);
    let items = items.into_iter().filter(|item| !item.trim().is_empty());
    items.flat_map(expand).map(|tail| [head.as_slice(), tail.as_slice()].concat()).collect()
}

/// The circles: sets of files that reach each other.
fn circles(edges: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Vec<String>> {
    let reach = |start: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start.to_owned()]);
        while let Some(file) = open.pop() {
            for next in edges.get(file.as_str()).into_iter().flatten() {
                if seen.insert((*next).to_owned()) {
                    open.push((*next).to_owned());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = edges.keys().map(|file| (*file, reach(file))).collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    for (file, seen) in &reached {
        if seen.contains(*file) && !found.iter().flatten().any(|known| known == file) {
            let together =
                seen.iter().filter(|other| reached.get(other.as_str()).is_some_and(|r| r.contains(*file)));
            found.push(together.cloned().collect());
        }
    }
    found
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (src, at_least) in [("src", 200), ("sql/src", 30), ("macros/src", 5)] {
        let tree = Tree::read(&root.join(src));
        let edges = tree.edges();
        let count: usize = edges.values().map(BTreeSet::len).sum();
        assert!(
            count >= at_least,
            "only {count} imports were seen in {src}: the test does not read them any more"
        );
        let found: Vec<String> = circles(&edges)
            .iter()
            .map(|files| {
                let inside = |from: &String| {
                    let to = edges[from.as_str()].iter().filter(|to| files.iter().any(|file| file == *to));
                    format!("  {from} -> {}", to.copied().collect::<Vec<_>>().join(", "))
                };
                format!("a circle in {src}:\n{}", files.iter().map(inside).collect::<Vec<_>>().join("\n"))
            })
            .collect();
        assert!(found.is_empty(), "move what is shared to a file of its own\n{}", found.join("\n"));
    }
}

#[test]
fn a_circle_is_seen() {
    let source = |file: &str, text: &str| Source::new(file.to_owned(), text);
    let module = |path: &[&str]| path.iter().map(|part| (*part).to_owned()).collect::<Module>();
    let tree = Tree(BTreeMap::from([
        (module(&[]), source("lib.rs", "mod a;")),
        (
            module(&["a"]),
            source("a/mod.rs", "mod b;\nmod c;\npub(crate) use self::b::B;\npub use self::c::{C, D as E};"),
        ),
        (module(&["a", "b"]), source("a/b.rs", "use super::{E, c::C};\npub(crate) struct B;")),
        (
            module(&["a", "c"]),
            source("a/c.rs", "fn f(_: crate::a::B) {}\n#[cfg(test)]\nmod tests {\nuse super::super::b;"),
        ),
    ]));
    let edges = tree.edges();
    assert_eq!(edges["a/b.rs"], BTreeSet::from(["a/c.rs", "a/mod.rs"]));
    assert_eq!(edges["a/c.rs"], BTreeSet::from(["a/b.rs"]));
    assert_eq!(circles(&edges), [["a/b.rs", "a/c.rs"]]);
}
