//! A backend in memory: the reference model of the simulation, and the simplest there is.
//!
//! Tables are ordered maps, and everything that can be found by looking at all rows is found that
//! way. Nothing survives the process.

mod checks;
mod ground;
mod history;
mod mailboxes;
mod marks;
mod pages;
mod retention;
mod rows;
mod state;
mod table;

use uuid::Uuid;

use super::journal::Position;
use super::{
    Counts, EventPage, EventQuery, HistoryQuery, InboxQuery, Mailbox, NewEvent, NewMessage, Page,
    PurgeBefore, Receipt, Repeated, Result, SentQuery, Size, StateChange, StateOutcome, Store,
    StoreError, Telling, To, Waiting,
};
use checks::offer;
use rows::{StoredEvent, StoredMessage, StoredPeer};
use table::Table;

use crate::model::{
    Event, Invitation, Lock, MachineId, MachineName, MachineRecord, MeshTime, Message, MessageId,
    Party, PeerId, PeerRecord, Recipient, Seq, StateEntry, TimeMark, Timestamp, Way, type_matches,
};

/// The backend in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    peers: Table<PeerId, StoredPeer>,
    messages: Table<Seq, StoredMessage>,
    events: Table<Seq, StoredEvent>,
    client_ids: Table<(Party, Uuid), Seq>,
    state: Table<(Box<str>, Box<str>), StateEntry>,
    locks: Table<Seq, Lock>,
    heard: Table<Box<str>, Box<str>>,
    machines: Table<MachineId, MachineRecord>,
    invitations: Table<[u8; 32], Invitation>,
    times: Table<MeshTime, (TimeMark, Seq)>,
    last_seq: Seq,
    /// While there is a turn: [`Self::last_seq`] at its beginning.
    turn: Option<Seq>,
    /// If turns are held: what was settled last, and where.
    settled: Option<Box<(Self, Position)>>,
    /// Turns are held.
    held: bool,
    /// Messages that were looked at for inboxes.
    #[cfg(test)]
    pub(crate) looked_at: usize,
}

/// Does the same to every table.
macro_rules! all_tables {
    ($store:ident, $table:ident => $what:expr) => {
        all_tables! {
            $store, $table => $what;
            peers messages events client_ids state locks heard machines invitations times
        }
    };
    ($store:ident, $table:ident => $what:expr; $($name:ident)*) => {{
        $({
            let $table = &mut $store.$name;
            $what
        })*
    }};
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn begin_turn(&mut self) -> Result<()> {
        if self.turn.is_some() {
            return Err(StoreError::Failed("a turn in a turn".into()));
        }
        self.turn = Some(self.last_seq);
        Ok(())
    }

    fn commit_turn(&mut self) -> Result<()> {
        self.check_turn()?;
        all_tables!(self, table => table.keep_changes());
        self.turn = None;
        self.held = self.settled.is_some();
        Ok(())
    }

    fn rollback_turn(&mut self) {
        if let Some(last_seq) = self.turn.take() {
            all_tables!(self, table => table.undo_changes());
            self.last_seq = last_seq;
        }
    }

    fn turn_wrote(&self) -> bool {
        let Self { peers, messages, events, client_ids, state, locks, heard, .. } = self;
        let Self { machines, invitations, times: _, .. } = self;
        !(peers.undo.is_empty()
            && messages.undo.is_empty()
            && events.undo.is_empty()
            && client_ids.undo.is_empty()
            && state.undo.is_empty()
            && locks.undo.is_empty()
            && heard.undo.is_empty()
            && machines.undo.is_empty()
            && invitations.undo.is_empty())
    }

    fn next_seq(&mut self) -> Seq {
        self.last_seq = self.last_seq.next();
        self.last_seq
    }

    fn last_seq(&self) -> Seq {
        self.last_seq
    }

    fn first_seq(&mut self) -> Result<Seq> {
        let message = self.messages.rows.keys().next();
        let event = self.events.rows.keys().next();
        let first = message.into_iter().chain(event).min();
        Ok(first.copied().unwrap_or_else(|| self.last_seq.next()))
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for message in self.messages.rows.values() {
            let marks = || message.recipients.values();
            counts.messages.total += 1;
            counts.messages.undelivered += u64::from(marks().any(|m| m.delivered_at.is_none()));
            counts.messages.unread += u64::from(marks().any(|m| m.read_at.is_none()));
        }
        counts.events = counts.messages.total + self.events.rows.len() as u64;
        counts.state_entries = self.state.rows.len() as u64;
        counts.locks = self.locks.rows.len() as u64;
        counts
    }

    fn size(&self) -> Size {
        Size::default()
    }

    fn present_peers(&mut self) -> Result<Vec<PeerRecord>> {
        let records = self.peers.rows.values().map(|peer| &peer.record);
        Ok(records.filter(|record| record.left_at.is_none()).cloned().collect())
    }

    fn peer(&mut self, id: PeerId) -> Result<Option<PeerRecord>> {
        Ok(self.peers.get(&id).map(|peer| peer.record.clone()))
    }

    fn left_session(
        &mut self,
        agent_type: &str,
        session: &str,
        host: Option<MachineName>,
    ) -> Result<Option<PeerRecord>> {
        let is_it = |record: &&PeerRecord| {
            record.left_at.is_some()
                && record.resumable
                && record.host == host
                && *record.agent_type == *agent_type
                && record.session_id.as_deref() == Some(session)
        };
        let records = self.peers.rows.values().map(|peer| &peer.record);
        Ok(records.filter(is_it).max_by_key(|record| (record.left_at, record.id)).cloned())
    }

    fn departed_peers(&mut self, limit: u32) -> Result<Vec<PeerRecord>> {
        Ok(self.departed(limit))
    }

    fn put_peer(&mut self, record: &PeerRecord) -> Result<()> {
        self.check_turn()?;
        let left_seq = self.last_seq;
        self.peers.put(record.id, StoredPeer { record: record.clone(), left_seq });
        Ok(())
    }

    fn reserved_names(&mut self, since: MeshTime) -> Result<Vec<(Box<str>, PeerId)>> {
        let since = self.seq_at(since);
        let mut gone: Vec<&StoredPeer> = (self.peers.rows.values())
            .filter(|peer| peer.record.left_at.is_some() && peer.left_seq >= since)
            .filter(|peer| peer.record.name_is_automatic)
            .collect();
        gone.sort_by_key(|peer| (peer.left_seq, peer.record.id));
        Ok(gone.into_iter().map(|peer| (peer.record.name.clone(), peer.record.id)).collect())
    }

    fn mailboxes(&mut self, name: &str) -> Result<Vec<Mailbox>> {
        Ok(self.mailboxes_called(name))
    }

    fn send(&mut self, message: &NewMessage<'_>) -> Result<()> {
        self.check_row(message.seq)?;
        self.remember_client_id(Some(message.from), message.client_id, message.seq);
        let mailbox = match message.to {
            To::One(recipient) => self.mailbox_of(recipient),
            _ => None,
        };
        self.messages.put(message.seq, StoredMessage::new(message, mailbox));
        Ok(())
    }

    fn client_id(&mut self, sender: &Party, client_id: Uuid) -> Result<Option<Repeated>> {
        let Some(seq) = self.client_ids.get(&(sender.clone(), client_id)) else { return Ok(None) };
        let message = self.messages.get(seq).map(StoredMessage::seen_by_sender);
        let event = self.events.get(seq).map(|row| row.event.clone());
        Ok(message
            .map(|message| Repeated::Message(Box::new(message)))
            .or_else(|| event.map(|event| Repeated::Event(Box::new(event)))))
    }

    fn inbox(
        &mut self,
        query: &InboxQuery<'_>,
        mark_read_at: Option<Timestamp>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Page> {
        if mark_read_at.is_some() {
            self.check_turn()?;
        }
        Ok(self.inbox_page(query, mark_read_at, keep))
    }

    fn sent(
        &mut self,
        query: &SentQuery<'_>,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Page> {
        Ok(self.sent_page(query, keep))
    }

    fn history(
        &mut self,
        query: &HistoryQuery,
        keep: &mut dyn FnMut(&Message) -> bool,
    ) -> Result<Vec<Message>> {
        Ok(self.between_all(query, keep))
    }

    fn mark_read(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        at: Timestamp,
        way: Option<Way>,
    ) -> Result<Vec<Receipt>> {
        self.check_turn()?;
        let mut read = Vec::new();
        for id in ids {
            if self.mark_id(recipient, *id, |marks| marks.read(at, way)) {
                read.extend(self.messages.get(&id.seq()).map(StoredMessage::receipt));
            }
        }
        Ok(read)
    }

    fn mark_told(
        &mut self,
        recipient: Recipient,
        ids: &[MessageId],
        telling: Telling,
    ) -> Result<u64> {
        self.check_turn()?;
        let mut marked = 0;
        for id in ids {
            let changed = self.mark_id(recipient, *id, |marks| marks.told(telling));
            marked += u64::from(changed);
        }
        Ok(marked)
    }

    fn mark_delivered(&mut self, peer: PeerId, seqs: &[Seq], at: Timestamp) -> Result<()> {
        self.check_turn()?;
        for seq in seqs {
            self.mark(Recipient::Peer(peer), *seq, |marks| *marks = marks.delivered(at));
        }
        Ok(())
    }

    fn mark_broadcast_delivered(
        &mut self,
        seq: Seq,
        peers: &[PeerId],
        at: Timestamp,
    ) -> Result<()> {
        for peer in peers {
            self.mark_delivered(*peer, &[seq], at)?;
        }
        Ok(())
    }

    /// There is nothing to be gained from it here, but it can be found to be wrong.
    fn delivered_to(&mut self, peer: PeerId, seq: Seq) -> Result<()> {
        match self.undelivered(peer, Seq(0), 1)?.messages.first() {
            Some(message) if message.seq <= seq => Err(StoreError::Failed(format!(
                "message {} to {peer} is not delivered, though all up to {seq} should be",
                message.seq
            ))),
            _ => Ok(()),
        }
    }

    fn undelivered(&mut self, peer: PeerId, after: Seq, limit: u32) -> Result<Waiting> {
        let places = self.places(Recipient::Peer(peer));
        let rows = self.messages_between(Some(after), None).filter_map(|row| {
            let marks = row.marks_in(&places)?;
            marks.delivered_at.is_none().then(|| row.seen_with(marks))
        });
        let messages: Vec<Message> = rows.take(limit as usize).collect();
        let full = messages.len() >= limit as usize;
        let next = messages.last().filter(|_| full).map(|message| message.seq);
        Ok(Waiting { messages, next })
    }

    fn unread_direct(&mut self, peer: PeerId, limit: u32) -> Result<Vec<Receipt>> {
        Ok(self.direct_unread(peer, limit))
    }

    fn unread_count(&mut self, recipient: Recipient) -> Result<u64> {
        let places = self.places(recipient);
        let marks = self.messages.rows.values().filter_map(|row| row.marks_in(&places));
        Ok(marks.filter(|marks| marks.read_at.is_none()).count() as u64)
    }

    fn append_event(&mut self, event: &NewEvent<'_>) -> Result<()> {
        self.check_row(event.seq)?;
        self.remember_client_id(event.emitted_by, event.client_id, event.seq);
        let stored = StoredEvent {
            event: Event {
                seq: event.seq,
                id: event.id,
                kind: event.kind.into(),
                payload: event.payload.into(),
                emitted_by: event.emitted_by.cloned(),
                created_at: event.created_at,
            },
            client_id: event.client_id,
        };
        self.events.put(event.seq, stored);
        Ok(())
    }

    fn events(
        &mut self,
        query: &EventQuery<'_>,
        keep: &mut dyn FnMut(&Event) -> bool,
    ) -> Result<EventPage> {
        let stored = self.events.rows.values().map(|row| row.event.clone());
        let derived = self.messages.rows.values().map(StoredMessage::as_event);
        let mut found: Vec<Event> = (stored.chain(derived))
            .filter(|event| query.after.is_none_or(|after| event.seq > after))
            .filter(|event| query.since.is_none_or(|since| event.created_at > since))
            .filter(|event| type_matches(query.types, &event.kind))
            .collect();
        found.sort_by_key(|event| event.seq);
        let newest_first = query.since.is_none() && query.after.is_none();
        if newest_first {
            found.reverse();
        }
        let found_count = found.len();
        let mut events = offer(found.into_iter(), query.limit, keep);
        if newest_first {
            events.reverse();
        }
        let cut = !newest_first && events.len() < found_count;
        let last_seq = events.last().filter(|_| cut).map_or(self.last_seq, |event| event.seq);
        Ok(EventPage { events, last_seq })
    }

    fn state(&mut self, namespace: &str, key: &str) -> Result<Option<StateEntry>> {
        Ok(self.state.get(&(namespace.into(), key.into())).cloned())
    }

    fn list_state(
        &mut self,
        namespace: Option<&str>,
        prefix: &str,
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Result<Vec<StateEntry>> {
        let entries = self.state.rows.values();
        let matching = entries.filter(|entry| {
            namespace.is_none_or(|it| *it == *entry.namespace)
                && entry.key.starts_with(prefix)
                && entry.expires_at.is_none_or(|at| at > now)
        });
        Ok(offer(matching.cloned(), limit, keep))
    }

    fn state_after(
        &mut self,
        after: (&str, &str),
        now: MeshTime,
        limit: u32,
        keep: &mut dyn FnMut(&StateEntry) -> bool,
    ) -> Result<Vec<StateEntry>> {
        let live = |entry: &&StateEntry| entry.expires_at.is_none_or(|at| at > now);
        let rows = self.state.rows.values();
        let later = rows.filter(|entry| (&*entry.namespace, &*entry.key) > after);
        Ok(offer(later.filter(live).cloned(), limit, keep))
    }

    fn set_state(&mut self, entry: &StateEntry, if_version: Option<Seq>) -> Result<StateOutcome> {
        self.check_turn()?;
        Ok(self.set_entry(entry, if_version))
    }

    fn delete_state(&mut self, change: &StateChange<'_>) -> Result<StateOutcome> {
        self.check_turn()?;
        Ok(self.delete_entry(change))
    }

    fn next_state_expiry(&mut self) -> Result<Option<MeshTime>> {
        Ok(self.state.rows.values().filter_map(|entry| entry.expires_at).min())
    }

    fn expired_state(&mut self, now: MeshTime) -> Result<u64> {
        let entries = self.state.rows.values();
        let expired = entries.filter(|entry| entry.expires_at.is_some_and(|at| at <= now));
        Ok(expired.count() as u64)
    }

    fn expire_state(&mut self, now: MeshTime, limit: u32) -> Result<Vec<StateEntry>> {
        self.check_turn()?;
        Ok(self.expire_entries(now, limit))
    }

    fn put_lock(&mut self, lock: &Lock) -> Result<()> {
        self.check_turn()?;
        self.locks.put(lock.fence, lock.clone());
        Ok(())
    }

    fn remove_lock(&mut self, fence: Seq) -> Result<bool> {
        self.check_turn()?;
        Ok(self.locks.remove(&fence).is_some())
    }

    fn locks(&mut self) -> Result<Vec<Lock>> {
        Ok(self.locks.rows.values().cloned().collect())
    }

    fn next_lock_expiry(&mut self) -> Result<Option<MeshTime>> {
        Ok(self.locks.rows.values().map(|lock| lock.expires_at).min())
    }

    fn expire_locks(&mut self, now: MeshTime, limit: u32) -> Result<Vec<Lock>> {
        self.check_turn()?;
        let locks = self.locks.rows.values();
        let mut expired: Vec<_> = locks
            .filter(|lock| lock.expires_at <= now)
            .map(|lock| (lock.expires_at, lock.fence))
            .collect();
        expired.sort();
        expired.truncate(limit as usize);
        Ok(expired.iter().filter_map(|(_, fence)| self.locks.remove(fence)).collect())
    }

    fn put_heard(&mut self, kind: &str, facts: Option<&str>) -> Result<()> {
        self.check_turn()?;
        match facts {
            Some(facts) => self.heard.put(kind.into(), facts.into()),
            None => _ = self.heard.remove(&Box::from(kind)),
        }
        Ok(())
    }

    fn heard(&mut self) -> Result<Vec<(Box<str>, Box<str>)>> {
        Ok(self.heard.rows.clone().into_iter().collect())
    }

    fn machines(&mut self) -> Result<Vec<MachineRecord>> {
        Ok(self.machines.rows.values().cloned().collect())
    }

    fn put_machine(&mut self, record: &MachineRecord) -> Result<()> {
        self.check_turn()?;
        let mut others = self.machines.rows.values().filter(|other| other.id != record.id);
        if others.any(|other| other.name == record.name) {
            return Err(StoreError::Failed(format!("{} is another machine", record.name)));
        }
        self.machines.put(record.id, record.clone());
        Ok(())
    }

    fn invitations(&mut self) -> Result<Vec<Invitation>> {
        Ok(self.invitations.rows.values().cloned().collect())
    }

    fn put_invitation(&mut self, invitation: &Invitation) -> Result<()> {
        self.check_turn()?;
        self.invitations.put(invitation.token_hash, invitation.clone());
        Ok(())
    }

    fn remove_invitation(&mut self, token_hash: &[u8; 32]) -> Result<()> {
        self.check_turn()?;
        self.invitations.remove(token_hash);
        Ok(())
    }

    fn note_time(&mut self, mark: &TimeMark) -> Result<()> {
        self.check_turn()?;
        self.times.put(mark.at, (*mark, self.last_seq));
        Ok(())
    }

    fn make_older(&mut self, to: Seq, ms: i64) -> Result<()> {
        self.check_turn()?;
        self.make_marks_older(to, ms);
        self.make_entries_older(to, ms);
        Ok(())
    }

    fn last_time(&mut self) -> Result<Option<(TimeMark, Seq)>> {
        Ok(self.times.rows.values().next_back().copied())
    }

    fn purge(&mut self, before: &PurgeBefore, limit: u32) -> Result<bool> {
        self.check_turn()?;
        Ok(self.remove_old(before, limit))
    }

    fn maintain(&mut self, _idle: bool) -> Result<bool> {
        Ok(false)
    }
}
