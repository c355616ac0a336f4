//! [`NewFile`]: a file that gets its name when it is complete, and that only its owner may read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A new file. Until [`publish`](Self::publish) it is `FILE.part`, which is removed when the value is dropped.
pub(crate) struct NewFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
}

impl NewFile {
    /// Creates `FILE.part`. Neither this file nor `FILE` may exist.
    pub(crate) fn create(path: &Path) -> Result<Self, String> {
        if path.symlink_metadata().is_ok() {
            return Err(format!("{}: the file exists; name a file that does not exist", path.display()));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = options().open(&part).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => format!(
                "{}: another run writes the file, or was ended; remove the file if none runs",
                part.display()
            ),
            _ => format!("{}: {e}; name a file in a directory that exists", part.display()),
        })?;
        Ok(Self { path: path.to_owned(), part, file })
    }

    /// The open file, to write to.
    pub(crate) fn file(&self) -> Result<File, String> {
        self.file.try_clone().map_err(|e| self.unwritten(&e))
    }

    /// Gives the file its name. It replaces no other file.
    pub(crate) fn publish(self) -> Result<(), String> {
        let linked = self.file.sync_all().and_then(|()| match fs::hard_link(&self.part, &self.path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(e),
            // The file system has no hard links.
            Err(_) if self.path.symlink_metadata().is_err() => fs::rename(&self.part, &self.path),
            linked => linked,
        });
        linked.map_err(|e| self.unwritten(&e))
    }

    pub(crate) fn unwritten(&self, error: &io::Error) -> String {
        format!("{}: the file cannot be written: {error}", self.path.display())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After a rename there is no such file.
        let _ = fs::remove_file(&self.part);
    }
}

/// Opens a new file, which only its owner may read.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_gets_its_name_at_the_end_and_replaces_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (path, part) = (dir.path().join("a"), dir.path().join("a.part"));
        let file = NewFile::create(&path).unwrap();
        file.file().unwrap().write_all(b"rows").unwrap();
        assert!(part.exists() && !path.exists());
        let Err(error) = NewFile::create(&path) else { panic!("two runs write one file") };
        assert!(error.contains("a.part: another run writes the file"), "{error}");
        file.publish().unwrap();
        assert!(!part.exists());
        assert_eq!(fs::read(&path).unwrap(), b"rows");
        let Err(error) = NewFile::create(&path) else { panic!("the file exists") };
        assert!(error.contains("name a file that does not exist"), "{error}");

        // Another program was faster.
        let other = dir.path().join("b");
        let file = NewFile::create(&other).unwrap();
        fs::write(&other, "theirs").unwrap();
        assert!(file.publish().unwrap_err().contains("cannot be written"));
        assert_eq!(fs::read(&other).unwrap(), b"theirs");

        // What is not complete leaves nothing.
        let third = dir.path().join("c");
        drop(NewFile::create(&third).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        NewFile::create(&path).unwrap().publish().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
