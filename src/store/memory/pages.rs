//! Messages and events as they are listed.

use super::Tables;
use super::rows::{MessagePlace, StoredMessage};
use crate::model::{Event, Message, Timestamp, type_matches};
use crate::store::marks::{MessageMarks, received};
use crate::store::{
    EventPage, EventQuery, HistoryQuery, InboxQuery, Page, REMAINING_MAX, Result, SentQuery, offer,
};

/// Offers ascending rows from one end or the other. Returns those that are kept, which ascend, and how
/// many more there are.
fn page<R, T>(
    mut rows: Vec<R>,
    ascending: bool,
    see: impl Fn(R) -> T,
    limit: u32,
    keep: &mut dyn FnMut(&T) -> bool,
) -> Result<(Vec<T>, u64)> {
    if !ascending {
        rows.reverse();
    }
    let found = rows.len();
    let rows = rows.into_iter().take(limit as usize);
    let kept: Result<Vec<T>> = offer(rows.map(see).map(Ok), keep);
    let mut kept = kept?;
    if !ascending {
        kept.reverse();
    }
    let remaining = found - kept.len();
    Ok((kept, remaining as u64))
}

impl Tables {
    pub(super) fn inbox(
        &mut self,
        query: &InboxQuery<'_>,
        mark_read_at: Option<Timestamp>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Page> {
        #[cfg(test)]
        {
            self.looked_at += self.messages_between(query.after, query.before).count();
        }
        let places = self.places(query.recipient);
        let read = |marks: MessageMarks| mark_read_at.map_or(marks, |at| marks.read(at, None));
        let rows: Vec<(&StoredMessage, MessageMarks)> = self
            .messages_between(query.after, query.before)
            .filter_map(|row| Some((row, row.marks_in(&places)?)))
            .filter(|(_, marks)| !query.unread_only || marks.read_at.is_none())
            .filter(|(_, marks)| !query.untold_only || marks.told.is_none())
            .filter(|(row, _)| query.from.is_none_or(|from| row.message.from == *from))
            .filter(|(row, _)| !query.but.contains(&row.message.seq))
            .collect();
        let see = |(row, marks): (&StoredMessage, _)| read(marks).put_on(row.message.clone());
        let (messages, remaining) = page(rows, query.is_ascending(), see, query.limit, keep)?;
        let remaining =
            if query.is_all_unread() { remaining } else { remaining.min(REMAINING_MAX) };
        let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
        let read = match mark_read_at {
            Some(at) => self.mark_read(query.recipient, &ids, at, None)?,
            None => Vec::new(),
        };
        Ok(Page { messages, remaining, read })
    }

    pub(super) fn sent(
        &self,
        query: &SentQuery<'_>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Page> {
        let to = query.to.map(|to| {
            if let Some(recipient) = to.inbox() {
                return self.places(recipient);
            }
            let name = to.to_string();
            let hosts = self.mailboxes_by_host(&name).into_keys();
            hosts.map(|host| MessagePlace::mailbox(&name, host)).collect()
        });
        let rows: Vec<&StoredMessage> = self
            .messages_between(query.after, query.before)
            .filter(|row| row.message.from == *query.sender)
            .filter(|row| to.as_ref().is_none_or(|to| row.marks_in(to).is_some()))
            .collect();
        let (messages, remaining) =
            page(rows, query.after.is_some(), StoredMessage::seen_by_sender, query.limit, keep)?;
        Ok(Page { messages, remaining: remaining.min(REMAINING_MAX), read: Vec::new() })
    }

    pub(super) fn history(
        &self,
        query: &HistoryQuery,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Vec<Message>> {
        let mut rows: Vec<&StoredMessage> = self
            .messages_between(query.after, query.before)
            .filter(|row| query.since.is_none_or(|since| row.message.created_at > since))
            .collect();
        if query.after.is_none() {
            rows.reverse();
        }
        let see = |row: &StoredMessage| Message { reached: None, ..row.seen_by_sender() };
        offer(rows.into_iter().take(query.limit as usize).map(see).map(Ok), keep)
    }

    pub(super) fn events(
        &self,
        query: &EventQuery<'_>,
        keep: &mut dyn FnMut(&Event) -> bool,
    ) -> Result<EventPage> {
        let stored = self.events.rows.values().map(|row| row.event.clone());
        let derived = self.messages.rows.values().map(|StoredMessage { message, .. }| {
            let (from, to) = (message.from.clone(), message.to.clone());
            received(message.id, message.created_at, from, to, message.to_group.clone())
        });
        let mut rows: Vec<Event> = (stored.chain(derived))
            .filter(|event| query.after.is_none_or(|after| event.seq > after))
            .filter(|event| query.since.is_none_or(|since| event.created_at > since))
            .filter(|event| type_matches(query.types, &event.kind))
            .collect();
        rows.sort_by_key(|event| event.seq);
        let ascending = query.since.is_some() || query.after.is_some();
        let (events, remaining) = page(rows, ascending, |event| event, query.limit, keep)?;
        let cut = ascending && remaining > 0;
        let last_seq = events.last().filter(|_| cut).map_or(self.last_seq, |event| event.seq);
        Ok(EventPage { events, last_seq })
    }
}
