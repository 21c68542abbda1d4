//! The journal beside a database.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::log::{self, Found};
use super::{FOREIGN, Ground as _, Journaled, Medium, SEQ_MARGIN, look};
use crate::config::Durability;
use crate::files::open_regular;
use crate::model::Seq;
use crate::store::sqlite::{
    OpenError, Options, SqliteStore, Tell, aside_of_damaged, journal_of, place_aside,
};
use crate::store::{Result, Store, StoreError};

/// What the broker has.
pub type JournaledSqlite = Journaled<SqliteStore, JournalFile>;

/// A journal in a file.
#[derive(Debug)]
pub struct JournalFile {
    file: File,
    path: PathBuf,
}

impl JournalFile {
    /// Opens it, or makes it. With `sync` its name is on the disk, too.
    fn open(path: &Path, sync: bool) -> io::Result<Self> {
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = open_regular(path, options, OFlags::empty())?;
        if file.metadata()?.permissions().mode() & 0o777 != 0o600 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        if sync
            && is_new
            && let Some(dir) = path.parent()
        {
            File::open(dir)?.sync_all()?;
        }
        Ok(Self { file, path: path.into() })
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it. What is settled may be found again: a start sees that it is.
    fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Medium for JournalFile {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

impl JournaledSqlite {
    /// Opens the database at `path` as [`SqliteStore::open`] does, and the journal beside it. A
    /// journal that does not belong to it is moved aside; of one that is damaged a copy is kept, if there
    /// is room, and what can be read is done again.
    ///
    /// # Errors
    /// Those of the database; and if the journal cannot be read, was written by a newer program, or
    /// has something in it that cannot be put into the database.
    pub fn open(path: &Path, options: &Options) -> std::result::Result<Self, OpenError> {
        let journal = journal_of(path);
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            OpenError::Failed(format!("cannot {what} {}: {error}", journal.display()))
        };
        let sync = options.durability == Durability::Full;
        let open = || JournalFile::open(&journal, sync).map_err(|error| failed("open", &error));
        let go_on = |error: StoreError| failed("go on with", &error);
        let mut store = SqliteStore::open(path, options)?;
        let (mut log, found) = look(&mut store, open()?, sync).map_err(go_on)?;
        let is_new = store.last_seq() == Seq(0) && store.recovery().is_none();
        match found {
            Found::Sound => {}
            Found::Newer(found) => {
                return Err(OpenError::Newer { path: journal, found, known: log::VERSION });
            }
            Found::Damaged(why) => {
                leave_out_numbers(&mut store, options.tell);
                let copy = aside_of_damaged(&journal);
                let is_ahead = log.last() > store.position().map_err(go_on)?.record;
                let kept = match copy_private(&journal, &copy) {
                    Ok(()) => format!("a copy of it is {}", copy.display()),
                    // There may be no room for it.
                    Err(error) if is_ahead => format!("it could not be copied: {error}"),
                    // Nothing of it can be used, so that it need not stay.
                    Err(_) => {
                        fs::rename(&journal, &copy)
                            .map_err(|error| failed("move aside", &error))?;
                        (log, _) = look(&mut store, open()?, sync).map_err(go_on)?;
                        format!("it is now {}", copy.display())
                    }
                };
                (options.tell)(format_args!(
                    "the journal {} is damaged ({why}): what happened last before the end may be \
                     lost; {kept}",
                    journal.display()
                ));
                log.cut_off().map_err(|error| failed("cut off", &error))?;
            }
            Found::Foreign | Found::Useless(_) => {
                let why = if let Found::Useless(why) = found { why } else { FOREIGN };
                // A new database that has none of its own yet has lost nothing.
                if !(is_new && found == Found::Foreign) {
                    leave_out_numbers(&mut store, options.tell);
                }
                let aside = place_aside(path, store.recovery().as_ref());
                fs::rename(&journal, &aside).map_err(|error| failed("move aside", &error))?;
                (options.tell)(format_args!(
                    "the journal {} is of no use ({why}) and is now {}",
                    journal.display(),
                    aside.display()
                ));
                (log, _) = look(&mut store, open()?, sync).map_err(go_on)?;
            }
        }
        Self::go_on(store, log).map_err(go_on)
    }

    /// Closes both in order: everything is in the database then, and the journal is gone.
    ///
    /// # Errors
    /// If that fails. What was committed is kept all the same, and found by the next start.
    pub fn close(self) -> Result<()> {
        let (store, file, settled) = self.into_parts();
        let closed = store.close();
        settled.and(closed)?;
        file.remove();
        Ok(())
    }
}

/// Numbers that are in what is lost of the journal were acknowledged, and are not given again: not as
/// a message's, nor as a version of state or a fence.
fn leave_out_numbers(store: &mut SqliteStore, tell: Tell) {
    let Seq(last) = store.last_seq();
    if let Err(error) = store.give_up_to(Seq(last.saturating_add(SEQ_MARGIN))) {
        // The first record of the new journal says it, too.
        tell(format_args!("that numbers are left out is not in the database yet: {error}"));
    }
}

/// Copies a file, for its owner only; all of it is on the disk then, or nothing of it.
fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let copied = File::open(from).and_then(|mut from| io::copy(&mut from, &mut copy));
    copied.and_then(|_| copy.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(to);
    })
}
