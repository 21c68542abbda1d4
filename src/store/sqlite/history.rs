//! Messages of anyone to anyone, by their numbers: no index has more of them.

use super::db::{Db, Outcome};
use super::streams::{SeqRange, in_order};
use crate::model::{Message, Seq, Timestamp};
use crate::store::{HistoryQuery, offer};

impl Db {
    pub(super) fn history(
        &mut self,
        query: &HistoryQuery,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Outcome<Vec<Message>> {
        let range = SeqRange::new(query.after, query.before, query.after.is_some());
        let range = range.above(self.seq_since(query.since)?);
        let seqs = self.message_seqs(range, query.since, query.limit)?;
        offer(seqs.into_iter().map(|seq| Ok(self.message_found(seq)?.message)), keep)
    }

    /// The numbers of messages that were created after `since`.
    pub(super) fn message_seqs(
        &self,
        range: SeqRange,
        since: Option<Timestamp>,
        limit: u32,
    ) -> Outcome<Vec<Seq>> {
        let SeqRange { low, high, ascending } = range;
        let sql = in_order!(
            ascending,
            "SELECT seq FROM messages
             WHERE seq > ?1 AND seq < ?2 AND created_at > ?3 ORDER BY seq",
            "LIMIT ?4"
        );
        let since = since.unwrap_or(Timestamp(i64::MIN));
        self.rows(sql, (low, high, since, limit), |row| row.get(0))
    }
}
