//! [`BundleReader`]: reads a bundle from its first file to its last, and checks it against its manifest.

use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio_tar::{Archive, Entries, Entry};

use super::bundle::{
    FORMAT, HEAD, Head, MANIFEST, MAX_ROW, Manifest, TableHead, TableManifest, json, malformed,
};
use super::export::hex;
use crate::error::{Error, ErrorKind, Result};

/// The largest `bundle.json` and `manifest.json` that are read.
const MAX_JSON: u64 = 16 << 20;
/// After how many bytes a batch of rows is passed on, however few they are.
pub(super) const MAX_BATCH: usize = 8 << 20;

/// A row, or its primary key: the text of each column.
pub(super) type Row = Vec<Option<String>>;

/// Rows as the parameter of a statement.
pub(super) fn array_of(rows: &[Row]) -> String {
    serde_json::to_string(rows).expect("texts are always JSON")
}

/// Reads a bundle from its first file to its last.
pub(super) struct BundleReader<R: AsyncRead + Unpin> {
    archive: Archive<R>,
    entries: Entries<R>,
    read: Vec<TableManifest>,
}

impl<R: AsyncRead + Unpin> BundleReader<R> {
    /// Reads what stands before the rows.
    pub(super) async fn open(reader: R, database: &str) -> Result<(Self, Head)> {
        let mut archive = Archive::new(reader);
        let mut entries = archive.entries().map_err(|e| unreadable(&e))?;
        let entry = next(&mut entries, HEAD).await?;
        let head: Head = json(HEAD, &contents(entry).await?)?;
        if head.format != FORMAT {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the bundle has the format {}, and this program reads {FORMAT}; export the tenant again",
                    head.format
                ),
            ));
        }
        if head.database != database {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the bundle is from {}, and this is {database}; export it from the same kind of database",
                    head.database
                ),
            ));
        }
        Ok((Self { archive, entries, read: Vec::new() }, head))
    }

    /// The rows of the next table.
    pub(super) async fn rows<'a>(&'a mut self, table: &'a TableHead) -> Result<TableRows<'a, R>> {
        let entry = next(&mut self.entries, &table.file).await?;
        let (lines, read) = (BufReader::new(entry), &mut self.read);
        Ok(TableRows { lines, table, read, count: 0, hash: Sha256::new() })
    }

    /// Reads the manifest, and compares it with what was read.
    pub(super) async fn finish(self) -> Result<Manifest> {
        let Self { archive, mut entries, read } = self;
        let entry = next(&mut entries, MANIFEST).await?;
        let manifest: Manifest = json(MANIFEST, &contents(entry).await?)?;
        // Two empty blocks are at the end. Otherwise the pipe of the writer would break.
        if entries.next().await.is_none() {
            drop(entries);
            if let Ok(mut reader) = archive.into_inner() {
                let _ = reader.read_exact(&mut [0; 512]).await;
            }
        }
        if manifest.tables == read {
            return Ok(manifest);
        }
        let other = manifest.tables.iter().zip(&read).find(|(one, other)| one != other);
        let name = other.map_or("its list of tables", |(one, _)| &one.name);
        Err(malformed(format!("its manifest does not match {name}, so it was changed or damaged")))
    }
}

/// The rows of one table of a bundle.
pub(super) struct TableRows<'a, R: AsyncRead + Unpin> {
    lines: BufReader<Entry<Archive<R>>>,
    table: &'a TableHead,
    read: &'a mut Vec<TableManifest>,
    count: u64,
    hash: Sha256,
}

impl<R: AsyncRead + Unpin> TableRows<'_, R> {
    /// The next rows, at most as many as a batch has; `None` at the end of the table.
    pub(super) async fn next_batch(&mut self, batch: usize) -> Result<Option<Vec<Row>>> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < batch && bytes < MAX_BATCH {
            let mut line = Vec::new();
            let mut lines = (&mut self.lines).take(MAX_ROW);
            if lines.read_until(b'\n', &mut line).await.map_err(|e| unreadable(&e))? == 0 {
                break;
            }
            self.hash.update(&line);
            let row: Row = json(&self.table.file, &line)?;
            if row.len() != self.table.columns.len() {
                return Err(malformed(format!(
                    "a row of `{}` has another number of columns",
                    self.table.name
                )));
            }
            bytes += line.len();
            rows.push(row);
        }
        self.count += rows.len() as u64;
        Ok((!rows.is_empty()).then_some(rows))
    }

    /// The number of rows that were read, after the last one.
    pub(super) fn finish(self) -> u64 {
        let Self { table, read, count, hash, .. } = self;
        read.push(TableManifest { name: table.name.clone(), rows: count, sha256: hex(&hash.finalize()) });
        count
    }
}

/// The next file, which must have this name.
async fn next<R: AsyncRead + Unpin>(entries: &mut Entries<R>, name: &str) -> Result<Entry<Archive<R>>> {
    let Some(entry) = entries.next().await else {
        return Err(malformed(format!("`{name}` is missing, so the bundle was cut off")));
    };
    let entry = entry.map_err(|e| unreadable(&e))?;
    let found = entry.path_bytes().map_err(|e| unreadable(&e))?;
    if *found != *name.as_bytes() {
        return Err(malformed(format!("`{name}` is missing, and another file is in its place")));
    }
    Ok(entry)
}

async fn contents<R: AsyncRead + Unpin>(entry: Entry<Archive<R>>) -> Result<Vec<u8>> {
    let mut contents = Vec::new();
    entry.take(MAX_JSON).read_to_end(&mut contents).await.map_err(|e| unreadable(&e))?;
    Ok(contents)
}

fn unreadable(error: &std::io::Error) -> Error {
    malformed("it is no tar archive, or was cut off").with_source(error.to_string())
}
