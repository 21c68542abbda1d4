//! Messages of anyone to anyone, by their numbers: no index has more of them.

use super::db::{Db, Outcome};
use crate::model::{Message, Timestamp};
use crate::store::HistoryQuery;

const UP: &str = "SELECT seq FROM messages
    WHERE seq > ?1 AND seq < ?2 AND created_at > ?3 ORDER BY seq LIMIT ?4";
const DOWN: &str = "SELECT seq FROM messages
    WHERE seq > ?1 AND seq < ?2 AND created_at > ?3 ORDER BY seq DESC LIMIT ?4";

impl Db {
    /// See [`crate::store::Store::history`].
    pub(super) fn history(
        &mut self,
        query: &HistoryQuery,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Outcome<Vec<Message>> {
        let low = query.after.unwrap_or_default().max(self.seq_since(query.since)?);
        let high =
            query.before.map_or(i64::MAX, |before| i64::try_from(before.0).unwrap_or(i64::MAX));
        let since = query.since.unwrap_or(Timestamp(i64::MIN));
        let mut seqs = Vec::new();
        {
            let sql = if query.after.is_some() { UP } else { DOWN };
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query((low, high, since, query.limit))?;
            while let Some(row) = rows.next()? {
                seqs.push(row.get(0)?);
            }
        }
        let mut messages = Vec::new();
        for seq in seqs {
            let message = self.message_found(seq)?.message;
            if !keep(&message) && !messages.is_empty() {
                break;
            }
            messages.push(message);
        }
        Ok(messages)
    }
}
