//! Events: what has happened, for those who asked, and for those who look later.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use uuid::Uuid;

use super::Mesh;
use super::peers::Present;
use super::turn::{Caller, Handled, Interest, Outcome, Push, PushTarget, Replied};
use super::who::{Right, not_found};
use crate::api::{
    Budget, Code, EmittedReply, EventInfo, Events, Fact, PushFrame, Pushed, ReadEvents, Refusal,
    Reply, event_size, refuse,
};
use crate::limits::EVENT_TYPES_MAX;
use crate::model::{
    Event, MachineName, MessageId, Monotonic, Party, PeerId, PeerRecord, Seq, event_type,
    type_matches,
};
use crate::store::{EventQuery, NewEvent, Repeated, Result as Stored, Store};

impl<S: Store> Mesh<S> {
    /// Something has happened: it is told to the others if they are to know and, if it is an event,
    /// stored, pushed to subscribers, and made known to held requests.
    pub(super) fn event(&mut self, fact: Fact, by: Option<&Party>) -> Stored<()> {
        let id = self.next_id();
        self.event_at(id, fact, by)
    }

    /// The same, under a number that is also a version or a fence.
    pub(super) fn event_at(
        &mut self,
        (seq, id): (Seq, MessageId),
        fact: Fact,
        by: Option<&Party>,
    ) -> Stored<()> {
        let fact = Rc::new(fact);
        self.tell_others(&fact, by);
        let Some(kind) = fact.event_type() else { return Ok(()) };
        self.store.append_event(&NewEvent {
            seq,
            id,
            kind,
            payload: &fact.payload(),
            emitted_by: by,
            created_at: self.now.wall,
            client_id: None,
        })?;
        self.note_event(kind);
        let readers = self.subscribers(kind);
        self.push_event(&readers, &fact, seq, by);
        Ok(())
    }

    /// Tells every present peer except the one who has caused it, if it is a fact that they are to know.
    pub(super) fn tell_others(&mut self, fact: &Rc<Fact>, by: Option<&Party>) {
        if fact.is_update() {
            let others = PushTarget::AllBut(by.and_then(Party::peer));
            self.push(others, Pushed::Update(Rc::clone(fact)));
        }
    }

    /// There is news for held requests that ask for this type.
    pub(super) fn note_event(&mut self, kind: &str) {
        let events = &mut self.effects.events;
        if events.iter().any(|known| known == kind) {
            return;
        }
        let built_in = event_type::BUILT_IN.iter().find(|known| **known == kind);
        events.push(built_in.map_or_else(|| kind.to_owned().into(), |known| (*known).into()));
    }

    /// Those who subscribed to events of this type, and can be told.
    pub(super) fn subscribers(&self, kind: &str) -> Vec<PeerId> {
        let wants = |present: &Present| {
            let types = &present.record.subscriptions;
            !types.is_empty() && type_matches(types, kind) && present.link.is_up()
        };
        let readers = self.peers.iter().filter(|(_, present)| wants(present));
        readers.map(|(id, _)| *id).collect()
    }

    /// Pushes an event to these subscribers; those of one machine get the same frame.
    pub(super) fn push_event(
        &mut self,
        readers: &[PeerId],
        fact: &Rc<Fact>,
        seq: Seq,
        by: Option<&Party>,
    ) {
        let mut frames: BTreeMap<Option<MachineName>, Rc<PushFrame>> = BTreeMap::new();
        for id in readers {
            let home = self.machine_of(*id);
            let frame = frames.entry(home).or_insert_with(|| {
                let (mut fact, mut by) = (Rc::clone(fact), by.cloned());
                if home.is_some() {
                    self.see_from(home, Rc::make_mut(&mut fact), by.as_mut());
                }
                PushFrame::new(Pushed::Event { fact, seq, by }, self.now.wall)
            });
            let push = Push { to: PushTarget::One(*id), frame: Rc::clone(frame) };
            self.effects.pushes.push(push);
        }
    }

    /// `POST /events`, `read`
    pub(super) fn read_events(
        &mut self,
        caller: Caller,
        read: &ReadEvents,
        held: Option<Monotonic>,
    ) -> Handled {
        if held.is_none() {
            self.count(caller, None)?;
        }
        let last = self.store.last_seq();
        if let Some(after) = read.after.filter(|after| *after > last) {
            return Err(Refusal::field(
                "after",
                &format!("a sequence number that was given: {after} is beyond the last, {last}"),
            )
            .into());
        }
        let mut budget = Budget::of(self.reply_bytes);
        let mut keep = |event: &Event| budget.admits(event_size(event));
        let query = EventQuery {
            types: &read.types,
            since: read.since,
            after: read.after,
            limit: read.limit.unwrap_or(ReadEvents::DEFAULT_LIMIT),
        };
        let page = self.store.events(&query, &mut keep)?;
        if page.events.is_empty() && read.wait > 0 {
            let until = held.unwrap_or_else(|| self.now.mono.plus(Duration::from_secs(read.wait)));
            if self.now.mono < until {
                return Ok(Outcome::Hold { on: Interest::Events, until });
            }
        }
        Ok(Outcome::Reply(Reply::Events(Events {
            events: page.events.into_iter().map(EventInfo::from).collect(),
            last_seq: page.last_seq,
            first_seq: self.store.first_seq()?,
        })))
    }

    /// `POST /events`, `subscribe` (`unsubscribe`: to nothing)
    pub(super) fn subscribe(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        types: &[Box<str>],
    ) -> Replied {
        let id = self.acting_peer(caller, peer, Right::Speak)?;
        let Some(present) = self.peers.get_mut(&id) else { return Err(not_found("").into()) };
        let mut subscriptions = types.to_vec();
        subscriptions.sort();
        subscriptions.dedup();
        subscriptions.truncate(EVENT_TYPES_MAX);
        let record = PeerRecord { subscriptions, ..present.record.clone() };
        self.store.put_peer(&record)?;
        let subscribed = record.subscriptions.clone();
        present.record = record;
        Ok(Reply::Subscribed { subscribed })
    }

    /// `POST /events`, `emit`
    pub(super) fn emit(
        &mut self,
        caller: Caller,
        peer: Option<&str>,
        (kind, payload): (&str, &str),
        client_id: Option<Uuid>,
    ) -> Replied {
        let actor = self.acting(caller, peer, "peerId", Right::Speak)?;
        if let Some(client_id) = client_id
            && let Some(first) = self.store.client_id(&actor.party, client_id)?
        {
            return match first {
                Repeated::Event(first) if *first.kind == *kind && *first.payload == *payload => {
                    Ok(Reply::Emitted(EmittedReply { event_id: first.id, seq: first.seq }))
                }
                _ => refuse(
                    Code::IdConflict,
                    "this `id` was used for something else: make a new one for each event",
                ),
            };
        }
        let (seq, id) = self.next_id();
        let event = NewEvent {
            seq,
            id,
            kind,
            payload,
            emitted_by: Some(&actor.party),
            created_at: self.now.wall,
            client_id,
        };
        self.store.append_event(&event)?;
        self.note_event(kind);
        let readers = self.subscribers(kind);
        if !readers.is_empty() {
            let fact = Rc::new(Fact::Custom { kind: kind.into(), payload: payload.into() });
            self.push_event(&readers, &fact, seq, Some(&actor.party));
        }
        Ok(Reply::Emitted(EmittedReply { event_id: id, seq }))
    }
}
