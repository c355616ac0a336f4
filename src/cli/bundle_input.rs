//! [`BundleInput`]: a bundle that a command reads, from a file or from standard input.

use std::io::IsTerminal as _;
use std::path::Path;
use std::pin::Pin;

use tokio::fs::File;
use tokio::io::AsyncRead;

/// Stands for standard input or standard output, instead of a file.
const STANDARD: &str = "-";

/// Whether a path stands for standard input or standard output.
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new(STANDARD)
}

/// Reads what follows the bundle, so that its writer does not fail at the end of an archive that was read to its manifest.
pub(crate) async fn read_to_end(reader: &mut (impl AsyncRead + Unpin)) {
    // The bundle is complete, so an error changes nothing.
    let _ = tokio::io::copy(reader, &mut tokio::io::sink()).await;
}

/// A bundle that is read once, from its first byte to its last.
pub(crate) struct BundleInput {
    pub(crate) reader: Pin<Box<dyn AsyncRead + Send>>,
    /// How long the bundle is, if it is in a file.
    pub(crate) bytes: Option<u64>,
}

impl BundleInput {
    /// Opens a file, or standard input for `-`.
    pub(crate) async fn open(path: &Path) -> Result<Self, String> {
        if is_standard(path) {
            if std::io::stdin().is_terminal() {
                return Err(
                    "a bundle is not read from a terminal; name a file, or send a bundle to standard input"
                        .to_owned(),
                );
            }
            return Ok(Self { reader: Box::pin(tokio::io::stdin()), bytes: None });
        }
        let unreadable = |e| format!("{}: {e}; name a bundle that `export` wrote", path.display());
        let file = File::open(path).await.map_err(unreadable)?;
        let metadata = file.metadata().await.map_err(unreadable)?;
        Ok(Self { reader: Box::pin(file), bytes: metadata.is_file().then_some(metadata.len()) })
    }
}
