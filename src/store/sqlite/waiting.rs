//! Messages that have not reached a peer: searched for from where it has everything, in steps of
//! bounded work.

use super::broadcasts::{entries, find};
use super::db::{Db, Outcome, damaged};
use super::rows::MarkTime;
use crate::model::{Party, PeerId, Seq};
use crate::store::Waiting;

/// How many messages of one kind a step looks at, at most.
const LOOKS_MAX: u32 = 256;

/// After so many bytes of lists a step ends, and no more are remembered.
const LISTS_BYTES_MAX: usize = 256 * 1024;

/// What was found in one place.
#[derive(Debug, Default)]
struct Search {
    /// Not delivered, ascending.
    found: Vec<Seq>,
    /// The last that was looked at, if there may be more.
    stopped_at: Option<Seq>,
}

impl Search {
    /// Up to where there is nothing to be found, where `last` is the newest number.
    fn clear_to(&self, last: Seq) -> Seq {
        let first = self.found.first().map(|seq| Seq(seq.0.saturating_sub(1)));
        first.or(self.stopped_at).unwrap_or(last)
    }
}

/// A broadcast and the list of its recipients.
type RecipientList = (Seq, Box<[u8]>);

/// The lists of successive broadcasts, as read in this turn: peers that are served one after the other
/// need the same ones.
#[derive(Debug, Default)]
pub(super) struct RecipientLists {
    /// All above this, up to the last one, are here.
    after: Seq,
    rows: Vec<RecipientList>,
    bytes: usize,
}

impl RecipientLists {
    /// The first one above `seq`, if it is here.
    fn next(&self, seq: Seq) -> Option<&RecipientList> {
        let at = self.rows.partition_point(|(other, _)| *other <= seq);
        self.rows.get(at).filter(|_| seq >= self.after)
    }

    /// Whether what comes after `seq` continues it.
    fn ends_at(&self, seq: Seq) -> bool {
        seq == self.rows.last().map_or(self.after, |(last, _)| *last)
    }
}

impl Db {
    pub(super) fn undelivered(&mut self, peer: PeerId, after: Seq, limit: u32) -> Outcome<Waiting> {
        let Some(me) = self.find_party(&Party::Peer(peer))? else { return Ok(Waiting::default()) };
        let last = self.tally.last_seq;
        let mut looks = vec![self.look_for_broadcasts(me, after, limit as usize)?];
        let mut clear_to = looks.iter().map(|look| look.clear_to(last)).min().unwrap_or(last);
        for one in self.boxes(me)? {
            let look = self.look_for_direct(one, after, limit as usize)?;
            if one == me {
                clear_to = clear_to.min(look.clear_to(last));
                self.note_delivered(me, after, clear_to)?;
            } else {
                self.note_delivered(one, after, look.clear_to(last))?;
            }
            looks.push(look);
        }
        // Behind the place where one of them stopped it is not known what comes first.
        let mut next = looks.iter().filter_map(|look| look.stopped_at).min();
        let mut seqs: Vec<Seq> = looks.into_iter().flat_map(|look| look.found).collect();
        seqs.retain(|seq| next.is_none_or(|end| *seq <= end));
        seqs.sort_unstable();
        if seqs.len() >= limit as usize {
            seqs.truncate(limit as usize);
            next = seqs.last().copied();
        }
        let messages: Outcome<Vec<_>> =
            seqs.into_iter().map(|seq| Ok(self.message_found(seq)?.message)).collect();
        Ok(Waiting { messages: messages?, next })
    }

    /// Notes that a party has everything up to `seq`, if it has everything up to `after`.
    fn note_delivered(&mut self, party: u32, after: Seq, seq: Seq) -> Outcome<()> {
        let progress = &mut self.parties.known(&self.connection, party)?.progress;
        if after <= progress.delivered {
            progress.delivered = progress.delivered.max(seq);
        }
        Ok(())
    }

    fn look_for_direct(&mut self, party: u32, after: Seq, limit: usize) -> Outcome<Search> {
        let Self { connection, parties, .. } = self;
        let low = after.max(parties.known(connection, party)?.progress.delivered);
        let mut statement = connection.prepare_cached(
            "SELECT seq, delivered_at FROM messages INDEXED BY messages_inbox
             WHERE recipient = ?1 AND is_read = 0 AND seq > ?2 ORDER BY seq LIMIT ?3",
        )?;
        let mut rows = statement.query((party, low, LOOKS_MAX))?;
        let mut look = Search::default();
        let mut looks = 0;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            looks += 1;
            if let MarkTime(None) = row.get(1)? {
                look.found.push(seq);
            }
            if looks >= LOOKS_MAX || look.found.len() >= limit {
                look.stopped_at = Some(seq);
                break;
            }
        }
        Ok(look)
    }

    fn look_for_broadcasts(&mut self, party: u32, after: Seq, limit: usize) -> Outcome<Search> {
        let progress = self.parties.known(&self.connection, party)?.progress;
        let mut at = after.max(progress.delivered).max(progress.floor);
        let mut look = Search::default();
        let mut bytes = 0;
        for _ in 0..LOOKS_MAX {
            let Some((seq, list)) = self.next_list(at)? else { return Ok(look) };
            at = *seq;
            bytes += list.len();
            let marks = find(entries(list)?, party);
            if marks.is_some_and(|marks| marks.delivered_at.is_none()) {
                look.found.push(at);
            }
            if look.found.len() >= limit || bytes >= LISTS_BYTES_MAX {
                break;
            }
        }
        look.stopped_at = Some(at);
        Ok(look)
    }

    /// The first broadcast above `seq`, with its list.
    fn next_list(&mut self, seq: Seq) -> Outcome<Option<&RecipientList>> {
        const PIECE: u32 = 16;

        let lists = &mut self.lists;
        if lists.next(seq).is_none() {
            if !lists.ends_at(seq) || lists.bytes >= LISTS_BYTES_MAX {
                *lists = RecipientLists { after: seq, ..RecipientLists::default() };
            }
            let mut statement = self.connection.prepare_cached(
                "SELECT seq, recipients FROM broadcasts WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )?;
            let mut rows = statement.query((seq, PIECE))?;
            while let Some(row) = rows.next()? {
                let list = row.get_ref(1)?.as_blob().map_err(damaged)?;
                lists.rows.push((row.get(0)?, list.into()));
                lists.bytes += list.len();
                if lists.bytes >= LISTS_BYTES_MAX {
                    break;
                }
            }
        }
        Ok(self.lists.next(seq))
    }
}
