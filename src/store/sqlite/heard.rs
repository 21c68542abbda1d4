//! What was last heard of each kind of agent.

use super::db::{Db, Outcome};

impl Db {
    pub(super) fn put_heard(&mut self, kind: &str, facts: Option<&str>) -> Outcome<()> {
        let put = "INSERT OR REPLACE INTO agents (kind, facts) VALUES (?1, ?2)";
        match facts {
            Some(facts) => self.write(put, (kind, facts))?,
            None => self.write("DELETE FROM agents WHERE kind = ?1", [kind])?,
        };
        Ok(())
    }

    pub(super) fn heard(&self) -> Outcome<Vec<(Box<str>, Box<str>)>> {
        self.rows("SELECT kind, facts FROM agents ORDER BY kind", [], |row| row.try_into())
    }
}
