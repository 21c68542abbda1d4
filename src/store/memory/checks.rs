//! What is checked before anything is written, and how far a list goes.

use uuid::Uuid;

use super::MemoryStore;
use crate::model::{Party, Seq};
use crate::store::{Result, StoreError};

impl MemoryStore {
    /// To be called before anything is written.
    pub(super) fn check_turn(&self) -> Result<()> {
        match self.turn {
            Some(_) => Ok(()),
            None => Err(StoreError::Failed("a write outside of a turn".into())),
        }
    }

    /// To be called before a message or an event is stored.
    pub(super) fn check_row(&self, seq: Seq) -> Result<()> {
        self.check_turn()?;
        let last_message = self.messages.rows.keys().next_back();
        let last_event = self.events.rows.keys().next_back();
        if Some(&seq) > last_message.max(last_event) && seq <= self.last_seq {
            Ok(())
        } else {
            Err(StoreError::Failed(format!("the number {seq} is not fresh")))
        }
    }

    pub(super) fn remember_client_id(
        &mut self,
        sender: Option<&Party>,
        id: Option<Uuid>,
        seq: Seq,
    ) {
        if let (Some(sender), Some(id)) = (sender, id) {
            self.client_ids.put((sender.clone(), id), seq);
        }
    }

    pub(super) fn forget_client_id(&mut self, sender: Option<&Party>, id: Option<Uuid>, seq: Seq) {
        if let (Some(sender), Some(id)) = (sender, id) {
            let key = (sender.clone(), id);
            if self.client_ids.get(&key) == Some(&seq) {
                self.client_ids.remove(&key);
            }
        }
    }
}

/// Offers rows to `keep`, see [`crate::store::Store::inbox`].
pub(super) fn offer<T>(
    rows: impl Iterator<Item = T>,
    limit: u32,
    keep: &mut dyn FnMut(&T) -> bool,
) -> Vec<T> {
    let mut kept = Vec::new();
    for row in rows.take(limit as usize) {
        // Asked about the first row, too, so that it can add up sizes.
        if !keep(&row) && !kept.is_empty() {
            break;
        }
        kept.push(row);
    }
    kept
}
