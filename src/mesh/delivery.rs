//! Pushing messages to a peer: the window of unconfirmed frames, and the backlog behind it.
//!
//! A message is pushed at once if the peer's link is up, nothing older waits and the window has
//! room. Otherwise it waits in the store, and [`Mesh::feed`] pushes it, in order, when there is room.

use std::collections::VecDeque;
use std::ops::Bound;
use std::rc::Rc;

use super::Mesh;
use super::turn::{Push, PushTarget};
use crate::api::{PushFrame, Pushed, PushedMessage, Sent};
use crate::limits::{WINDOW_BYTES_MAX, WINDOW_FRAMES_MAX};
use crate::model::{Message, MessageId, Now, Party, PeerId, Seq, Timestamp};
use crate::store::{Result, Store};

/// So many marks are written in a turn of their own: they are those of a message to many, and whoever
/// asks next would have to wait for them.
const MARKS_OF_MANY: usize = 64;

/// A message frame that was handed to the shell and is not confirmed yet.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    id: MessageId,
    bytes: usize,
    /// The turn that pushed it: if that does not commit, the frame never left.
    turn: u64,
}

/// A peer's push connection, as the core sees it.
#[derive(Debug, Default)]
pub(super) struct PushLink {
    up: bool,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// Older messages wait in the store: nothing newer may overtake them.
    backlog: bool,
    /// What was pushed last did not leave: nothing more is pushed until there is room.
    blocked: bool,
    /// Everything up to here was pushed on this connection, or needs no push.
    pushed_to: Seq,
    /// The store was told that everything up to here is delivered.
    noted: Seq,
}

impl PushLink {
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// Whether a new message is pushed at once, if there is room.
    fn has_caught_up(&self) -> bool {
        self.up && !self.backlog
    }

    /// Whether there is room for what waits in the store.
    fn is_hungry(&self) -> bool {
        self.backlog && self.has_room()
    }

    fn has_room(&self) -> bool {
        !self.blocked
            && self.in_flight.len() < WINDOW_FRAMES_MAX
            && self.in_flight_bytes < WINDOW_BYTES_MAX
    }

    fn admits(&self, bytes: usize) -> bool {
        let fits = self.in_flight.is_empty()
            || (self.in_flight.len() < WINDOW_FRAMES_MAX
                && self.in_flight_bytes + bytes <= WINDOW_BYTES_MAX);
        fits && !self.blocked
    }

    pub(super) fn open(&mut self) {
        *self = Self { up: true, backlog: true, ..Self::default() };
    }

    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// Up to where the peer has confirmed everything, if `last` is the end of all.
    fn delivered_to(&self, last: Seq) -> Seq {
        match self.in_flight.front() {
            Some(first) => Seq(first.id.seq().0.saturating_sub(1)),
            None if self.backlog => self.pushed_to,
            None => last,
        }
    }

    fn push(&mut self, id: MessageId, bytes: usize, turn: u64) {
        self.in_flight.push_back(InFlight { id, bytes, turn });
        self.in_flight_bytes += bytes;
        self.pushed_to = id.seq();
    }

    /// Takes a confirmed frame out of the window, if it is there.
    fn confirm(&mut self, is_it: impl Fn(&InFlight) -> bool) -> Option<MessageId> {
        let at = self.in_flight.iter().position(is_it)?;
        let frame = self.in_flight.remove(at)?;
        self.in_flight_bytes -= frame.bytes;
        Some(frame.id)
    }

    /// Takes back what `turn` pushed: it never left.
    pub(super) fn abort(&mut self, turn: u64) {
        // What the store was told in the turn it has forgotten.
        self.noted = Seq(0);
        self.take_back(|frame| frame.turn == turn);
    }

    /// Takes back the last frames of which this is true: they never left.
    fn take_back(&mut self, is_one: impl Fn(&InFlight) -> bool) {
        while self.in_flight.back().is_some_and(&is_one) {
            if let Some(frame) = self.in_flight.pop_back() {
                self.in_flight_bytes -= frame.bytes;
            }
        }
        if self.up {
            self.backlog = true;
            self.pushed_to = self.in_flight.back().map_or(Seq(0), |frame| frame.id.seq());
        }
    }

    pub(super) fn check(&self, peer: PeerId) {
        let bytes: usize = self.in_flight.iter().map(|frame| frame.bytes).sum();
        assert_eq!(bytes, self.in_flight_bytes, "bytes in flight of {peer}");
        assert!(self.in_flight.len() <= WINDOW_FRAMES_MAX, "window of {peer}");
        assert!(self.up || self.in_flight.is_empty(), "frames in flight of {peer}, link down");
        let in_order = self.in_flight.iter().zip(self.in_flight.iter().skip(1));
        assert!(in_order.into_iter().all(|(a, b)| a.id.seq() < b.id.seq()), "order for {peer}");
    }
}

/// A message that a peer has confirmed, still to be marked so in the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) peer: PeerId,
    pub(super) seq: Seq,
    pub(super) at: Timestamp,
}

impl<S: Store> Mesh<S> {
    /// The shell has connected to a peer's socket. `process_known`: it watches the process at the
    /// other end. To be called in a turn.
    ///
    /// # Errors
    /// Those of the store.
    pub fn link_up(&mut self, peer: PeerId, process_known: bool, now: Now) -> Result<()> {
        self.now = now;
        let Some(present) = self.peers.get_mut(&peer) else { return Ok(()) };
        present.link.open();
        self.hungry.insert(peer);
        self.process_known(peer, process_known, now);
        Ok(())
    }

    /// The connection to a peer's socket has ended.
    pub fn link_down(&mut self, peer: PeerId) {
        if let Some(present) = self.peers.get_mut(&peer) {
            present.link.close();
        }
        self.hungry.remove(&peer);
    }

    /// A peer has acknowledged a message. Acknowledgements of what it was not sent are ignored.
    pub fn acknowledged(&mut self, peer: PeerId, id: MessageId, now: Now) {
        self.now = now;
        let Some(present) = self.peers.get_mut(&peer).filter(|present| present.record.acks) else {
            return;
        };
        if present.link.confirm(|frame| frame.id == id).is_some() {
            let is_hungry = present.link.is_hungry();
            self.confirmed(peer, id.seq(), is_hungry);
        }
    }

    /// A frame with a message has left the process whole. Without acknowledgements that is all that
    /// can be known.
    pub fn frame_written(&mut self, peer: PeerId, message: Seq, now: Now) {
        self.now = now;
        let Some(present) = self.peers.get_mut(&peer).filter(|present| !present.record.acks) else {
            return;
        };
        if present.link.confirm(|frame| frame.id.seq() == message).is_some() {
            let is_hungry = present.link.is_hungry();
            *self.written_now.entry(message).or_default() += 1;
            self.confirmed(peer, message, is_hungry);
        }
    }

    /// A peer's machine says which messages the peer has had on a former connection: those that it has
    /// acknowledged, and those that were written to it. To be called in a turn, before
    /// [`Mesh::link_up`], which would have them pushed again.
    ///
    /// # Errors
    /// Those of the store.
    pub fn had_before(
        &mut self,
        peer: PeerId,
        acknowledged: &[MessageId],
        written: &[Seq],
        now: Now,
    ) -> Result<()> {
        self.now = now;
        let Some(present) = self.peers.get(&peer) else { return Ok(()) };
        let is_hungry = present.link.is_hungry();
        let ids = acknowledged.iter().map(|id| (id.seq(), Some(*id)));
        let seqs = written.iter().map(|seq| (*seq, None));
        let had: Vec<(Seq, Option<MessageId>)> =
            if present.record.acks { ids.collect() } else { seqs.collect() };
        for (seq, id) in had {
            // Another machine says so: it can only be about what waits for this peer.
            let waits = self.store.undelivered(peer, Seq(seq.0.saturating_sub(1)), 1)?.messages;
            let is_it = waits
                .first()
                .is_some_and(|message| message.seq == seq && id.is_none_or(|id| message.id == id));
            if is_it && !self.marks.iter().any(|mark| mark.peer == peer && mark.seq == seq) {
                self.confirmed(peer, seq, is_hungry);
            }
        }
        Ok(())
    }

    /// The frames of this message and of those after it did not leave for a peer: they wait in the store
    /// again, until [`Mesh::has_room`].
    pub fn held_back(&mut self, peer: PeerId, from: Seq) {
        let Some(present) = self.peers.get_mut(&peer).filter(|present| present.link.up) else {
            return;
        };
        present.link.blocked = true;
        present.link.take_back(|frame| frame.id.seq() >= from);
        self.hungry.remove(&peer);
    }

    /// A peer of which frames were held back can be pushed to again.
    pub fn has_room(&mut self, peer: PeerId) {
        let Some(present) = self.peers.get_mut(&peer).filter(|present| present.link.blocked) else {
            return;
        };
        present.link.blocked = false;
        self.hungry.insert(peer);
    }

    fn confirmed(&mut self, peer: PeerId, seq: Seq, is_hungry: bool) {
        self.marks.push(Mark { peer, seq, at: self.now.wall });
        if is_hungry {
            self.hungry.insert(peer);
        }
    }

    /// Fills in how far a message of this turn has come, now that its frames were written.
    pub fn confirm(&self, sent: &mut Sent) {
        let written = |id: MessageId| self.written_now.get(&id.seq()).copied().unwrap_or(0);
        match sent {
            Sent::Direct { message_id, delivered, .. } => {
                *delivered = *delivered || written(*message_id) > 0;
            }
            Sent::Broadcast { message_id: Some(id), delivered, .. } => {
                *delivered = (*delivered).max(written(*id));
            }
            Sent::Broadcast { message_id: None, .. } => {}
        }
    }

    /// Whether some peer has room for messages that wait in the store.
    #[must_use]
    pub fn wants_feed(&self) -> bool {
        !self.hungry.is_empty()
    }

    /// Pushes what waits in the store to the peers that have room for it, one after the other, as long
    /// as there is time; to one in any case. Who is left out comes first the next time. To be called in
    /// a turn.
    ///
    /// # Errors
    /// Those of the store.
    pub fn feed(&mut self, now: Now, mut has_time: impl FnMut() -> bool) -> Result<()> {
        self.now = now;
        while let Some(peer) = self.next_hungry() {
            self.fed = Some(peer);
            if !self.feed_one(peer)? {
                self.hungry.remove(&peer);
            }
            if !has_time() {
                break;
            }
        }
        Ok(())
    }

    /// The next one after the one who was fed last.
    fn next_hungry(&self) -> Option<PeerId> {
        let after = self.fed.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.hungry.range((after, Bound::Unbounded)).next();
        next.or_else(|| self.hungry.first()).copied()
    }

    /// Gives whether there may be more that the peer has room for.
    fn feed_one(&mut self, peer: PeerId) -> Result<bool> {
        let Some(present) = self.peers.get(&peer).filter(|present| present.link.up) else {
            return Ok(false);
        };
        let link = &present.link;
        if link.blocked {
            return Ok(false);
        }
        let room = WINDOW_FRAMES_MAX.saturating_sub(link.in_flight.len());
        if room == 0 || !link.backlog {
            return Ok(false);
        }
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let waiting = self.store.undelivered(peer, link.pushed_to, limit)?;
        for message in waiting.messages {
            // Confirmed in this very turn: not marked yet, but not to be sent again.
            if self.marks.iter().any(|mark| mark.peer == peer && mark.seq == message.seq) {
                continue;
            }
            let id = message.id;
            let mut message = message;
            if let machine @ Some(_) = self.machine_of(peer) {
                self.message_seen_from(machine, &mut message);
            }
            let frame = self.message_frame(message);
            if !self.push_frame(peer, id, &frame) {
                return Ok(false);
            }
        }
        let Some(present) = self.peers.get_mut(&peer) else { return Ok(false) };
        let link = &mut present.link;
        link.backlog = waiting.next.is_some();
        link.pushed_to = link.pushed_to.max(waiting.next.unwrap_or_default());
        Ok(link.is_hungry())
    }

    /// Which agent a sender is, as long as it is present.
    pub(super) fn agent_of(&self, sender: &Party) -> Option<&str> {
        let present = self.peers.get(&sender.peer()?)?;
        Some(&present.record.agent_type)
    }

    fn message_frame(&self, message: Message) -> Rc<PushFrame> {
        let agent = self.agent_of(&message.from);
        PushFrame::new(Pushed::Message(PushedMessage::new(message, agent)), self.now.wall)
    }

    /// Pushes a message's frame if there is room for it, and gives whether there was; else it waits in
    /// the store.
    fn push_frame(&mut self, peer: PeerId, id: MessageId, frame: &Rc<PushFrame>) -> bool {
        let (turn, bytes) = (self.turn, frame.size());
        let Some(present) = self.peers.get_mut(&peer) else { return false };
        if !present.link.admits(bytes) {
            present.link.backlog = true;
            return false;
        }
        present.link.push(id, bytes, turn);
        self.effects.pushes.push(Push { to: PushTarget::One(peer), frame: Rc::clone(frame) });
        true
    }

    /// Pushes a message that was just stored to those recipients that can take it now; gives how
    /// many. The others get it when they have caught up.
    pub(super) fn push_message(&mut self, message: Message, to: &[PeerId]) -> u32 {
        let takes = |mesh: &Self, peer| {
            mesh.peers.get(peer).is_some_and(|present| present.link.has_caught_up())
        };
        if !to.iter().any(|peer| takes(self, peer)) {
            return 0;
        }
        let id = message.id;
        // What a peer is called is the same everywhere, so that one frame is for all.
        let differs = message.from.peer().is_none();
        let elsewhere = differs && to.iter().any(|peer| self.machine_of(*peer).is_some());
        let original = elsewhere.then(|| message.clone());
        let common = self.message_frame(message);
        let mut pushed = 0;
        for peer in to {
            if !takes(self, peer) {
                continue;
            }
            let own = original.as_ref().and_then(|message| {
                let machine = Some(self.machine_of(*peer)?);
                let mut message = message.clone();
                self.message_seen_from(machine, &mut message);
                Some(self.message_frame(message))
            });
            pushed += u32::from(self.push_frame(*peer, id, own.as_ref().unwrap_or(&common)));
        }
        pushed
    }

    /// Whether there are so many marks of confirmed messages that they are worth a turn, which writes
    /// them as it begins.
    #[must_use]
    pub fn has_many_marks(&self) -> bool {
        self.marks.len() >= MARKS_OF_MANY
    }

    /// Writes the marks of confirmed messages: part of a turn that happens anyway, unless there are
    /// [many](Self::has_many_marks).
    pub(super) fn write_marks(&mut self) -> Result<()> {
        if self.marks.is_empty() {
            return Ok(());
        }
        let mut marks = std::mem::take(&mut self.marks);
        // A broadcast's recipients confirm it together, so their marks are written together.
        marks.sort_by_key(|mark| (mark.seq, mark.at));
        let mut peers = Vec::new();
        for of_message in marks.chunk_by(|a, b| a.seq == b.seq && a.at == b.at) {
            let written = match of_message {
                [] => Ok(()),
                [one] => self.store.mark_delivered(one.peer, &[one.seq], one.at),
                [first, ..] => {
                    peers.clear();
                    peers.extend(of_message.iter().map(|mark| mark.peer));
                    self.store.mark_broadcast_delivered(first.seq, &peers, first.at)
                }
            };
            if let Err(error) = written {
                self.marks = marks;
                return Err(error);
            }
        }
        self.marks_written = marks;
        self.note_delivered()
    }

    /// Tells the store how far those have come whose marks were just written: a start need not look at
    /// what is before.
    fn note_delivered(&mut self) -> Result<()> {
        /// Not for every message.
        const FAR: u64 = 64;

        let last = self.store.last_seq();
        for Mark { peer, .. } in &self.marks_written {
            let Some(present) = self.peers.get_mut(peer) else { continue };
            let link = &mut present.link;
            let delivered_to = link.delivered_to(last);
            if link.up && delivered_to.0.saturating_sub(link.noted.0) >= FAR {
                link.noted = delivered_to;
                self.store.delivered_to(*peer, delivered_to)?;
            }
        }
        Ok(())
    }
}
