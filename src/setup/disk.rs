//! Reads and writes the files of agents: up to a maximum size, as a whole or not at all, and through
//! symbolic links, which stay links.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::files;
use crate::limits::SETUP_FILE_BYTES_MAX;
use crate::platform::current_uid;

/// The mode of new files and folders, before the umask.
const NEW_FILE: u32 = 0o600;
const NEW_DIR: u32 = 0o700;
/// Its owner may write.
const OWNER_WRITES: u32 = 0o200;

/// A file as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Its path, with links resolved.
    pub real: PathBuf,
    mode: u32,
}

/// Reads a file; `None` if it does not exist.
///
/// # Errors
/// A sentence that says what is wrong with it and what to do.
pub fn read(path: &Path) -> Result<Option<File>, String> {
    let Some(metadata) = metadata(path)? else { return Ok(None) };
    if !metadata.is_file() {
        return Err("it is no regular file".into());
    }
    let found = path
        .canonicalize()
        .and_then(|real| Ok((files::read_bounded(&real, SETUP_FILE_BYTES_MAX)?, real)));
    match found {
        Ok((bytes, real)) => Ok(Some(File { bytes, real, mode: metadata.mode() & 0o7777 })),
        // Someone has removed it since it was checked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            let mib = SETUP_FILE_BYTES_MAX / (1024 * 1024);
            Err(format!("it is larger than {mib} MiB, which no such file is; look at it"))
        }
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}

fn metadata(path: &Path) -> Result<Option<Metadata>, String> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => Err(format!(
                "it is a link to {}, which does not exist; make that file or remove the link",
                target.display()
            )),
            Err(_) => Ok(None),
        },
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err("what should be its folder is a file".into())
        }
        Err(error) => Err(format!("it cannot be looked at: {error}")),
    }
}

/// Checks that a file can be changed, before any file is.
///
/// # Errors
/// A sentence that says why not and what to do.
pub fn check_writable(path: &Path) -> Result<(), String> {
    let Some(metadata) = metadata(path)? else { return Ok(()) };
    let mode = metadata.mode() & 0o7777;
    if mode & OWNER_WRITES == 0 {
        return Err(format!(
            "it is read-only (mode {mode:03o}); allow it (chmod u+w) or add the entry by hand"
        ));
    }
    if metadata.uid() != current_uid() {
        return Err(format!(
            "it belongs to another user (uid {}); run this as that user",
            metadata.uid()
        ));
    }
    Ok(())
}

/// Writes a whole file, either over `old`, keeping its mode, or as a new one, making its folders.
/// Returns the folders that were made, outermost first.
///
/// # Errors
/// A sentence that says what is wrong. The file is as it was then.
pub fn write(path: &Path, old: Option<&File>, bytes: &[u8]) -> Result<Vec<PathBuf>, String> {
    let failed = |error: io::Error| format!("it cannot be written: {error}");
    check_writable(path)?;
    let new_dirs = match path.parent().filter(|_| old.is_none()) {
        Some(dir) => make_dirs(dir)
            .map_err(|error| format!("its folder {} cannot be made: {error}", dir.display()))?,
        None => Vec::new(),
    };
    let place = old.map_or(path, |old| &old.real);
    let mode = old.map_or(NEW_FILE, |old| old.mode);
    files::replace(place, bytes, mode).map_err(failed)?;
    Ok(new_dirs)
}

/// Makes a folder and those above it; gives those that were not there, outermost first.
fn make_dirs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = dir.ancestors().take_while(|dir| !dir.exists()).map(Path::to_owned);
    let mut missing: Vec<PathBuf> = missing.collect();
    missing.reverse();
    DirBuilder::new().recursive(true).mode(NEW_DIR).create(dir)?;
    Ok(missing)
}

/// Removes a file.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn remove(path: &Path) -> Result<(), String> {
    check_writable(path)?;
    files::remove(path).map_err(|error| format!("it cannot be removed: {error}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::TempDir;

    #[test]
    fn a_file_that_someone_removes_meanwhile_is_read_or_is_not_there() {
        let temp = TempDir::new();
        let path = temp.path().join("hooks.json");
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                for _ in 0..2000 {
                    files::replace(&path, b"{}", NEW_FILE).unwrap();
                    remove(&path).unwrap();
                }
            });
            while !other.is_finished() {
                let file = read(&path).unwrap();
                assert!(file.is_none_or(|file| file.bytes == b"{}"));
            }
        });
    }
}
