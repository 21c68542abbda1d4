//! What time it was when which numbers had been given.

use rusqlite::params;
use uuid::Uuid;

use super::db::{Db, Outcome};
use crate::model::{MeshTime, Seq, TimeMark};

impl Db {
    /// Not counted as a change: nobody sees it.
    pub(super) fn note_time(&mut self, mark: &TimeMark) -> Outcome<()> {
        self.begin_write()?;
        self.change(
            "INSERT OR REPLACE INTO times
                (at, seq, wall, boot_id, boot, steady_since, believed, unseen_to)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                mark.at,
                self.tally.last_seq,
                mark.wall,
                mark.boot_id.map(Uuid::into_bytes),
                mark.boot,
                mark.steady_since,
                mark.believed_ms,
                mark.unseen_to,
            ],
        )?;
        Ok(())
    }

    pub(super) fn make_older(&mut self, to: Seq, ms: i64) -> Outcome<()> {
        self.begin_write()?;
        self.wrote();
        self.change("UPDATE times SET at = at - ?2 WHERE seq <= ?1", (to, ms))?;
        self.change(
            "UPDATE state SET expires_at = expires_at - ?2
             WHERE expires_at IS NOT NULL AND version <= ?1",
            (to, ms),
        )?;
        Ok(())
    }

    pub(super) fn last_time(&self) -> Outcome<Option<(TimeMark, Seq)>> {
        let sql = "SELECT at, seq, wall, boot_id, boot, steady_since, believed, unseen_to
            FROM times WHERE at = (SELECT max(at) FROM times)";
        self.row(sql, [], |row| {
            let mark = TimeMark {
                at: row.get(0)?,
                wall: row.get(2)?,
                boot_id: row.get::<_, Option<_>>(3)?.map(Uuid::from_bytes),
                boot: row.get(4)?,
                steady_since: row.get(5)?,
                believed_ms: row.get(6)?,
                unseen_to: row.get(7)?,
            };
            Ok((mark, row.get(1)?))
        })
    }

    /// The highest number that is known to have been given by then.
    pub(super) fn seq_at(&self, at: MeshTime) -> Outcome<Seq> {
        let sql = "SELECT seq FROM times WHERE at <= ?1 ORDER BY at DESC LIMIT 1";
        Ok(self.row(sql, [at], |row| row.get(0))?.unwrap_or_default())
    }

    /// Removes the marks before `at` except the last of them, which says how old all before it is.
    pub(super) fn purge_times(&mut self, at: MeshTime) -> Outcome<()> {
        self.begin_write()?;
        self.change(
            "DELETE FROM times WHERE at < (SELECT max(at) FROM times WHERE at <= ?1)",
            [at],
        )?;
        Ok(())
    }
}
