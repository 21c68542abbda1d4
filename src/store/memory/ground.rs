//! The store as the ground of a journal.

use super::MemoryStore;
use crate::model::Seq;
use crate::store::Result;
use crate::store::journal::{Ground, Position};

/// What is settled is a copy: this is a model of what a disk keeps.
impl Ground for MemoryStore {
    fn hold_turns(&mut self) -> Result<()> {
        let at = self.position()?;
        self.settle(at)
    }

    fn position(&mut self) -> Result<Position> {
        Ok(self.settled.as_ref().map(|settled| settled.1).unwrap_or_default())
    }

    fn settle(&mut self, at: Position) -> Result<()> {
        self.held = false;
        self.settled = None;
        self.settled = Some(Box::new((self.clone(), at)));
        Ok(())
    }

    fn has_held(&self) -> bool {
        self.held
    }

    fn has_lost(&self) -> bool {
        false
    }

    fn drop_held(&mut self) {
        if let Some(settled) = self.settled.take() {
            *self = Self { settled: Some(settled.clone()), ..settled.0 };
        }
    }

    fn give_up_to(&mut self, seq: Seq) -> Result<()> {
        self.last_seq = self.last_seq.max(seq);
        if let Some(settled) = &mut self.settled {
            settled.0.last_seq = settled.0.last_seq.max(seq);
        }
        Ok(())
    }

    fn lift_limit(&mut self, _lifted: bool) -> Result<()> {
        Ok(())
    }
}
