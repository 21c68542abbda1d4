//! What was last heard of each kind of agent.

use super::db::{Db, Outcome};

impl Db {
    /// See [`crate::store::Store::put_heard`].
    pub(super) fn put_heard(&mut self, kind: &str, facts: Option<&str>) -> Outcome<()> {
        self.check_turn()?;
        self.begin_write()?;
        match facts {
            Some(facts) => self.change(
                "INSERT OR REPLACE INTO agents (kind, facts) VALUES (?1, ?2)",
                (kind, facts),
            )?,
            None => self.change("DELETE FROM agents WHERE kind = ?1", [kind])?,
        };
        self.wrote();
        Ok(())
    }

    /// See [`crate::store::Store::heard`].
    pub(super) fn heard(&self) -> Outcome<Vec<(Box<str>, Box<str>)>> {
        let mut statement =
            self.connection.prepare_cached("SELECT kind, facts FROM agents ORDER BY kind")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
