//! What is known of the mesh: the answers of the broker, put together.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use serde::Deserialize;

use super::charts::{Deliveries, Rate};
use crate::api::{EventInfo, LockInfo, MessageInfo, PeerInfo, Status};
use crate::cli::said::{Teller, sentence};
use crate::cli::text::{short_id, short_path};
use crate::cli::top::clean::{clean, first_line};
use crate::model::{
    MessageId, MessageKind, Monotonic, Party, PeerId, SentStatus, Seq, Stage, Timestamp, event_type,
};

/// Messages and events kept, each.
pub(in crate::cli::top) const ROWS_MAX: usize = 2000;
/// Names of peers kept, those that have left too.
const NAMES_MAX: usize = 8192;
/// How much of a text is kept for its row, characters.
const LINE_CHARS_MAX: usize = 400;
/// How much of an event's payload is kept, characters.
const PAYLOAD_CHARS_MAX: usize = 2000;

/// What is known of a message's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::top) enum Text {
    /// Nothing yet.
    Unknown,
    /// Its first line.
    Known(Box<str>, MessageKind),
    /// Nobody can be asked for it.
    Gone,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::top) enum Marks {
    /// Not asked yet.
    Unknown,
    /// With its one recipient.
    Direct(Stage),
    /// It stands in a queue of its recipient's agent, like this.
    Sent(SentStatus),
    /// With all recipients of a broadcast.
    Broadcast { recipients: u32, delivered: u32, sent: u32, notified: u32, read: u32 },
}

impl Marks {
    /// Whether it can come no further.
    pub(in crate::cli::top) fn is_final(self) -> bool {
        match self {
            Self::Unknown | Self::Sent(_) => false,
            Self::Direct(stage) => stage == Stage::Read,
            Self::Broadcast { recipients, read, .. } => read == recipients,
        }
    }
}

/// A message that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::top) struct MessageRow {
    pub(in crate::cli::top) seq: Seq,
    pub(in crate::cli::top) id: MessageId,
    pub(in crate::cli::top) from: Party,
    /// None: to everyone.
    pub(in crate::cli::top) to: Option<Party>,
    pub(in crate::cli::top) at: Timestamp,
    pub(in crate::cli::top) text: Text,
    pub(in crate::cli::top) marks: Marks,
    /// Of a broadcast: who has read it, as far as it was seen.
    pub(in crate::cli::top) read_by: Vec<Party>,
    /// How often it has been looked at.
    pub(super) looks: u32,
    /// When it is worth another look.
    pub(super) look_at: Monotonic,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::top) struct EventRow {
    pub(in crate::cli::top) seq: Seq,
    pub(in crate::cli::top) kind: Box<str>,
    pub(in crate::cli::top) at: Timestamp,
    pub(in crate::cli::top) by: Option<Party>,
    /// In a sentence, clean.
    pub(in crate::cli::top) text: Box<str>,
}

/// What an event means for the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) peers: bool,
    pub(super) locks: bool,
    pub(super) messages: bool,
    /// Someone came who may have been gone.
    pub(super) came: Option<PeerId>,
}

/// What of the mesh's own events changes the picture.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Payload {
    message_id: Option<MessageId>,
    message_ids: Vec<MessageId>,
    from_peer: Option<Party>,
    to_peer: Option<Party>,
    read_by: Option<Party>,
    peer_id: Option<PeerId>,
    name: Option<Box<str>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::cli::top) struct Picture {
    /// By name.
    pub(in crate::cli::top) peers: Vec<PeerInfo>,
    /// By path.
    pub(in crate::cli::top) locks: Vec<LockInfo>,
    pub(in crate::cli::top) status: Option<Status>,
    /// Oldest first.
    pub(in crate::cli::top) messages: VecDeque<MessageRow>,
    /// Oldest first.
    pub(in crate::cli::top) events: VecDeque<EventRow>,
    pub(in crate::cli::top) rate: Rate,
    pub(in crate::cli::top) deliveries: Deliveries,
    /// While it is paused: the last one shown.
    pub(in crate::cli::top) frozen_at: Option<Seq>,
    names: HashMap<PeerId, Box<str>>,
}

impl Picture {
    /// What a party is called.
    pub(in crate::cli::top) fn name(&self, party: &Party) -> String {
        match party {
            Party::Peer(id) => match self.names.get(id) {
                Some(name) => clean(name, LINE_CHARS_MAX),
                None => short_id(&id.to_string()).to_owned(),
            },
            Party::Cli | Party::CliAt(_) => party.to_string(),
            Party::Label(label) => clean(&party.shown_as(label), LINE_CHARS_MAX),
        }
    }

    /// Remembers what a peer is called.
    fn learn(&mut self, id: PeerId, name: &str) {
        if self.names.get(&id).is_some_and(|known| **known == *name) {
            return;
        }
        if self.names.len() >= NAMES_MAX {
            let present: HashMap<_, _> =
                self.peers.iter().map(|peer| (peer.id, peer.name.clone())).collect();
            self.names = present;
        }
        self.names.insert(id, name.into());
    }

    pub(super) fn set_peers(&mut self, peers: Vec<PeerInfo>) {
        for peer in &peers {
            self.learn(peer.id, &peer.name);
        }
        self.peers = peers;
    }

    /// An event has happened. Paths are told as from `home`.
    pub(super) fn take_event(
        &mut self,
        event: &EventInfo,
        home: Option<&Path>,
        now: Monotonic,
    ) -> News {
        let payload: Payload = serde_json::from_str(&event.payload).unwrap_or_default();
        let mut news = News::default();
        match &*event.kind {
            event_type::MESSAGE_RECEIVED => {
                news.messages = true;
                self.take_message(event, &payload, now);
                return news;
            }
            // It shows in the message's own row.
            event_type::MESSAGE_READ => {
                news.messages = true;
                self.take_read(&payload, now);
                return news;
            }
            event_type::PEER_JOINED | event_type::PEER_LEFT => {
                news.peers = true;
                if let (Some(id), Some(name)) = (payload.peer_id, &payload.name) {
                    self.learn(id, name);
                    news.came = (&*event.kind == event_type::PEER_JOINED).then_some(id);
                }
            }
            event_type::FILE_LOCKED | event_type::FILE_UNLOCKED => {
                news.locks = true;
            }
            _ => {}
        }
        let row = EventRow {
            seq: event.seq,
            kind: clean(&event.kind, LINE_CHARS_MAX).into(),
            at: event.created_at,
            by: event.emitted_by.clone(),
            text: self.said(event, home).into(),
        };
        let frozen = self.frozen_at;
        push(&mut self.events, row, |row| frozen.is_some_and(|at| row.seq <= at));
        news
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
            text: Text::Unknown,
            marks: Marks::Unknown,
            read_by: Vec::new(),
            looks: 0,
            look_at: now,
        };
        let frozen = self.frozen_at;
        push(&mut self.messages, row, |row| frozen.is_some_and(|at| row.seq <= at));
    }

    /// What an event says, clean.
    fn said(&self, event: &EventInfo, home: Option<&Path>) -> String {
        let teller = Teller {
            name: &|party| self.name(party),
            text: &|text| clean(text, PAYLOAD_CHARS_MAX),
            path: &|path| clean(&short_path(path, home), PAYLOAD_CHARS_MAX),
        };
        sentence(event, &teller)
    }

    fn take_read(&mut self, payload: &Payload, now: Monotonic) {
        for id in &payload.message_ids {
            let Some(row) = self.message_mut(id.seq()) else { continue };
            match &payload.read_by {
                Some(reader) if row.to.as_ref() == Some(reader) => {
                    row.marks = Marks::Direct(Stage::Read);
                }
                Some(reader) if row.to.is_none() && !row.read_by.contains(reader) => {
                    row.read_by.push(reader.clone());
                }
                _ => {}
            }
            // Of a broadcast the counts have to be asked for.
            row.look_at = now;
            row.looks = row.looks.min(1);
        }
    }

    /// A message as the broker lists it; `is_sent`: in the list of its sender.
    pub(super) fn take_listed(&mut self, message: &MessageInfo, is_sent: bool) {
        if let Some(id) = message.from_peer.peer()
            && !self.names.contains_key(&id)
        {
            self.learn(id, &message.from_name);
        }
        if let (Some(_), Some(delivered_at)) = (&message.to_peer, message.delivered_at) {
            self.deliveries.insert(message.seq, message.created_at, delivered_at);
        }
        let Some(row) = self.message_mut(message.seq) else { return };
        let line = clean(first_line(&message.payload), LINE_CHARS_MAX);
        row.text = Text::Known(line.into(), message.kind);
        let marks = marks(message, is_sent);
        // In a recipient's list a broadcast has the marks of that recipient only.
        let fits = is_sent || row.to.is_some();
        // An answer that was under way when it was read says less than is known.
        if fits && row.marks != Marks::Direct(Stage::Read) {
            row.marks = marks;
        }
    }

    pub(in crate::cli::top) fn message(&self, seq: Seq) -> Option<&MessageRow> {
        let at = self.messages.binary_search_by_key(&seq, |row| row.seq).ok()?;
        self.messages.get(at)
    }

    pub(super) fn message_mut(&mut self, seq: Seq) -> Option<&mut MessageRow> {
        let at = self.messages.binary_search_by_key(&seq, |row| row.seq).ok()?;
        self.messages.get_mut(at)
    }

    /// Stops or goes on; what came meanwhile is shown then, as far as it is kept.
    pub(super) fn set_paused(&mut self, paused: bool) {
        let newest = |seq: Option<Seq>| seq.unwrap_or_default();
        let message = newest(self.messages.back().map(|row| row.seq));
        let event = newest(self.events.back().map(|row| row.seq));
        self.frozen_at = paused.then(|| message.max(event));
        for _ in ROWS_MAX..self.messages.len() {
            self.messages.pop_front();
        }
        for _ in ROWS_MAX..self.events.len() {
            self.events.pop_front();
        }
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

pub(in crate::cli::top) fn marks(message: &MessageInfo, is_sent: bool) -> Marks {
    if let (Some(recipients), true) = (message.recipients, is_sent) {
        let count = |count: Option<u32>| count.unwrap_or(0);
        return Marks::Broadcast {
            recipients,
            delivered: count(message.delivered_count),
            sent: count(message.sent_count),
            notified: count(message.notified_count),
            read: count(message.read_count),
        };
    }
    let stage = match (message.read_at, message.notified_at, message.sent_at) {
        (Some(_), _, _) => Stage::Read,
        (None, Some(_), _) => Stage::Notified,
        (None, None, Some(_)) => Stage::Sent,
        (None, None, None) if message.delivered => Stage::Delivered,
        (None, None, None) => Stage::Queued,
    };
    match (message.stage.unwrap_or(stage), message.sent_status) {
        (Stage::Sent, Some(status)) => Marks::Sent(status),
        (stage, _) => Marks::Direct(stage),
    }
}
