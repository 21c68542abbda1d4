//! Messages in their order, and the marks of their recipients.

use std::ops::Bound;

use super::MemoryStore;
use super::rows::StoredMessage;
use crate::model::{MessageId, Recipient, Seq};
use crate::store::marks::Marks;

impl MemoryStore {
    pub(super) fn messages_between(
        &self,
        after: Option<Seq>,
        before: Option<Seq>,
    ) -> impl Iterator<Item = &StoredMessage> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.messages.rows.range((start, Bound::Unbounded)).map(|(_, row)| row);
        rows.take_while(move |row| before.is_none_or(|before| row.seq < before))
    }

    pub(super) fn mark(
        &mut self,
        recipient: Recipient,
        seq: Seq,
        mark: impl FnOnce(&mut Marks),
    ) -> bool {
        let places = self.places(recipient);
        self.messages.change(&seq, |message| {
            let mut of_all = message.recipients.iter_mut();
            if let Some((_, marks)) = of_all.find(|(place, _)| places.contains(place)) {
                mark(marks);
            }
        })
    }

    pub(super) fn mark_id(
        &mut self,
        recipient: Recipient,
        id: MessageId,
        change: impl Fn(Marks) -> Marks,
    ) -> bool {
        self.messages.get(&id.seq()).is_some_and(|row| row.id == id)
            && self.mark(recipient, id.seq(), |marks| *marks = change(*marks))
    }
}
