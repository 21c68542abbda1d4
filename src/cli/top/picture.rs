//! What is known of the mesh: the answers of the broker, put together.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use super::asks::Purpose;
use super::charts::{Deliveries, Rate};
use super::clean::{clean, first_line};
use crate::api::{EventInfo, LockInfo, MessageInfo, PeerInfo, Status};
use crate::cli::said::{self, Payload, Teller};
use crate::cli::text::{short_id, short_path};
use crate::model::{MessageId, Monotonic, Party, PeerId, Seq, Stage, Timestamp, event_type};

/// Messages and events kept, each.
pub(super) const ROWS_MAX: usize = 2000;
/// Names of peers kept, those that have left too.
const NAMES_MAX: usize = 8192;
/// How much of a text is kept for its row, characters.
const LINE_CHARS_MAX: usize = 400;
/// How much of an event's payload is kept, characters.
const PAYLOAD_CHARS_MAX: usize = 2000;

/// A message that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageRow {
    pub(super) seq: Seq,
    pub(super) id: MessageId,
    pub(super) from: Party,
    /// None: to several.
    pub(super) to: Option<Party>,
    pub(super) at: Timestamp,
    /// The rest, with the first line of its text only, which is clean.
    pub(super) info: Option<Box<MessageInfo>>,
    /// Nothing more can be learnt about it.
    pub(super) is_gone: bool,
    /// Of a broadcast: who has read it, as far as it was seen.
    pub(super) read_by: Vec<Party>,
    /// How often it has been looked at.
    pub(super) looks: u32,
    /// When it is worth another look.
    pub(super) look_at: Monotonic,
}

impl MessageRow {
    /// Whether everything is known of it that ever will be.
    pub(super) fn is_settled(&self) -> bool {
        self.is_gone || self.info.as_ref().is_some_and(|info| is_final(info))
    }

    /// Whether it waits for the person.
    pub(super) fn is_for_you(&self) -> bool {
        let info = self.info.as_ref();
        self.to == Some(Party::Cli) && info.is_some_and(|info| info.read_at.is_none())
    }
}

/// Whether a message can come no further.
pub(super) fn is_final(message: &MessageInfo) -> bool {
    match message.recipients {
        Some(recipients) => message.read_count == Some(recipients),
        None => matches!(message.stage, Some(Stage::Read | Stage::Undeliverable)),
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventRow {
    pub(super) seq: Seq,
    pub(super) kind: Box<str>,
    pub(super) at: Timestamp,
    pub(super) by: Option<Party>,
    /// In a sentence, clean.
    pub(super) text: Box<str>,
}

/// What is to be looked at again when peers or messages have changed.
const PEERS_CHANGED: &[Purpose] = &[Purpose::Peers, Purpose::Status];
/// The same for locks.
const LOCKS_CHANGED: &[Purpose] = &[Purpose::Locks, Purpose::Peers, Purpose::Status];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Picture {
    /// By name.
    pub(super) peers: Vec<PeerInfo>,
    /// By path.
    pub(super) locks: Vec<LockInfo>,
    pub(super) status: Option<Status>,
    /// Oldest first.
    pub(super) messages: VecDeque<MessageRow>,
    /// Oldest first.
    pub(super) events: VecDeque<EventRow>,
    pub(super) rate: Rate,
    pub(super) deliveries: Deliveries,
    /// While it is paused: the last one shown.
    pub(super) frozen_at: Option<Seq>,
    names: HashMap<PeerId, Box<str>>,
}

impl Picture {
    /// What a party is called.
    pub(super) fn name(&self, party: &Party) -> String {
        match party {
            Party::Peer(id) => match self.names.get(id) {
                Some(name) => clean(name, LINE_CHARS_MAX),
                None => short_id(&id.to_string()).to_owned(),
            },
            Party::Cli | Party::CliAt(_) => party.to_string(),
            Party::Label(label) => clean(&party.shown_as(label), LINE_CHARS_MAX),
        }
    }

    /// What the recipient of a message is called: a peer, a name that nobody has now, or a group.
    pub(super) fn recipient(&self, row: &MessageRow) -> String {
        let info = row.info.as_ref();
        let named = info.and_then(|info| info.to_group.as_ref().or(info.to_name.as_ref()));
        match (named, &row.to) {
            (Some(name), _) => clean(name, LINE_CHARS_MAX),
            (None, Some(party)) => self.name(party),
            (None, None) => "all".into(),
        }
    }

    /// Remembers what a peer is called.
    fn learn(&mut self, id: PeerId, name: &str) {
        if self.names.get(&id).is_some_and(|known| **known == *name) {
            return;
        }
        if self.names.len() >= NAMES_MAX {
            self.names = self.peers.iter().map(|peer| (peer.id, peer.name.clone())).collect();
        }
        self.names.insert(id, name.into());
    }

    pub(super) fn set_peers(&mut self, peers: Vec<PeerInfo>) {
        for peer in &peers {
            self.learn(peer.id, &peer.name);
        }
        self.peers = peers;
    }

    /// An event has happened; gives what is to be looked at again. Paths are told as from `home`.
    pub(super) fn take_event(
        &mut self,
        event: &EventInfo,
        home: Option<&Path>,
        now: Monotonic,
    ) -> &'static [Purpose] {
        let payload = said::read(event);
        let mut changed: &[Purpose] = &[];
        match &*event.kind {
            // These two show in the message's own row.
            event_type::MESSAGE_RECEIVED => {
                self.take_message(event, &payload, now);
                return PEERS_CHANGED;
            }
            event_type::MESSAGE_READ => {
                self.take_read(&payload, now);
                return PEERS_CHANGED;
            }
            event_type::PEER_JOINED | event_type::PEER_LEFT | event_type::PEER_RENAMED => {
                changed = PEERS_CHANGED;
                if let (Some(id), Some(name)) = (payload.peer_id, &payload.name) {
                    self.learn(id, name);
                }
            }
            event_type::FILE_LOCKED | event_type::FILE_UNLOCKED => changed = LOCKS_CHANGED,
            event_type::MESSAGE_UNDELIVERABLE => self.look_again(&payload, now),
            _ => {}
        }
        let teller = Teller {
            name: &|party| self.name(party),
            text: &|text| clean(text, PAYLOAD_CHARS_MAX),
            path: &|path| clean(&short_path(path, home), PAYLOAD_CHARS_MAX),
        };
        let row = EventRow {
            seq: event.seq,
            kind: clean(&event.kind, LINE_CHARS_MAX).into(),
            at: event.created_at,
            by: event.emitted_by.clone(),
            text: said::sentence(event, &teller).into(),
        };
        let frozen = self.frozen_at;
        push(&mut self.events, row, |row| frozen.is_some_and(|at| row.seq <= at));
        changed
    }

    fn take_message(&mut self, event: &EventInfo, payload: &Payload, now: Monotonic) {
        let (Some(id), Some(from)) = (payload.message_id, payload.from_peer.clone()) else {
            return;
        };
        self.rate.count(event.created_at);
        let row = MessageRow {
            seq: event.seq,
            id,
            from,
            to: payload.to_peer.clone(),
            at: event.created_at,
            info: None,
            is_gone: false,
            read_by: Vec::new(),
            looks: 0,
            look_at: now,
        };
        let frozen = self.frozen_at;
        push(&mut self.messages, row, |row| frozen.is_some_and(|at| row.seq <= at));
    }

    fn take_read(&mut self, payload: &Payload, now: Monotonic) {
        if let Some(reader) = &payload.read_by {
            for id in &payload.message_ids {
                if let Some(row) = self.message_mut(id.seq())
                    && row.to.is_none()
                    && !row.read_by.contains(reader)
                {
                    row.read_by.push(reader.clone());
                }
            }
        }
        self.look_again(payload, now);
    }

    /// Something has become of these messages.
    fn look_again(&mut self, payload: &Payload, now: Monotonic) {
        for id in &payload.message_ids {
            if let Some(row) = self.message_mut(id.seq()) {
                row.look_at = now;
                row.looks = row.looks.min(1);
            }
        }
    }

    /// A message as the broker lists it.
    pub(super) fn take_listed(&mut self, message: &MessageInfo) {
        if let Some(id) = message.from_peer.peer()
            && !self.names.contains_key(&id)
        {
            self.learn(id, &message.from_name);
        }
        if let (Some(_), Some(delivered_at)) = (&message.to_peer, message.delivered_at) {
            self.deliveries.insert(message.seq, message.created_at, delivered_at);
        }
        if let Some(row) = self.message_mut(message.seq) {
            let line = clean(first_line(&message.payload), LINE_CHARS_MAX);
            row.info = Some(Box::new(MessageInfo { payload: line.into(), ..message.clone() }));
        }
    }

    pub(super) fn message(&self, seq: Seq) -> Option<&MessageRow> {
        let at = self.messages.binary_search_by_key(&seq, |row| row.seq).ok()?;
        self.messages.get(at)
    }

    pub(super) fn message_mut(&mut self, seq: Seq) -> Option<&mut MessageRow> {
        let at = self.messages.binary_search_by_key(&seq, |row| row.seq).ok()?;
        self.messages.get_mut(at)
    }

    pub(super) fn event(&self, seq: Seq) -> Option<&EventRow> {
        let at = self.events.binary_search_by_key(&seq, |row| row.seq).ok()?;
        self.events.get(at)
    }

    pub(super) fn peer(&self, id: PeerId) -> Option<&PeerInfo> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    pub(super) fn lock(&self, fence: Seq) -> Option<&LockInfo> {
        self.locks.iter().find(|lock| lock.fence == fence)
    }

    /// The number of the last message or event that was seen.
    pub(super) fn newest(&self) -> Option<Seq> {
        let message = self.messages.back().map(|row| row.seq);
        message.max(self.events.back().map(|row| row.seq))
    }

    /// Stops or goes on; what came meanwhile is shown then, as far as it is kept.
    pub(super) fn set_paused(&mut self, paused: bool) {
        self.frozen_at = paused.then(|| self.newest().unwrap_or_default());
        self.messages.drain(..self.messages.len().saturating_sub(ROWS_MAX));
        self.events.drain(..self.events.len().saturating_sub(ROWS_MAX));
    }

    /// Forgets what has passed: the database is another.
    pub(super) fn begin_anew(&mut self) {
        let names = std::mem::take(&mut self.names);
        let status = self.status.take();
        *self = Self { status, names, ..Self::default() };
    }
}

/// Adds a row; of those not kept for a paused screen, the oldest go.
fn push<T>(rows: &mut VecDeque<T>, row: T, is_frozen: impl Fn(&T) -> bool) {
    rows.push_back(row);
    if rows.len() > ROWS_MAX {
        let frozen = rows.partition_point(is_frozen);
        if rows.len() - frozen > ROWS_MAX || frozen == 0 {
            rows.remove(frozen);
        }
    }
}
