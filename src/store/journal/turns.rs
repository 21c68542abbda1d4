//! The operations of a store, each done by the store and written down if it changed anything.

use uuid::Uuid;

use super::{
    BYTES_MAX, BYTES_MAX_STUCK, Ground, Journaled, Medium, Position, ROWS_PER_TURN, TURNS_MAX,
};
use crate::api::Recovery;
use crate::model::{
    Event, Invitation, Lock, MachineName, MachineRecord, MeshTime, Message, MessageId, Party,
    PeerId, PeerRecord, Recipient, Seq, StateEntry, TimeMark, Timestamp, Way,
};
use crate::store::{
    Counts, EventPage, EventQuery, HistoryQuery, InboxQuery, Mailbox, NewEvent, NewMessage, Page,
    PurgeBefore, Receipt, Repeated, Result, SentQuery, Size, StateChange, StateOutcome, Store,
    Telling, Waiting,
};

impl<S: Ground, M: Medium> Journaled<S, M> {
    /// Reads from the store, which has everything.
    fn read<T>(&mut self, read: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        self.ensure()?;
        let done = read(&mut self.store);
        self.failed |= done.is_err();
        done
    }

    /// Lets the store do something, and writes it down if that has changed anything.
    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut S) -> Result<T>,
        note: impl FnOnce(&mut super::Ops, &T),
    ) -> Result<T> {
        let done = self.read(write)?;
        if self.store.turn_wrote() {
            note(&mut self.ops, &done);
        }
        Ok(done)
    }
}

impl<S: Ground, M: Medium> Store for Journaled<S, M> {
    fn begin_turn(&mut self) -> Result<()> {
        self.ensure()?;
        let again = self.stuck_until.is_some_and(|until| until <= std::time::Instant::now());
        let long = self.stuck_until.is_none() && self.log.len() >= BYTES_MAX_STUCK;
        if !self.in_turn && (again || long) && self.settle().is_err() {
            // The turn may write all the same, as long as the journal has room.
            self.ensure()?;
        }
        self.store.begin_turn()?;
        self.in_turn = true;
        self.failed = false;
        self.ops.begin(self.store.last_seq());
        Ok(())
    }

    fn commit_turn(&mut self) -> Result<()> {
        if !self.in_turn || (self.ops.is_empty() && !self.failed) {
            let done = self.store.commit_turn();
            if done.is_err() {
                self.rollback_turn();
            }
            self.in_turn = false;
            return done;
        }
        if let Err(error) = self.write_down() {
            self.rollback_turn();
            return Err(error);
        }
        if let Err(error) = self.store.commit_turn() {
            self.log.take_back_last(self.ops.bytes().len());
            self.rollback_turn();
            return Err(error);
        }
        self.in_turn = false;
        Ok(())
    }

    fn rollback_turn(&mut self) {
        self.store.rollback_turn();
        self.in_turn = false;
        self.ops.begin(self.store.last_seq());
        // The next turn tells, if the store cannot be told now. What it lost once it may lose again
        // soon: settled, that costs no more.
        if self.store.has_lost() && self.catch_up().is_ok() {
            let _ = self.settle();
        }
    }

    fn mend(&mut self) -> Result<bool> {
        // Until it has everything again: if this fails on the way, nothing may be taken for settled.
        let behind = std::mem::replace(&mut self.behind, true);
        let mended = self.store.mend()?;
        if mended {
            self.store.drop_held();
            let journal = self.log.journal();
            if self.store.position()?.journal != journal {
                // It could not be read what the one in its place had.
                self.store.settle(Position { journal, record: self.settled })?;
            }
            self.catch_up()?;
        } else {
            self.behind = behind;
        }
        self.ensure()?;
        Ok(mended)
    }

    fn recovery(&self) -> Option<Recovery> {
        self.store.recovery()
    }

    fn turn_wrote(&self) -> bool {
        self.store.turn_wrote()
    }

    fn next_seq(&mut self) -> Seq {
        self.ops.next_seq();
        self.store.next_seq()
    }

    fn last_seq(&self) -> Seq {
        self.store.last_seq()
    }

    fn first_seq(&mut self) -> Result<Seq> {
        self.read(S::first_seq)
    }

    fn counts(&self) -> Counts {
        self.store.counts()
    }

    fn size(&self) -> Size {
        let Size { bytes, wal_bytes, full } = self.store.size();
        Size { bytes, wal_bytes: wal_bytes + self.log.len(), full: self.full.or(full) }
    }

    fn present_peers(&mut self) -> Result<Vec<PeerRecord>> {
        self.read(S::present_peers)
    }

    fn peer(&mut self, id: PeerId) -> Result<Option<PeerRecord>> {
        self.read(|store| store.peer(id))
    }

    fn left_session(
        &mut self,
        agent_type: &str,
        session: &str,
        host: Option<MachineName>,
    ) -> Result<Option<PeerRecord>> {
        self.read(|store| store.left_session(agent_type, session, host))
    }

    fn departed_peers(&mut self, limit: u32) -> Result<Vec<PeerRecord>> {
        self.read(|store| store.departed_peers(limit))
    }

    fn put_peer(&mut self, record: &PeerRecord) -> Result<()> {
        self.write(|store| store.put_peer(record), |ops, ()| ops.put_peer(record))
    }

    fn reserved_names(&mut self, since: MeshTime) -> Result<Vec<(Box<str>, PeerId)>> {
        self.read(|store| store.reserved_names(since))
    }

    fn mailboxes(&mut self, name: &str) -> Result<Vec<Mailbox>> {
        self.read(|store| store.mailboxes(name))
    }

    fn send(&mut self, message: &NewMessage<'_>) -> Result<()> {
        self.write(|store| store.send(message), |ops, ()| ops.send(message))
    }

    fn client_id(&mut self, sender: &Party, client_id: Uuid) -> Result<Option<Repeated>> {
        self.read(|store| store.client_id(sender, client_id))
    }

    /// What was marked read is known by its ids: what `keep` wanted is not known later.
    fn inbox(
        &mut self,
        query: &InboxQuery<'_>,
        mark_read_at: Option<Timestamp>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Page> {
        let page = self.read(|store| store.inbox(query, mark_read_at, keep))?;
        if let Some(at) = mark_read_at.filter(|_| !page.read.is_empty()) {
            let ids: Vec<MessageId> = page.read.iter().map(|receipt| receipt.id).collect();
            self.ops.mark_read(query.recipient, &ids, at, None);
        }
        Ok(page)
    }

    fn sent(
        &mut self,
        query: &SentQuery<'_>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Page> {
        self.read(|store| store.sent(query, keep))
    }

    fn history(
        &mut self,
        query: &HistoryQuery,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Vec<Message>> {
        self.read(|store| store.history(query, keep))
    }

    fn mark_read(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        at: Timestamp,
        way: Option<Way>,
    ) -> Result<Vec<Receipt>> {
        self.write(
            |store| store.mark_read(recipient, ids, at, way),
            |ops, read| {
                if !read.is_empty() {
                    ops.mark_read(recipient, ids, at, way);
                }
            },
        )
    }

    fn mark_told(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        telling: Telling,
    ) -> Result<u64> {
        self.write(
            |store| store.mark_told(recipient, ids, telling),
            |ops, marked| {
                if *marked > 0 {
                    ops.mark_told(recipient, ids, telling);
                }
            },
        )
    }

    fn mark_delivered(&mut self, peer: PeerId, seqs: &[Seq], at: Timestamp) -> Result<()> {
        self.write(
            |store| store.mark_delivered(peer, seqs, at),
            |ops, ()| ops.mark_delivered(peer, seqs, at),
        )
    }

    fn mark_broadcast_delivered(
        &mut self,
        seq: Seq,
        peers: &[PeerId],
        at: Timestamp,
    ) -> Result<()> {
        self.write(
            |store| store.mark_broadcast_delivered(seq, peers, at),
            |ops, ()| ops.mark_broadcast_delivered(seq, peers, at),
        )
    }

    /// Not written down: what is lost of it is found out again.
    fn delivered_to(&mut self, peer: PeerId, seq: Seq) -> Result<()> {
        self.read(|store| store.delivered_to(peer, seq))
    }

    fn undelivered(&mut self, peer: PeerId, after: Seq, limit: u32) -> Result<Waiting> {
        self.read(|store| store.undelivered(peer, after, limit))
    }

    fn unread_direct(&mut self, peer: PeerId, limit: u32) -> Result<Vec<Receipt>> {
        self.read(|store| store.unread_direct(peer, limit))
    }

    fn unread_count(&mut self, recipient: Recipient) -> Result<u64> {
        self.read(|store| store.unread_count(recipient))
    }

    fn append_event(&mut self, event: &NewEvent<'_>) -> Result<()> {
        self.write(|store| store.append_event(event), |ops, ()| ops.append_event(event))
    }

    fn events(
        &mut self,
        query: &EventQuery<'_>,
        keep: &mut dyn FnMut(&Event) -> bool,
    ) -> Result<EventPage> {
        self.read(|store| store.events(query, keep))
    }

    fn state(&mut self, namespace: &str, key: &str) -> Result<Option<StateEntry>> {
        self.read(|store| store.state(namespace, key))
    }

    fn list_state(
        &mut self,
        namespace: Option<&str>,
        prefix: &str,
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Result<Vec<StateEntry>> {
        self.read(|store| store.list_state(namespace, prefix, now, limit, keep))
    }

    fn state_after(
        &mut self,
        after: (&str, &str),
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Result<Vec<StateEntry>> {
        self.read(|store| store.state_after(after, now, limit, keep))
    }

    fn set_state(&mut self, entry: &StateEntry, if_version: Option<Seq>) -> Result<StateOutcome> {
        self.write(
            |store| store.set_state(entry, if_version),
            |ops, outcome| {
                if let StateOutcome::Done(_) = outcome {
                    ops.set_state(entry);
                }
            },
        )
    }

    fn delete_state(&mut self, change: &StateChange<'_>) -> Result<StateOutcome> {
        self.write(
            |store| store.delete_state(change),
            |ops, outcome| {
                if let StateOutcome::Done(Some(_)) = outcome {
                    ops.delete_state(change);
                }
            },
        )
    }

    fn next_state_expiry(&mut self) -> Result<Option<MeshTime>> {
        self.read(S::next_state_expiry)
    }

    fn expired_state(&mut self, now: MeshTime) -> Result<u64> {
        self.read(|store| store.expired_state(now))
    }

    fn expire_state(&mut self, now: MeshTime, limit: u32) -> Result<Vec<StateEntry>> {
        self.write(
            |store| store.expire_state(now, limit),
            |ops, gone| {
                if !gone.is_empty() {
                    ops.expire_state(now, limit);
                }
            },
        )
    }

    fn put_lock(&mut self, lock: &Lock) -> Result<()> {
        self.write(|store| store.put_lock(lock), |ops, ()| ops.put_lock(lock))
    }

    fn remove_lock(&mut self, fence: Seq) -> Result<bool> {
        self.write(
            |store| store.remove_lock(fence),
            |ops, was_there| {
                if *was_there {
                    ops.remove_lock(fence);
                }
            },
        )
    }

    fn locks(&mut self) -> Result<Vec<Lock>> {
        self.read(S::locks)
    }

    fn next_lock_expiry(&mut self) -> Result<Option<MeshTime>> {
        self.read(S::next_lock_expiry)
    }

    fn expire_locks(&mut self, now: MeshTime, limit: u32) -> Result<Vec<Lock>> {
        self.write(
            |store| store.expire_locks(now, limit),
            |ops, gone| {
                if !gone.is_empty() {
                    ops.expire_locks(now, limit);
                }
            },
        )
    }

    fn put_heard(&mut self, kind: &str, facts: Option<&str>) -> Result<()> {
        self.write(|store| store.put_heard(kind, facts), |ops, ()| ops.put_heard(kind, facts))
    }

    fn heard(&mut self) -> Result<Vec<(Box<str>, Box<str>)>> {
        self.read(S::heard)
    }

    fn machines(&mut self) -> Result<Vec<MachineRecord>> {
        self.read(S::machines)
    }

    fn put_machine(&mut self, record: &MachineRecord) -> Result<()> {
        self.write(|store| store.put_machine(record), |ops, ()| ops.put_machine(record))
    }

    fn invitations(&mut self) -> Result<Vec<Invitation>> {
        self.read(S::invitations)
    }

    fn put_invitation(&mut self, invitation: &Invitation) -> Result<()> {
        self.write(
            |store| store.put_invitation(invitation),
            |ops, ()| ops.put_invitation(invitation),
        )
    }

    fn remove_invitation(&mut self, token_hash: &[u8; 32]) -> Result<()> {
        self.write(
            |store| store.remove_invitation(token_hash),
            |ops, ()| ops.remove_invitation(token_hash),
        )
    }

    /// A store does not count this as a change.
    fn note_time(&mut self, mark: &TimeMark) -> Result<()> {
        self.read(|store| store.note_time(mark))?;
        self.ops.note_time(mark);
        Ok(())
    }

    fn make_older(&mut self, to: Seq, ms: i64) -> Result<()> {
        self.read(|store| store.make_older(to, ms))?;
        self.ops.make_older(to, ms);
        Ok(())
    }

    fn last_time(&mut self) -> Result<Option<(TimeMark, Seq)>> {
        self.read(S::last_time)
    }

    fn purge(&mut self, before: &PurgeBefore, limit: u32) -> Result<bool> {
        let more =
            self.write(|store| store.purge(before, limit), |ops, _| ops.purge(before, limit))?;
        if more {
            // A short record of many rows, which stay in memory until they are settled.
            self.rows_removed = self.rows_removed.saturating_add(limit);
        }
        Ok(more)
    }

    fn maintain(&mut self, idle: bool) -> Result<bool> {
        if self.in_turn {
            return Ok(false);
        }
        self.ensure()?;
        let rests = self.stuck_until.is_some_and(|until| std::time::Instant::now() < until);
        let turns = self.log.last().saturating_sub(self.settled)
            + u64::from(self.rows_removed) / ROWS_PER_TURN;
        let due = idle || turns >= TURNS_MAX || self.log.len() >= BYTES_MAX;
        if self.store.has_held() && due && !rests {
            self.settle()?;
        }
        let again = self.store.maintain(idle)?;
        Ok(again || (due && self.store.has_held()))
    }
}
