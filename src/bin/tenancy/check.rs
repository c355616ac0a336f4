//! `tenancy sql check`: what each query becomes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tenancy_sql::{Bind, Dialect, Rewritten, TableSpec, rewrite, statements};

use super::config::{Config, Configs};
use super::source::{Found, Sql, queries};

pub(crate) fn run(paths: &[PathBuf], configs: Configs, quiet: bool) -> Result<ExitCode, String> {
    let mut files = BTreeSet::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        return Err("there is no Rust file there; name a directory of sources, or a file".to_owned());
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
    let fault = |e: std::io::Error| format!("{}: {e}", path.display());
    if !std::fs::metadata(path).map_err(fault)?.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let (kind, name) = (entry.file_type().map_err(fault)?, entry.file_name());
        // Cargo's own stands beside a Cargo.toml; a module can have the name as well.
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

#[derive(Default)]
struct Counts {
    scoped: usize,
    shared: usize,
    rejected: usize,
    computed: usize,
    broken: usize,
}

struct Report {
    configs: Configs,
    quiet: bool,
    text: String,
    counts: Counts,
    /// Whether a file was read without a `tenancy.toml`.
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
        self.without |= config.path.is_none();
        if file.extension().is_some_and(|ext| ext == "sql") {
            return self.sql_file(file, &source, &config);
        }
        match queries(&source) {
            Ok(found) => found.iter().for_each(|query| self.query(file, query, &config)),
            Err(e) => self.broken(&format!("{}:{e}", file.display())),
        }
    }

    fn query(&mut self, file: &Path, Found { line, column, sql }: &Found, config: &Config) {
        let place = format!("{}:{line}:{column}", file.display());
        match sql {
            Sql::Text(sql) => self.statement(&place, sql, config),
            Sql::File(name) => {
                // As sqlx does: relative to the package.
                let package = file.canonicalize().ok().and_then(|file| {
                    file.ancestors().find(|dir| dir.join("Cargo.toml").is_file()).map(Path::to_owned)
                });
                let path = package.unwrap_or_default().join(name);
                match std::fs::read_to_string(&path) {
                    Ok(sql) => self.statement(&place, sql.trim_end().trim_end_matches(';'), config),
                    Err(e) => self.broken(&format!("{place}: {name}: {e}")),
                }
            }
            Sql::Table(name) => self.table(&place, name),
            Sql::Started(start) => self.computed(&place, &format!("begins with `{}`", start.trim())),
            Sql::Computed => self.computed(&place, "no literal"),
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
        for dialect in &config.dialects {
            match rewrite(*dialect, sql, &config.schema) {
                Ok(rewritten) => texts.push((*dialect, rewritten)),
                Err(rejected) => {
                    self.counts.rejected += 1;
                    let on =
                        if config.dialects.len() > 1 { format!(" on {dialect:?}") } else { String::new() };
                    self.say(&format!("{place}: rejected{on}"), &rejected.to_string());
                    return;
                }
            }
        }
        let scoped = texts.iter().any(|(_, rewritten)| rewritten.binds().contains(&Bind::Tenant));
        let verdict = match (scoped, texts.iter().all(|(_, rewritten)| rewritten.tables().is_empty())) {
            (true, _) => "scoped",
            (false, false) => "shared tables only",
            (false, true) => "no table",
        };
        *(if scoped { &mut self.counts.scoped } else { &mut self.counts.shared }) += 1;
        if self.quiet {
            return;
        }
        let same = texts.iter().all(|(_, rewritten)| rewritten.text() == texts[0].1.text());
        let shown = if same { &texts[..1] } else { &texts[..] };
        let lines: Vec<String> = shown
            .iter()
            .map(|(dialect, rewritten)| {
                let text = rewritten.text();
                if same { text.to_owned() } else { format!("{dialect:?}: {text}") }
            })
            .collect();
        self.say(&format!("{place}: {verdict}"), &lines.join("\n"));
    }

    /// The table of a struct is no query; a name that the derive rejects is reported as a query that is.
    fn table(&mut self, place: &str, name: &str) {
        if let Err(rejection) = TableSpec::new(name, "tenant_id", "id", [""; 0]) {
            self.counts.rejected += 1;
            self.say(&format!("{place}: rejected"), &rejection.to_string());
        }
    }

    fn computed(&mut self, place: &str, what: &str) {
        self.counts.computed += 1;
        let why = format!("made while the program runs ({what}); on `&scope` or `&mut tx` it is proven then");
        self.say(&format!("{place}: not read"), &why);
    }

    fn broken(&mut self, what: &str) {
        self.counts.broken += 1;
        self.say(what, "");
    }

    fn say(&mut self, title: &str, text: &str) {
        // A String takes whatever is written to it.
        let _ = writeln!(self.text, "{title}");
        for line in text.lines() {
            let _ = writeln!(self.text, "    {line}");
        }
    }

    fn end(&mut self) {
        let Counts { scoped, shared, rejected, computed, broken } = self.counts;
        let all = scoped + shared + rejected + computed;
        let mut text = format!(
            "{all} queries: {scoped} scoped, {shared} on shared tables, {rejected} rejected, {computed} not read"
        );
        if broken > 0 {
            let _ = write!(text, "; {broken} files could not be read");
        }
        if self.without {
            text +=
                "\nno tenancy.toml was found for some: every table was taken for a tenant's, by `tenant_id`";
        }
        self.say(&text, "");
    }
}

pub(crate) fn show(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads has seen enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|e| format!("the report cannot be written: {e}")),
    }
}
