//! The store as the ground of a journal.

use super::MemoryStore;
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

    fn lift_limit(&mut self, _lifted: bool) -> Result<()> {
        Ok(())
    }
}
