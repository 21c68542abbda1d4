//! What is taken over from a database of npm's slm-mesh, another program that keeps its files in the
//! same places: its shared state, and nothing else. Its peers, messages, locks and events mean nothing
//! here.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, Row};

use super::db::{Db, Fault, Outcome};
use super::open::{connect, part};
use super::rescue::{Saved, is_time};
use crate::limits::{
    KEY_CHARS_MAX, NAME_CHARS_MAX, NAMESPACE_CHARS_MAX, PAYLOAD_BYTES_MAX, STATE_ENTRIES_MAX,
};
use crate::model::{Party, Seq, StateEntry, Timestamp};

/// Its table: times are of the form `2026-01-31 12:00:00`, UTC, and there are no versions.
const ENTRIES: &str = "SELECT namespace, key, value, updated_by, updated_at FROM state";

/// Opens the database at `path` if it is one of npm's slm-mesh. Nothing is changed in it.
///
/// # Errors
/// Another process has it open.
pub(super) fn open(path: &Path) -> Outcome<Option<Connection>> {
    // To open it would undo an interrupted transaction. That program leaves none of this kind.
    if part(path, "-journal").exists() {
        return Ok(None);
    }
    let open = || -> Outcome<Connection> {
        let old = connect(path)?;
        old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        old.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;
             PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;",
        )?;
        for look in [ENTRIES, "SELECT version FROM schema_version", "SELECT uds_path FROM peers"] {
            old.prepare(look)?;
        }
        Ok(old)
    };
    match open() {
        Ok(old) => Ok(Some(old)),
        Err(Fault::Sql(error)) if is_busy(&error) => {
            Err(Fault::Misuse("another program has it open; end that one first".into()))
        }
        Err(_) => Ok(None),
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Puts the entries of `old` into `new`, which is empty, as one turn. Those that could not have been
/// set here are left out and counted.
///
/// # Errors
/// `new` cannot be written.
pub(super) fn take_over(old: &Connection, new: &mut Db, now: Timestamp) -> Outcome<Saved> {
    let mut saved = Saved::default();
    new.begin_turn()?;
    let mut statement = old.prepare(ENTRIES)?;
    let mut rows = statement.query([])?;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            // It ends here: what comes after a damaged page cannot be counted.
            Err(_) => {
                saved.skipped += 1;
                break;
            }
        };
        match entry(row, Seq(new.tally.last_seq.0 + 1), now) {
            Some(entry) if saved.copied < STATE_ENTRIES_MAX => {
                new.tally.last_seq = entry.version;
                new.set_state(&entry, None)?;
                saved.copied += 1;
            }
            _ => saved.skipped += 1,
        }
    }
    new.begin_write()?;
    new.commit_turn()?;
    Ok(saved)
}

/// A row as an entry, if one like it could be set here.
fn entry(row: &Row<'_>, version: Seq, now: Timestamp) -> Option<StateEntry> {
    let text = |place| text(row, place);
    let namespace = text(0)?;
    let key = text(1)?;
    let value = text(2)?;
    let fits = |text: &str, max| (1..=max).contains(&text.chars().count());
    let sound = fits(namespace, NAMESPACE_CHARS_MAX)
        && fits(key, KEY_CHARS_MAX)
        && value.len() <= PAYLOAD_BYTES_MAX;
    if !sound {
        return None;
    }
    let updated_by = text(3).filter(|who| fits(who, NAME_CHARS_MAX)).unwrap_or("npm");
    let at = text(4).and_then(|at| Timestamp::parse(&format!("{at}Z")));
    Some(StateEntry {
        namespace: namespace.into(),
        key: key.into(),
        value: value.into(),
        version,
        updated_by: Party::parse(updated_by),
        updated_at: at.filter(|at| is_time(*at) && *at <= now).unwrap_or(now),
        expires_at: None,
    })
}

fn text<'a>(row: &'a Row<'_>, place: usize) -> Option<&'a str> {
    match row.get_ref(place) {
        Ok(ValueRef::Text(bytes)) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}
