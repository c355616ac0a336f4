//! [`Configuration`]: `tenancy.toml` and the snapshot that it names, read while a crate is compiled.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tenancy_sql::Schema;

/// The schema, and the files that it was read from.
pub(crate) struct Configuration {
    pub(crate) schema: Schema,
    /// The text of each file, by its path.
    pub(crate) files: Vec<(String, String)>,
}

/// Reads the `tenancy.toml` beside the `Cargo.toml` of the crate that is compiled, or above it.
pub(crate) fn configuration() -> Result<Arc<Configuration>, String> {
    static LAST: Mutex<Option<Arc<Configuration>>> = Mutex::new(None);

    let start = std::env::var("CARGO_MANIFEST_DIR").map_err(|_| "compile with cargo".to_owned())?;
    let path: PathBuf = Path::new(&start)
        .ancestors()
        .map(|dir| dir.join("tenancy.toml"))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            format!(
                "there is no tenancy.toml in {start} or above\n\
                 help: write one beside Cargo.toml: dialects = [\"postgres\"]"
            )
        })?;
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    // The files are unchanged since the previous query of the same crate.
    let unchanged = |known: &&Arc<Configuration>| {
        Path::new(&known.files[0].0) == path
            && known
                .files
                .iter()
                .all(|(path, text)| std::fs::read_to_string(path).is_ok_and(|now| now == *text))
    };
    if let Some(known) = last.as_ref().filter(unchanged) {
        return Ok(known.clone());
    }
    let mut files = Vec::new();
    let mut read = |path: &Path| {
        let text = std::fs::read_to_string(path)?;
        files.push((path.display().to_string(), text.clone()));
        Ok(text)
    };
    let text = read(&path).map_err(|e: std::io::Error| format!("{} cannot be read: {e}", path.display()))?;
    let schema = Schema::from_toml(&text)
        .and_then(|schema| schema.with_named_snapshot(|file| read(&path.with_file_name(file))))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    let configuration = Arc::new(Configuration { schema, files });
    *last = Some(configuration.clone());
    Ok(configuration)
}
