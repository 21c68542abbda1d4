//! The store underneath a journal.

use super::MemoryStore;
use crate::model::Seq;
use crate::store::Result;
use crate::store::journal::{Ground, Position};

/// What is settled is a copy, as a model of what a disk keeps.
impl Ground for MemoryStore {
    fn hold_turns(&mut self) -> Result<()> {
        let at = self.position()?;
        self.settle(at)
    }

    fn position(&mut self) -> Result<Position> {
        Ok(self.settled.as_ref().map(|(_, at)| *at).unwrap_or_default())
    }

    fn settle(&mut self, at: Position) -> Result<()> {
        self.held = false;
        self.settled = Some((self.tables.clone(), at));
        Ok(())
    }

    fn has_held(&self) -> bool {
        self.held
    }

    fn has_lost(&self) -> bool {
        false
    }

    fn drop_held(&mut self) -> Result<()> {
        if let Some((tables, _)) = &self.settled {
            self.tables = tables.clone();
            self.turn = None;
            self.held = false;
        }
        Ok(())
    }

    fn give_up_to(&mut self, seq: Seq) -> Result<()> {
        let settled = self.settled.as_mut().map(|(tables, _)| tables);
        for tables in settled.into_iter().chain([&mut self.tables]) {
            tables.last_seq = tables.last_seq.max(seq);
        }
        Ok(())
    }

    fn lift_limit(&mut self, _lifted: bool) -> Result<()> {
        Ok(())
    }
}
