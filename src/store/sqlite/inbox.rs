//! Pages of messages: those of a recipient, and those of a sender.

use super::broadcasts::BroadcastWalk;
use super::db::{Db, Outcome};
use super::messages::StoredMessage;
use super::parties::{CLI, EVERYONE};
use super::streams::{FoundMessage, IndexRange, MergedMessages, SeqRange, SeqSource};
use crate::model::{Message, Party, Seq, Timestamp};
use crate::store::marks::MessageMarks;
use crate::store::{InboxQuery, Page, REMAINING_MAX, Receipt, SentQuery};

/// So the rows that are counted as remaining are in the first piece that is read.
const PIECE_REMAINING: u32 = 101;

type Keep<'a> = &'a mut dyn FnMut(&Message) -> bool;

impl Db {
    pub(super) fn inbox(
        &mut self,
        query: &InboxQuery<'_>,
        mark_read_at: Option<Timestamp>,
        keep: Keep<'_>,
    ) -> Outcome<Page> {
        let Some(me) = self.find_party(&query.recipient.into())? else {
            return Ok(Page::default());
        };
        let from = match query.from.map(|from| self.find_party(from)).transpose()? {
            Some(None) => return Ok(Page::default()),
            from => from.flatten(),
        };
        let unread = if query.is_all_unread() { Some(self.unread_of_all(me)?) } else { None };
        if unread == Some(0) {
            return Ok(Page::default());
        }

        let mut merge = self.inbox_rows(query, me, from)?;
        let mut messages = Vec::new();
        let mut read = Vec::new();
        let mut read_broadcast = false;
        while messages.len() < query.limit as usize
            && let Some(found) = merge.peek_but(self, query.but)?
        {
            let StoredMessage { message, recipient } = self.message_found(found.seq)?;
            let marks = found.broadcast.unwrap_or(MessageMarks::of(&message));
            if query.untold_only && marks.told.is_some() {
                merge.pop(found);
                continue;
            }
            let then = mark_read_at.map_or(marks, |at| marks.read(at, None));
            let message = then.put_on(message);
            if !keep(&message) && !messages.is_empty() {
                break;
            }
            // All ranges go on beyond this row, so that none finds it again once it is marked.
            merge.pop(found);
            if then != marks && self.mark(me, found.seq, (recipient, marks), |_| then)? {
                read.push(Receipt { id: message.id, from: message.from.clone() });
                read_broadcast |= recipient == EVERYONE;
            }
            messages.push(message);
        }
        let remaining = match unread {
            Some(unread) => unread.saturating_sub(messages.len() as u64),
            None => self.count_remaining(merge, query.but, query.untold_only)?,
        };
        if read_broadcast {
            self.keep_reading(me)?;
        }
        if !query.is_ascending() {
            messages.reverse();
            read.reverse();
        }
        Ok(Page { messages, remaining, read })
    }

    /// Where the rows of an inbox come from.
    fn inbox_rows(
        &mut self,
        query: &InboxQuery<'_>,
        me: u32,
        from: Option<u32>,
    ) -> Outcome<MergedMessages> {
        /// Small, since most of one range may not be in the other.
        const PIECE_BOTH: u32 = 16;

        let range = SeqRange::new(query.after, query.before, query.is_ascending());
        let counted = if query.is_all_unread() { 0 } else { PIECE_REMAINING };
        let piece = query.limit.saturating_add(counted);
        let mut direct = Vec::new();
        for one in self.boxes(me)? {
            let inbox = |is_read, piece| IndexRange::inbox(one, is_read, range, piece);
            let pair = |from, piece| IndexRange::pair(from, one, range, piece);
            direct.extend(match (query.unread_only, from) {
                (true, None) => vec![SeqSource::One(inbox(false, piece))],
                (true, Some(from)) => {
                    vec![SeqSource::Both(inbox(false, PIECE_BOTH), pair(from, PIECE_BOTH))]
                }
                (false, None) => {
                    [false, true].map(|read| SeqSource::One(inbox(read, piece))).into()
                }
                (false, Some(from)) => vec![SeqSource::One(pair(from, piece))],
            });
        }
        let broadcasts = match me {
            CLI => None,
            _ => Some(BroadcastWalk::new(self, me, from, query.unread_only, range)?),
        };
        Ok(MergedMessages { range, direct, broadcasts })
    }

    pub(super) fn sent(&mut self, query: &SentQuery<'_>, keep: Keep<'_>) -> Outcome<Page> {
        let Some(sender) = self.find_party(query.sender)? else { return Ok(Page::default()) };
        let range = SeqRange::new(query.after, query.before, query.after.is_some());
        let piece = query.limit.saturating_add(PIECE_REMAINING);
        let mut merge = MergedMessages { range, direct: Vec::new(), broadcasts: None };
        if let Some(to) = query.to {
            let boxes: Vec<u32> = if let Party::Label(name) = to {
                self.mailboxes_called(name)?.into_iter().map(|(_, number)| number).collect()
            } else {
                let Some(to) = self.find_party(to)? else { return Ok(Page::default()) };
                if to != CLI {
                    merge.broadcasts =
                        Some(BroadcastWalk::new(self, to, Some(sender), false, range)?);
                }
                self.boxes(to)?.collect()
            };
            for one in boxes {
                merge.direct.push(SeqSource::One(IndexRange::pair(sender, one, range, piece)));
            }
        } else {
            merge.direct = self.sent_rows(sender, range)?;
        }

        let mut messages = Vec::new();
        while messages.len() < query.limit as usize
            && let Some(found) = merge.peek(self)?
        {
            let stored = self.message_found(found.seq)?;
            let message = self.seen_by_sender(stored)?;
            if !keep(&message) && !messages.is_empty() {
                break;
            }
            merge.pop(found);
            messages.push(message);
        }
        let remaining = self.count_remaining(merge, &[], false)?;
        if !range.ascending {
            messages.reverse();
        }
        Ok(Page { messages, remaining, read: Vec::new() })
    }

    /// Where all messages of a sender come from: a range for each recipient that it ever wrote to
    /// (everyone is one of them), each found from the one before by one look at the index.
    fn sent_rows(&self, sender: u32, range: SeqRange) -> Outcome<Vec<SeqSource>> {
        /// Small at first, since there may be many.
        const PIECE: u32 = 4;

        let sql = "SELECT recipient FROM messages INDEXED BY messages_pair
            WHERE sender = ?1 AND recipient > ?2 ORDER BY recipient LIMIT 1";
        let mut sources = Vec::new();
        let mut last = -1;
        while let Some(recipient) = self.row(sql, (sender, last), |row| row.get::<_, u32>(0))? {
            sources.push(SeqSource::One(IndexRange::pair(sender, recipient, range, PIECE)));
            last = i64::from(recipient);
        }
        Ok(sources)
    }

    fn count_remaining(
        &mut self,
        mut merge: MergedMessages,
        but: &[Seq],
        untold_only: bool,
    ) -> Outcome<u64> {
        let mut remaining = 0;
        while remaining < REMAINING_MAX
            && let Some(found) = merge.peek_but(self, but)?
        {
            merge.pop(found);
            let told = untold_only && self.is_told(found)?;
            remaining += u64::from(!told);
        }
        Ok(remaining)
    }

    /// Whether its recipient was told of it, or is being told.
    fn is_told(&mut self, found: FoundMessage) -> Outcome<bool> {
        match found.broadcast {
            Some(marks) => Ok(marks.told.is_some()),
            None => Ok(self.message_found(found.seq)?.message.told.is_some()),
        }
    }
}
