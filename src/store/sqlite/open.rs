//! Opening a database file: making it, telling what it is.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::OFlags;

use super::care::load_tally;
use super::db::{Db, Fault, Outcome};
use super::recover::{self, Unusable};
use super::schema::{APPLICATION_ID, MIGRATIONS, TABLES, VERSION};
use super::{Options, WAL_BYTES_BUSY};
use crate::config::Durability;
use crate::files::{self, open_regular};
use crate::model::Seq;

/// Bytes of a page. A small message changes three pages, so half the usual size nearly halves what is
/// written; a quarter makes long messages slow.
pub(super) const PAGE_BYTES: u64 = 2048;

/// SQLite's cache of pages, KiB: room for what the turns between two commits change, with the leaves of
/// the indexes of all who write to each other. A page that is not in it costs a system call.
const CACHE_KIB: u32 = 2048;

/// More than there are statements, so that each is prepared once.
const STATEMENTS: usize = 256;

/// How long to wait before a second look at what cannot be read.
const PAUSE: Duration = Duration::from_millis(50);

/// How long another process may keep the database to itself.
const BUSY_TIME_MAX: Duration = Duration::from_secs(1);

/// Why there is no store.
#[derive(Debug)]
pub enum OpenError {
    /// The database was written by a newer program. It was left as it is.
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that this program knows.
        known: u32,
    },
    /// It could not be opened, made or moved.
    Failed(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { path, found, known } => write!(
                f,
                "{} was written by a newer slm-mesh (its schema is {found}, this one knows \
                 {known}): update slm-mesh, or move the file away",
                path.display()
            ),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for OpenError {}

/// What is under a name.
#[derive(Debug)]
enum Found {
    /// No file, or an empty one.
    Nothing,
    /// A database of ours, as far as its first bytes tell.
    Ours,
    /// Something else. Not ours to open.
    Foreign(&'static str),
    /// A database of ours that cannot be whole.
    Damaged(&'static str),
}

/// Opens the database at `path`, makes it if it is missing. One that is not ours or is damaged makes
/// room for a new one, see `recover`.
pub(super) fn open(path: &Path, options: &Options) -> Result<Db, OpenError> {
    let failed = |what: &str, error: &dyn fmt::Display| {
        OpenError::Failed(format!("cannot {what} {}: {error}", path.display()))
    };
    recover::finish(path, options.tell).map_err(|error| failed("move aside", &error))?;
    recover::move_odd_parts(path, options.tell).map_err(|error| failed("move aside", &error))?;
    let found = twice(|| inspect(path), |refused| matches!(refused, Inspection::Io(_)));
    let found = found.map_err(|error| match error {
        Inspection::Newer(found) => newer(path, found),
        Inspection::Io(error) => failed("read", &error),
    })?;
    if let Found::Ours = found {
        keep_private(path).map_err(|error| failed("protect", &error))?;
    }
    let started = |refused| match refused {
        Refused::Newer(found) => newer(path, found),
        Refused::Fault(fault) => failed("open", &fault),
    };
    let (unusable, why) = match found {
        Found::Ours => match twice(|| start(path, options), Refused::may_pass) {
            Err(Refused::Fault(fault)) if fault.is_damage() => {
                (Unusable::Damaged, fault.to_string())
            }
            done => return done.map_err(started),
        },
        Found::Nothing if bytes(&part(path, "-wal")) > 0 => {
            (Unusable::Damaged, "a log without its database".to_owned())
        }
        Found::Nothing => {
            let new = make(path, |_| Ok(())).map_err(|error| failed("create", &error))?;
            fs::rename(&new, path).map_err(|error| failed("create", &error))?;
            return start(path, options).map_err(started);
        }
        Found::Foreign(why) => (Unusable::Foreign, why.to_owned()),
        Found::Damaged(why) => (Unusable::Damaged, why.to_owned()),
    };
    replace(path, options, (unusable, &why), Seq(0)).map_err(OpenError::Failed)
}

/// Puts a new database in the place of one that cannot be used, as [`recover::replace`] does, and
/// opens it.
pub(super) fn replace(
    path: &Path,
    options: &Options,
    why: (Unusable, &str),
    least: Seq,
) -> Result<Db, String> {
    recover::replace(path, options, why, least)?;
    start(path, options).map_err(|refused| {
        let what = match refused {
            Refused::Newer(_) => "it is of a newer version".into(),
            Refused::Fault(fault) => fault.to_string(),
        };
        format!("cannot open {}, which is new: {what}", path.display())
    })
}

/// Opens a database of ours again that was open before.
pub(super) fn reopen(path: &Path, options: &Options) -> Option<Db> {
    start(path, options).ok()
}

/// Tries once more what may have failed for a moment only: a disk that is busy mending itself, memory
/// that is short.
fn twice<T, E>(
    mut act: impl FnMut() -> Result<T, E>,
    may_pass: impl FnOnce(&E) -> bool,
) -> Result<T, E> {
    match act() {
        Err(error) if may_pass(&error) => {
            sleep(PAUSE);
            act()
        }
        done => done,
    }
}

fn newer(path: &Path, found: u32) -> OpenError {
    let known = u32::try_from(VERSION).unwrap_or(u32::MAX);
    OpenError::Newer { path: path.into(), found, known }
}

/// A database in memory, for tests.
pub(super) fn open_in_memory(options: &Options) -> Result<Db, OpenError> {
    let open = || {
        let mut connection = Connection::open_in_memory()?;
        build(&connection)?;
        set_up(&mut connection, options)?;
        let tally = load_tally(&connection)?;
        Ok(Db::new(connection, tally))
    };
    open().map_err(|fault: Fault| OpenError::Failed(fault.to_string()))
}

#[derive(Debug)]
enum Inspection {
    Newer(u32),
    Io(io::Error),
}

impl From<io::Error> for Inspection {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Tells what is there by its first bytes, without SQLite, which might change a file that is not
/// ours.
fn inspect(path: &Path) -> Result<Found, Inspection> {
    /// The header of a database file, <https://sqlite.org/fileformat2.html#the_database_header>.
    const HEADER_BYTES: usize = 100;

    let mut options = OpenOptions::new();
    let mut file = match open_regular(path, options.read(true), OFlags::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        // Nobody keeps a pipe or a device there on purpose; of a directory that is less sure.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput && !path.is_dir() => {
            return Ok(Found::Foreign("no regular file"));
        }
        file => file?,
    };
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(Found::Nothing);
    }
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Ok(Found::Foreign("not an SQLite database"));
    }
    let number = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes)
    };
    let (Some(pages), Some(version), Some(id)) = (number(28), number(60), number(68)) else {
        return Ok(Found::Damaged("it ends within its header"));
    };
    if id.cast_signed() != APPLICATION_ID {
        return Ok(Found::Foreign("another program's database"));
    }
    if version as usize > VERSION {
        return Err(Inspection::Newer(version));
    }
    if bytes(&part(path, "-wal")) == 0 && length < u64::from(pages) * PAGE_BYTES {
        return Ok(Found::Damaged("it has been cut off"));
    }
    Ok(Found::Ours)
}

/// Makes a new database for `path` under another name, which is given: so it is there as a whole or
/// not at all. `fill` puts in what it begins with.
pub(super) fn make(
    path: &Path,
    fill: impl FnOnce(&mut Db) -> Outcome<()>,
) -> Result<PathBuf, String> {
    let text = |error: io::Error| error.to_string();
    let new = part(path, ".new");
    remove_new(&new).map_err(text)?;
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let created = created.map_err(text)?;
    keep_private(&new).map_err(text)?;
    let built = connect(&new).and_then(|connection| {
        // Nothing can be lost yet, so nothing needs to be synced or undone.
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;",
        )?;
        build(&connection)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let tally = load_tally(&connection)?;
        let mut db = Db::new(connection, tally);
        fill(&mut db)?;
        db.connection.execute_batch("PRAGMA journal_mode = WAL")?;
        Ok(())
    });
    let done = built.map_err(|fault| fault.to_string());
    let done = done.and_then(|()| created.sync_all().map_err(text));
    if let Err(error) = done {
        // On a full disk it would take the room that is lacking.
        let _ = remove_new(&new);
        return Err(error);
    }
    Ok(new)
}

fn remove_new(new: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-journal"] {
        files::remove(&part(new, suffix))?;
    }
    Ok(())
}

/// Fills an empty database.
fn build(connection: &Connection) -> Outcome<()> {
    connection.execute_batch(&format!("PRAGMA page_size = {PAGE_BYTES}; BEGIN;"))?;
    migrate(connection, 0)?;
    connection.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; COMMIT;"))?;
    Ok(())
}

/// Within a transaction.
fn migrate(connection: &Connection, from: usize) -> Outcome<()> {
    for step in MIGRATIONS.iter().skip(from) {
        connection.execute_batch(step)?;
    }
    connection.execute_batch(&format!("PRAGMA user_version = {VERSION}"))?;
    Ok(())
}

#[derive(Debug)]
enum Refused {
    Newer(u32),
    Fault(Fault),
}

impl Refused {
    /// Whether a second look may show something else: SQLite tells of a read that the disk refused as
    /// of damage, too.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.is_damage() || fault.is_failed_read())
    }
}

impl<E: Into<Fault>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// Opens a database of ours.
fn start(path: &Path, options: &Options) -> Result<Db, Refused> {
    let mut connection = connect(path)?;
    match prepare(&mut connection, options).and_then(|()| Ok(load_tally(&connection)?)) {
        Ok(tally) => Ok(Db::new(connection, tally)),
        Err(refused) => {
            // What it is refused for may be looked into: SQLite shall not tidy up.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            Err(refused)
        }
    }
}

fn prepare(connection: &mut Connection, options: &Options) -> Result<(), Refused> {
    connection.busy_timeout(BUSY_TIME_MAX)?;
    set_up(connection, options)?;
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version as usize {
        0 => return Err(Fault::Damaged("it has no version".into()).into()),
        VERSION => {}
        newer if newer > VERSION => return Err(Refused::Newer(version)),
        older => {
            // A table may be made anew beside the old one, in a database that is nearly full. What
            // that takes is free again, and the log goes at once: it has all of it.
            limit_pages(connection, u32::MAX - 1)?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            migrate(connection, older)?;
            connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
            limit_pages(connection, pages_max(options))?;
        }
    }
    // A look at each table, no more: reading all of a large database would take seconds.
    for table in TABLES {
        let sql = format!("SELECT 1 FROM {table} LIMIT 1");
        match connection.prepare(&sql).and_then(|mut look| look.exists([])) {
            Ok(_) => {}
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                return Err(Fault::Damaged(error.to_string()).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

pub(super) fn connect(path: &Path) -> Outcome<Connection> {
    // One thread uses it; a file that is not there is not made here.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(path, flags)?)
}

fn set_up(connection: &mut Connection, options: &Options) -> Outcome<()> {
    let synchronous = match options.durability {
        Durability::Normal => "NORMAL",
        Durability::Full => "FULL",
    };
    // One broker has the file to itself, so the index of the log need not be in shared memory, and
    // no turn needs to take locks. Checkpoints are made by `maintain`, never by a commit.
    connection.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = {synchronous};
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = {WAL_BYTES_BUSY};
         PRAGMA cache_size = -{CACHE_KIB};
         PRAGMA mmap_size = 0;
         PRAGMA temp_store = MEMORY;
         PRAGMA foreign_keys = OFF;
         PRAGMA trusted_schema = OFF;"
    ))?;
    limit_pages(connection, pages_max(options))?;
    // A plan never depends on what is bound: else a statement with a bound LIMIT would be prepared
    // again for each run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// How many pages a database may have.
fn pages_max(options: &Options) -> u32 {
    u32::try_from(options.bytes_max / PAGE_BYTES).unwrap_or(u32::MAX).clamp(1, u32::MAX - 1)
}

/// Lets the database grow beyond its limit for a while, or not any more.
pub(super) fn lift_limit(connection: &Connection, options: &Options, lifted: bool) -> Outcome<()> {
    limit_pages(connection, if lifted { u32::MAX - 1 } else { pages_max(options) })
}

/// Never makes it smaller than it is.
fn limit_pages(connection: &Connection, pages_max: u32) -> Outcome<()> {
    connection.execute_batch(&format!("PRAGMA max_page_count = {pages_max}"))?;
    Ok(())
}

/// The length of a file, 0 if there is none.
pub(super) fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// The path of what belongs to a database.
pub(super) fn part(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

/// Only its owner may read and write it. SQLite gives the log the same mode.
fn keep_private(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o777 == 0o600 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}
