//! A database that cannot be used makes room for a new one, with everything in it that can be read.
//!
//! In this order, so that an end in the middle loses nothing:
//!
//! 1. the new database is filled under a name that means nothing (`.new`);
//! 2. complete and on the disk, it gets the name that the old one is to have, and `.saved`;
//! 3. the old one gets its name, its log first: a log beside a database that it does not belong to
//!    would be read into that;
//! 4. the new one takes its place.
//!
//! A start that finds a `.saved` goes on with 3.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _};

use super::db::{Db, Fault, Outcome};
use super::open::{bytes, connect, make, part};
use super::rescue::{self, Saved};
use super::{Options, Tell, npm};
use crate::api::Recovery;
use crate::model::{Seq, Timestamp};
use crate::store::journal::SEQ_MARGIN;

/// The end of the name of a new database that is complete.
const SAVED: &str = ".saved";
/// What belongs to a database, in the order in which it is moved.
const PARTS: [&str; 4] = ["-wal", "-shm", "-journal", ""];
/// Our own journal. It stays when the new database goes on with it, and else follows later.
const JOURNAL: &str = "-turns";

/// Why a database cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is ours, and not whole.
    Damaged,
    /// It is not ours: SQLite shall not touch it.
    Foreign,
    /// It is that of npm's slm-mesh, whose state is taken over.
    Npm,
}

impl Unusable {
    fn word(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Foreign => "foreign",
            Self::Npm => "npm",
        }
    }
}

/// Moves the database at `path` out of the way and puts a new one in its place, with what can be read
/// of one that is damaged. The numbers in it go on above `least`, which is 0 if that is not known.
///
/// # Errors
/// A sentence. The database is where it was.
pub(super) fn replace(
    path: &Path,
    options: &Options,
    (mut unusable, mut why): (Unusable, &str),
    least: Seq,
) -> Result<(), String> {
    let tell = options.tell;
    let npm = match unusable {
        Unusable::Foreign => npm::open(path)
            .map_err(|error| format!("{} cannot be moved aside: {error}", path.display()))?,
        _ => None,
    };
    if npm.is_some() {
        (unusable, why) = (Unusable::Npm, Recovery::OF_NPM);
    }
    let (aside, at) = free_name(path, unusable.word());
    tell(format_args!("{} cannot be used ({why}): a new database is made", path.display()));
    let mut saved = Saved::default();
    let fill = |db: &mut Db| {
        saved = match (unusable, &npm) {
            (Unusable::Damaged, _) => save(path, db, least, tell)?,
            (_, Some(old)) => npm::take_over(old, db, at)?,
            (_, None) => Saved::default(),
        };
        let name = aside.file_name().unwrap_or_default().to_string_lossy();
        db.connection.execute(
            "INSERT INTO recovery (moved_to, reason, at, copied, skipped)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            (name, why, at, Seq(saved.copied), Seq(saved.skipped)),
        )?;
        check(&db.connection)
    };
    let made = make(path, fill).map_err(|error| {
        format!("cannot make a new database in the place of {} ({why}): {error}", path.display())
    });
    drop(npm);
    let in_place = made.and_then(|new| {
        let moved = fs::rename(&new, part(&aside, SAVED)).and_then(|()| put_in_place(path, &aside));
        moved.map_err(|error| format!("cannot move {} aside: {error}", path.display()))
    });
    in_place?;
    let Saved { copied, skipped } = saved;
    tell(format_args!(
        "the former database is now {}; {copied} rows of it were saved, {skipped} could not be read",
        aside.display()
    ));
    Ok(())
}

/// Ends what a process that was killed had begun.
///
/// # Errors
/// The files cannot be moved.
pub(super) fn finish(path: &Path, tell: Tell) -> io::Result<()> {
    let Some(saved) = unfinished(path) else { return Ok(()) };
    let aside = saved.with_extension("");
    tell(format_args!("moving {} to {} is finished now", path.display(), aside.display()));
    put_in_place(path, &aside)
}

/// A new database that is complete and not in its place.
fn unfinished(path: &Path) -> Option<PathBuf> {
    let start = format!("{}.", path.file_name()?.to_str()?);
    let entries = fs::read_dir(path.parent()?).ok()?.flatten();
    let mut found = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with(&start) && name.ends_with(SAVED))
    });
    found.next().map(|entry| entry.path())
}

fn put_in_place(path: &Path, aside: &Path) -> io::Result<()> {
    let log = part(path, "-wal");
    if log.symlink_metadata().is_ok_and(|log| log.is_file() && log.len() == 0) {
        fs::remove_file(log)?;
    }
    for suffix in PARTS {
        move_private(&part(path, suffix), &part(aside, suffix))?;
    }
    fs::rename(part(aside, SAVED), path)?;
    // Some file systems cannot, and none has to: the new names are there.
    let _ = path.parent().map(File::open).transpose().map(|dir| dir.map(|dir| dir.sync_all()));
    Ok(())
}

/// The journal of the database at `path`.
pub(in crate::store) fn journal_of(path: &Path) -> PathBuf {
    part(path, JOURNAL)
}

/// Where a journal goes that does not belong to the database at `path`: to the one that was in its
/// place, if that has none.
pub(in crate::store) fn place_aside(path: &Path, former: Option<&Recovery>) -> PathBuf {
    let of_former = former.map(|former| journal_of(Path::new(&*former.moved_to)));
    of_former
        .filter(|place| place.symlink_metadata().is_err())
        .unwrap_or_else(|| free_name(&journal_of(path), Unusable::Foreign.word()).0)
}

/// Where a copy of a damaged journal goes.
pub(in crate::store) fn aside_of_damaged(journal: &Path) -> PathBuf {
    free_name(journal, Unusable::Damaged.word()).0
}

/// Moves what belongs to a database and is no file of ours (a pipe, a device, a link) out of the way:
/// opening it could take for ever.
///
/// # Errors
/// It cannot be moved.
pub(super) fn move_odd_parts(path: &Path, tell: Tell) -> io::Result<()> {
    for suffix in PARTS.into_iter().chain([JOURNAL]).filter(|suffix| !suffix.is_empty()) {
        let odd = part(path, suffix);
        if odd.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
            let (aside, _) = free_name(&odd, Unusable::Foreign.word());
            fs::rename(&odd, &aside)?;
            tell(format_args!("{} is no file and is now {}", odd.display(), aside.display()));
        }
    }
    Ok(())
}

fn move_private(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        moved => moved?,
    }
    // Links are not followed: their targets are not ours.
    if to.symlink_metadata()?.is_file() {
        fs::set_permissions(to, Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// A name that nothing has, and the time that is in it.
fn free_name(path: &Path, word: &str) -> (PathBuf, Timestamp) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    // Without milliseconds, and without what file systems elsewhere do not like.
    let text = now.to_string();
    let time: String =
        text.chars().take_while(|c| *c != '.').filter(|c| !"-:".contains(*c)).collect();
    let mut aside = part(path, &format!(".{word}-{time}Z"));
    let mut count = 1;
    while PARTS
        .iter()
        .chain([&JOURNAL])
        .any(|suffix| part(&aside, suffix).symlink_metadata().is_ok())
    {
        count += 1;
        aside = part(path, &format!(".{word}-{time}Z-{count}"));
    }
    (aside, now)
}

/// Saves what can be read. A database that cannot even be opened has nothing that can, but has given
/// numbers.
fn save(path: &Path, new: &mut Db, least: Seq, tell: Tell) -> Outcome<Saved> {
    let open = || -> Outcome<Connection> {
        let old = connect(path)?;
        // It stays as it is.
        old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // `writable_schema` lets SQLite open what has no sound schema or has been cut off.
        old.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA writable_schema = ON; PRAGMA query_only = ON;
             PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0;",
        )?;
        Ok(old)
    };
    if let Ok(old) = open() {
        return rescue::save(&old, new, least, tell);
    }
    new.tally.last_seq = if least == Seq(0) { Seq(SEQ_MARGIN) } else { least };
    new.in_own_turn(Db::begin_write)?;
    Ok(Saved { copied: 0, skipped: u64::from(bytes(path) > 0) })
}

/// The new database is to be read for a long time: whatever it lies on, it is whole now.
fn check(connection: &Connection) -> Outcome<()> {
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Fault::Damaged(format!("the new one: {verdict}"))) }
}

/// Whether anything of what was moved is there still: whoever has removed it knows of it.
pub(super) fn is_kept(known: &Recovery) -> bool {
    PARTS.iter().any(|suffix| part(Path::new(&*known.moved_to), suffix).exists())
}

/// What an open database knows of the one that was in its place.
pub(super) fn known(connection: &Connection, path: &Path) -> Option<Recovery> {
    let known = connection
        .query_row("SELECT moved_to, reason, at, copied, skipped FROM recovery", [], |row| {
            let name: String = row.get(0)?;
            let (copied, skipped): (Seq, Seq) = (row.get(3)?, row.get(4)?);
            Ok(Recovery {
                moved_to: path.with_file_name(name).to_string_lossy().into(),
                reason: row.get(1)?,
                at: row.get(2)?,
                rows_copied: copied.0,
                rows_skipped: skipped.0,
            })
        })
        .optional();
    known.ok().flatten()
}
