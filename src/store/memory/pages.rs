//! Messages as they are listed: an inbox, and what somebody has sent.

use super::MemoryStore;
use super::checks::offer;
use super::rows::{Place, StoredMessage};
use crate::model::{Message, Timestamp};
use crate::store::marks::Marks;
use crate::store::{InboxQuery, Page, REMAINING_MAX, SentQuery};

impl MemoryStore {
    /// See [`crate::store::Store::inbox`].
    pub(super) fn inbox_page(
        &mut self,
        query: &InboxQuery<'_>,
        mark_read_at: Option<Timestamp>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Page {
        #[cfg(test)]
        {
            self.looked_at += self.messages_between(query.after, query.before).count();
        }
        let places = self.places(query.recipient);
        let mut rows: Vec<(&StoredMessage, Marks)> = self
            .messages_between(query.after, query.before)
            .filter_map(|row| Some((row, row.marks_in(&places)?)))
            .filter(|(_, marks)| !query.unread_only || marks.read_at.is_none())
            .filter(|(_, marks)| !query.untold_only || marks.told.is_none())
            .filter(|(row, _)| query.from.is_none_or(|from| row.from == *from))
            .filter(|(row, _)| !query.but.contains(&row.seq))
            .collect();
        let newest_first = !query.unread_only && query.after.is_none();
        if newest_first {
            rows.reverse();
        }
        let found = rows.len();
        let rows = rows.into_iter().map(|(row, marks)| {
            row.seen_with(mark_read_at.map_or(marks, |at| marks.read(at, None)))
        });
        let mut messages = offer(rows, query.limit, keep);
        if newest_first {
            messages.reverse();
        }
        let mut read = Vec::new();
        if let Some(at) = mark_read_at {
            for seq in messages.iter().map(|message| message.seq) {
                if self.mark(query.recipient, seq, |marks| *marks = marks.read(at, None)) {
                    read.extend(self.messages.get(&seq).map(StoredMessage::receipt));
                }
            }
        }
        let exact = query.unread_only
            && query.from.is_none()
            && query.before.is_none()
            && query.after.is_none()
            && !query.untold_only
            && query.but.is_empty();
        let remaining = (found - messages.len()) as u64;
        let remaining = if exact { remaining } else { remaining.min(REMAINING_MAX) };
        Page { messages, remaining, read }
    }

    /// See [`crate::store::Store::sent`].
    pub(super) fn sent_page(
        &self,
        query: &SentQuery<'_>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Page {
        let to = query.to.map(|to| match (to.inbox(), to) {
            (Some(recipient), _) => self.places(recipient),
            (None, to) => {
                let name = to.to_string();
                let mailboxes = self.mailboxes_called(&name).into_iter();
                mailboxes.map(|mailbox| Place::mailbox(&name, mailbox.host)).collect()
            }
        });
        let mut rows: Vec<&StoredMessage> = self
            .messages_between(query.after, query.before)
            .filter(|row| row.from == *query.sender)
            .filter(|row| to.as_ref().is_none_or(|to| row.marks_in(to).is_some()))
            .collect();
        let newest_first = query.after.is_none();
        if newest_first {
            rows.reverse();
        }
        let found = rows.len();
        let rows = rows.into_iter().map(StoredMessage::seen_by_sender);
        let mut messages = offer(rows, query.limit, keep);
        if newest_first {
            messages.reverse();
        }
        let remaining = ((found - messages.len()) as u64).min(REMAINING_MAX);
        Page { messages, remaining, read: Vec::new() }
    }
}
