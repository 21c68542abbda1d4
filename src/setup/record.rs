//! A record of what `setup` has changed, with the former contents of each file, so that they can be
//! restored.
//!
//! The record is in the data directory, together with a copy of each file. The copies may contain
//! secrets, as the files of agents may, so they are just as private.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::plan::Memory;
use crate::files;
use crate::limits::{SETUP_FILE_BYTES_MAX, SETUP_RECORD_BYTES_MAX};
use crate::model::hex;
use crate::platform;

/// What was done to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// It was not there before.
    pub absent: bool,
    /// The name of the copy of what it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// SHA-256 of what was written, in hexadecimal.
    pub after: String,
    /// What is needed if someone has changed the file since.
    #[serde(flatten)]
    pub memory: Memory,
    /// Folders that were made for it, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<PathBuf>,
}

/// All changed files, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    dir: PathBuf,
    files: BTreeMap<PathBuf, Entry>,
}

/// How often opening the record's directory is tried if others keep removing it.
const TRIES_MAX: u32 = 1000;

/// The exclusive right to change the record and the files in it. Others wait until it is dropped.
#[derive(Debug)]
pub struct Turn {
    dir: PathBuf,
    _lock: Option<File>,
}

impl Turn {
    /// Takes the turn for the record in `dir`. Do not wait for a person while holding it.
    ///
    /// # Errors
    /// The directory cannot be made.
    fn take(dir: &Path) -> io::Result<Self> {
        let mut tries = TRIES_MAX;
        loop {
            let lock = match make_private(dir).and_then(|()| platform::lock_dir(dir)) {
                // Whoever had the turn has just removed it, while we were making or opening it.
                Err(error) if is_gone(&error) && tries > 0 => {
                    tries -= 1;
                    continue;
                }
                lock => lock?,
            };
            let place = |metadata: Metadata| (metadata.dev(), metadata.ino());
            let locked = lock.as_ref().map(File::metadata).transpose()?.map(place);
            // Whoever had it before may have removed the directory that was locked.
            if locked.is_none() || locked == dir.metadata().ok().map(place) {
                return Ok(Self { dir: dir.to_owned(), _lock: lock });
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Removes the directory if it is empty, while the lock is still held.
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// The record as it is stored.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    files: BTreeMap<PathBuf, Entry>,
}

/// The version of the stored form.
const VERSION: u32 = 1;

impl Record {
    /// Reads the record in `dir`; an empty one if there is none.
    ///
    /// # Errors
    /// It cannot be read; the text says what to do.
    pub fn load(dir: PathBuf) -> Result<Self, String> {
        let path = dir.join("record.json");
        let bytes = match files::read_bounded(&path, SETUP_RECORD_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { dir, files: BTreeMap::new() });
            }
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let written: Written = serde_json::from_slice(&bytes).map_err(|error| {
            format!(
                "{} cannot be read ({error}); move it away, and setup goes on without a memory \
                 of what it has changed",
                path.display()
            )
        })?;
        if written.version != VERSION {
            return Err(format!("{} was written by a newer slm-mesh; use that", path.display()));
        }
        Ok(Self { dir, files: written.files })
    }

    /// Waits for everyone else who changes the record, and reads it anew.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn take_turn(&mut self) -> Result<Turn, String> {
        let turn = Turn::take(&self.dir)
            .map_err(|error| format!("cannot make {}: {error}", self.dir.display()))?;
        *self = Self::load(self.dir.clone())?;
        Ok(turn)
    }

    /// What was done to `path`.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.files.get(path)
    }

    /// The copy of what `path` was.
    #[must_use]
    pub fn backup(&self, path: &Path) -> Option<Vec<u8>> {
        let name = self.get(path)?.backup.as_ref()?;
        files::read_bounded(&self.dir.join(name), SETUP_FILE_BYTES_MAX).ok()
    }

    /// Where the copies are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps a copy of the former contents of `path`, and returns its name.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = hash(path.as_os_str().as_encoded_bytes());
        let name = format!("{}-{name}", place.get(..16).unwrap_or_default());
        make_private(&self.dir)?;
        files::write_private(&self.dir.join(&name), bytes)?;
        Ok(name)
    }

    /// Remembers what was done to `path`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set(&mut self, path: &Path, entry: Entry) -> io::Result<()> {
        self.files.insert(path.to_owned(), entry);
        self.save()
    }

    /// Forgets `path` and its copy, and removes a record that has become empty.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn forget(&mut self, path: &Path) -> io::Result<()> {
        let Some(entry) = self.files.remove(path) else { return Ok(()) };
        if let Some(name) = entry.backup {
            // A leftover copy does no harm.
            let _ = std::fs::remove_file(self.dir.join(name));
        }
        if !self.files.is_empty() {
            return self.save();
        }
        std::fs::remove_file(self.dir.join("record.json"))
    }

    fn save(&self) -> io::Result<()> {
        make_private(&self.dir)?;
        let written = Written { version: VERSION, files: self.files.clone() };
        let bytes = serde_json::to_vec(&written)?;
        files::write_private(&self.dir.join("record.json"), &bytes)
    }
}

/// Whether an error means that someone else has removed the directory in the meantime.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
}

fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::TempDir;

    #[test]
    fn what_was_remembered_is_read_again_and_forgotten() {
        let temp = TempDir::new();
        let dir = temp.path().join("setup");
        let path = Path::new("/home/a/.x.json");
        let mut record = Record::load(dir.clone()).unwrap();
        assert!(record.get(path).is_none());
        let backup = record.keep(path, b"before").unwrap();
        let memory = Memory { made: vec![vec!["a".into()]], ..Memory::default() };
        let entry = Entry { backup: Some(backup), after: hash(b"x"), memory, ..Entry::default() };
        record.set(path, entry.clone()).unwrap();
        let mut record = Record::load(dir.clone()).unwrap();
        assert_eq!(record.get(path), Some(&entry));
        assert_eq!(record.backup(path).unwrap(), b"before");
        let turn = record.take_turn().unwrap();
        record.forget(path).unwrap();
        drop(turn);
        assert!(!dir.exists());
        assert_eq!(Record::load(dir).unwrap().get(path), None);
    }

    #[test]
    fn whoever_has_the_turn_is_waited_for_and_has_written_all() {
        let temp = TempDir::new();
        let dir = temp.path().join("setup");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let dir = &dir;
                scope.spawn(move || {
                    let mut record = Record::load(dir.clone()).unwrap();
                    for round in 0..20 {
                        let path = PathBuf::from(format!("/{n}"));
                        let _turn = record.take_turn().unwrap();
                        record.set(&path, Entry::default()).unwrap();
                        // The last one out removes the directory, and the next makes it anew.
                        if round < 19 {
                            record.forget(&path).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(Record::load(dir).unwrap().files.len(), 8);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_taken_for_none() {
        let temp = TempDir::new();
        let path = temp.path().join("record.json");
        for (text, word) in [("{", "move it away"), ("{\"version\":2,\"files\":{}}", "newer")] {
            std::fs::write(&path, text).unwrap();
            assert!(Record::load(temp.path().to_owned()).unwrap_err().contains(word), "{text}");
        }
    }
}
