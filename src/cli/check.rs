//! `tenancy sql check`: shows the rewritten text of each query, or its rejection.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tenancy_sql::{Bind, Dialect, Rewritten, TableSpec, rewrite, statements};

use super::config::{Config, Configs};
use super::output::show;
use super::source::{FoundQuery, QueryText, queries};

pub(crate) fn run(paths: &[PathBuf], configs: Configs, quiet: bool) -> Result<ExitCode, String> {
    let mut files = BTreeSet::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        return Err("no Rust file found; name a directory of sources, or a file".to_owned());
    }
    let mut report =
        Report { configs, quiet, text: String::new(), counts: Counts::default(), without: false };
    for file in &files {
        report.file(file);
        show(&std::mem::take(&mut report.text))?;
    }
    report.end();
    show(&std::mem::take(&mut report.text))?;
    let Counts { rejected, broken, .. } = report.counts;
    Ok(match (broken, rejected) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(1),
        _ => ExitCode::from(2),
    })
}

/// The Rust files below a directory, or the file itself.
fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (kind, name) = (entry.file_type().map_err(failed)?, entry.file_name());
        // Cargo's directory `target` is beside a Cargo.toml; a module can have this name too.
        let built = name == "target" && path.join("Cargo.toml").is_file();
        let hidden = name.to_string_lossy().starts_with('.') || built || name == "node_modules";
        if kind.is_dir() && !hidden {
            collect(&entry.path(), files)?;
        } else if kind.is_file() && entry.path().extension().is_some_and(|ext| ext == "rs") {
            files.insert(entry.path());
        }
    }
    Ok(())
}

/// The number of queries by their result.
#[derive(Default)]
struct Counts {
    scoped: usize,
    shared: usize,
    rejected: usize,
    computed: usize,
    /// The accepted queries with a table that the snapshot does not list.
    unknown: usize,
    broken: usize,
}

/// The report so far, and the configurations of its files.
struct Report {
    configs: Configs,
    quiet: bool,
    text: String,
    counts: Counts,
    /// Whether any file has no `tenancy.toml`.
    without: bool,
}

impl Report {
    fn file(&mut self, file: &Path) {
        let read = std::fs::read_to_string(file).map_err(|e| e.to_string());
        let config = self.configs.of(file);
        let (source, config) = match (read, config) {
            (Ok(source), Ok(config)) => (source, config),
            (Err(e), _) | (_, Err(e)) => return self.broken(&format!("{}: {e}", file.display())),
        };
        self.without |= !config.is_declared;
        if file.extension().is_some_and(|ext| ext == "sql") {
            return self.sql_file(file, &source, &config);
        }
        match queries(&source, file.parent().unwrap_or(Path::new(""))) {
            Ok(found) => found.iter().for_each(|query| self.query(file, query, &config)),
            Err(e) => self.broken(&format!("{}:{e}", file.display())),
        }
    }

    fn query(&mut self, file: &Path, FoundQuery { line, column, sql }: &FoundQuery, config: &Config) {
        let place = format!("{}:{line}:{column}", file.display());
        match sql {
            QueryText::Text(sql) => self.statement(&place, sql, config),
            QueryText::File(name) => {
                // Relative to the package, as in sqlx.
                let package = file.canonicalize().ok().and_then(|file| {
                    file.ancestors().find(|dir| dir.join("Cargo.toml").is_file()).map(Path::to_owned)
                });
                let path = package.unwrap_or_default().join(name);
                match std::fs::read_to_string(&path) {
                    Ok(sql) => self.statement(&place, sql.trim_end().trim_end_matches(';'), config),
                    Err(e) => self.broken(&format!("{place}: {name}: {e}")),
                }
            }
            QueryText::Missing(why) => self.broken(&format!("{place}: {why}")),
            QueryText::Table(name) => self.table(&place, name),
            QueryText::Started(start) => self.computed(&place, &format!("begins with `{}`", start.trim())),
            QueryText::Computed => self.computed(&place, "not a literal"),
        }
    }

    fn sql_file(&mut self, file: &Path, source: &str, config: &Config) {
        match statements(config.dialects[0], source) {
            Ok(all) => {
                for (line, sql) in all {
                    self.statement(&format!("{}:{line}", file.display()), sql, config);
                }
            }
            Err(rejected) => self.broken(&format!("{}: {rejected}", file.display())),
        }
    }

    fn statement(&mut self, place: &str, sql: &str, config: &Config) {
        let mut texts: Vec<(Dialect, Rewritten)> = Vec::new();
        let mut rejections: Vec<(Vec<String>, String)> = Vec::new();
        for dialect in &config.dialects {
            match rewrite(*dialect, sql, &config.schema) {
                Ok(rewritten) => texts.push((*dialect, rewritten)),
                Err(rejected) => {
                    let text = rejected.to_string();
                    match rejections.iter_mut().find(|(_, other)| *other == text) {
                        Some((dialects, _)) => dialects.push(format!("{dialect:?}")),
                        None => rejections.push((vec![format!("{dialect:?}")], text)),
                    }
                }
            }
        }
        if !rejections.is_empty() {
            self.counts.rejected += 1;
            for (dialects, text) in &rejections {
                let on = if config.dialects.len() > 1 {
                    format!(" on {}", dialects.join(" and "))
                } else {
                    String::new()
                };
                self.write(&format!("{place}: rejected{on}"), text);
            }
            return;
        }
        let scoped = texts.iter().any(|(_, rewritten)| rewritten.binds().contains(&Bind::Tenant));
        let outcome = match (scoped, texts.iter().all(|(_, rewritten)| rewritten.tables().is_empty())) {
            (true, _) => "scoped",
            (false, false) => "shared tables only",
            (false, true) => "no table",
        };
        *(if scoped { &mut self.counts.scoped } else { &mut self.counts.shared }) += 1;
        let unknown = unknown_tables(&texts, config);
        self.counts.unknown += usize::from(!unknown.is_empty());
        let note = unknown.iter().map(|table| format!("not in the snapshot: `{table}`")).collect::<Vec<_>>();
        if self.quiet && unknown.is_empty() {
            return;
        }
        let same = texts.iter().all(|(_, rewritten)| rewritten.text() == texts[0].1.text());
        let shown = if same { &texts[..1] } else { &texts[..] };
        let lines = shown
            .iter()
            .map(|(dialect, rewritten)| {
                let text = rewritten.text();
                if same { text.to_owned() } else { format!("{dialect:?}: {text}") }
            })
            .chain(note)
            .collect::<Vec<_>>();
        self.write(&format!("{place}: {outcome}"), &lines.join("\n"));
    }

    /// Checks the table name of a struct. A name that the derive rejects counts as a rejected query.
    fn table(&mut self, place: &str, name: &str) {
        if let Err(rejection) = TableSpec::new(name, "tenant_id", "id", [""; 0]) {
            self.counts.rejected += 1;
            self.write(&format!("{place}: rejected"), &rejection.to_string());
        }
    }

    fn computed(&mut self, place: &str, what: &str) {
        self.counts.computed += 1;
        let why = format!("built at run time ({what}); an executor of `&scope` or `&mut tx` proves it then");
        self.write(&format!("{place}: not read"), &why);
    }

    fn broken(&mut self, what: &str) {
        self.counts.broken += 1;
        self.write(what, "");
    }

    fn write(&mut self, title: &str, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{title}");
        for line in text.lines() {
            let _ = writeln!(self.text, "    {line}");
        }
    }

    fn end(&mut self) {
        let Counts { scoped, shared, rejected, computed, unknown, broken } = self.counts;
        let all = scoped + shared + rejected + computed;
        let mut text = format!(
            "{all} queries: {scoped} scoped, {shared} without tenant tables, {rejected} rejected, {computed} not read"
        );
        if broken > 0 {
            let _ = write!(text, "; {broken} files could not be read");
        }
        if unknown > 0 {
            let _ = write!(
                text,
                "\n{unknown} accepted queries use tables that are not in the snapshot: correct the names, or write \
                 the snapshot again with `tenancy sql snapshot`"
            );
        }
        if self.without {
            text += "\nno tenancy.toml was found for some files: all of their tables were treated as tenant tables with the column `tenant_id`";
        }
        self.write(&text, "");
    }
}

/// The tables of a query that the snapshot of the database does not list.
fn unknown_tables<'a>(texts: &'a [(Dialect, Rewritten)], config: &Config) -> BTreeSet<&'a str> {
    let tables =
        texts.iter().flat_map(|(dialect, text)| text.tables().iter().map(move |table| (*dialect, table)));
    tables
        .filter(|(dialect, table)| config.schema.is_unknown(*dialect, table))
        .map(|(_, table)| &**table)
        .collect()
}
