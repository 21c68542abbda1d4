//! What anyone has written to anyone, for the person; and one message, for whoever it concerns.
//!
//! Nothing is kept for a search: it looks at a part of the messages, and whoever searches asks for
//! the next. So no message costs more because it may be searched for, and nobody waits for a search.

use std::collections::{BTreeSet, HashMap};

use super::Mesh;
use super::turn::{Caller, Replied};
use crate::api::{Budget, Code, Fact, History, HistoryPage, Reply, message_size, refuse};
use crate::limits::{ANSWERED_MAX, HISTORY_BYTES, HISTORY_ROWS, LIST_LIMIT_MAX};
use crate::model::{
    MachineName, Message, MessageId, MessageRef, OF_DOCTOR, Party, PeerId, Recipient, Seq,
    event_type,
};
use crate::names;
use crate::store::{EventQuery, HistoryQuery, Result as Stored, Store};

/// Whose messages are looked for.
struct With<'a> {
    /// The name that was given, folded.
    name: Box<str>,
    /// The same as it was given.
    given: &'a str,
    /// The peer that it names now.
    peer: Option<PeerId>,
    /// If it names none: those who had this name once and have another now.
    former: BTreeSet<PeerId>,
    /// Names of peers, folded, as far as they were looked up.
    names: HashMap<PeerId, Option<Box<str>>>,
}

impl<S: Store> Mesh<S> {
    /// `POST /history`
    pub(super) fn history(&mut self, caller: Caller, history: &History) -> Replied {
        self.count(caller, None)?;
        if !matches!(caller, Caller::Broker | Caller::Operator(_)) {
            let message = "only the broker token reads what others write to each other: your own \
                           messages are at /messages";
            return refuse(Code::Forbidden, message);
        }
        let home = self.home(caller);
        let mut with = match &history.with {
            Some(given) => {
                let peer = PeerId::parse(given).or(self.find_peer(given)?);
                let name = names::key(given);
                let former = match peer {
                    Some(_) => BTreeSet::new(),
                    None => self.formerly(&name)?,
                };
                Some(With { name, given, peer, former, names: HashMap::new() })
            }
            None => None,
        };
        let text = history.text.as_ref().map(|text| text.to_lowercase());
        let mut thread: BTreeSet<MessageId> = history.thread.iter().copied().collect();
        let is_thread = !thread.is_empty();
        let limit = history.limit.unwrap_or(History::DEFAULT_LIMIT) as usize;

        let (mut left, mut full) = (HISTORY_BYTES, false);
        let query = HistoryQuery {
            since: history.since,
            before: history.before,
            after: history.after,
            limit: HISTORY_ROWS,
        };
        let portion = self.store.history(&query, &mut |message| {
            full = left < message.payload.len();
            left = left.saturating_sub(message.payload.len());
            !full
        })?;
        full |= portion.len() >= HISTORY_ROWS as usize;

        let mut budget = Budget::of(self.reply_bytes);
        let mut found = Vec::new();
        let mut last = None;
        for message in portion {
            if is_thread {
                let answers = message.reply_to.is_some_and(|id| thread.contains(&id));
                if !answers && !thread.contains(&message.id) {
                    last = Some(message.seq);
                    continue;
                }
                thread.insert(message.id);
            }
            let wanted = text.as_ref().is_none_or(|text| has_text(&message, text))
                && !self.is_of_doctor(&message)?
                && match &mut with {
                    Some(with) => self.is_with(&message, with)?,
                    None => true,
                }
                && match home {
                    Some(machine) => self.is_of_machine(&message, machine)?,
                    None => true,
                };
            if wanted {
                let fits = budget.admits(message_size(&message)) || found.is_empty();
                if found.len() >= limit || !fits {
                    full = true;
                    break;
                }
                found.push(self.as_sent(message.clone())?);
            }
            last = Some(message.seq);
        }
        if history.after.is_none() {
            found.reverse();
        }
        let messages = self.seen_by_sender(found)?;
        Ok(Reply::History(HistoryPage { messages, next: last.filter(|_| full) }))
    }

    /// `POST /history` with `message`: any message for the person, else one's own.
    pub(super) fn find_message(&mut self, caller: Caller, named: MessageRef) -> Replied {
        self.count(caller, None)?;
        let own = match caller {
            Caller::Broker => None,
            Caller::Peer(id) => Some(Party::Peer(id)),
            _ => Some(self.home(caller).map_or(Party::Cli, |machine| Party::cli_of(Some(machine)))),
        };
        let mut next = match named {
            MessageRef::Id(id) => Some(id.seq()),
            MessageRef::Handle(handle) => handle.seq(self.store.last_seq()),
        };
        let mut meant = None;
        let mut found = Vec::new();
        while let Some(seq) = next.filter(|_| found.len() < ANSWERED_MAX) {
            let message = match &own {
                Some(party) => self.own_message(party, seq)?,
                None => self.any_message(seq)?,
            };
            let Some(message) = message else { break };
            // A number alone may be that of another message: clients say themselves what they answer.
            if !meant.map_or_else(|| named.is(message.id), |id: MessageId| id == message.id) {
                break;
            }
            // What it answers must have come before it; anything else is no message of this mesh.
            meant = message.reply_to.filter(|before| before.seq() < seq);
            next = meant.map(MessageId::seq);
            found.push(self.as_sent(message)?);
        }
        if found.is_empty() {
            let message = match own {
                None => format!("no message `{named}` is kept"),
                Some(_) => format!("no message `{named}` was sent to you or by you"),
            };
            return refuse(Code::InvalidRequest, message);
        }
        found.reverse();
        let messages = self.seen_by_sender(found)?;
        Ok(Reply::History(HistoryPage { messages, next: None }))
    }

    /// Whether `slm-mesh doctor` has written this to a peer of its own, to see whether it comes.
    fn is_of_doctor(&mut self, message: &Message) -> Stored<bool> {
        let Some(id) = message.from.peer().filter(|_| message.to.as_ref() == Some(&message.from))
        else {
            return Ok(false);
        };
        Ok(self.store.peer(id)?.is_some_and(|record| &*record.agent_type == OF_DOCTOR))
    }

    /// Those who had this name once, as far as events still tell. Messages are kept no longer than
    /// events.
    fn formerly(&mut self, name: &str) -> Stored<BTreeSet<PeerId>> {
        let types = [event_type::PEER_RENAMED.into()];
        let query = EventQuery { types: &types, since: None, after: None, limit: LIST_LIMIT_MAX };
        let page = self.store.events(&query, &mut |_| true)?;
        let renamed = page.events.iter().filter_map(|event| Fact::former_name(&event.payload));
        Ok(renamed.filter(|(former, _)| *names::key(former) == *name).map(|(_, id)| id).collect())
    }

    /// The message with this number, whoever wrote it.
    fn any_message(&mut self, seq: Seq) -> Stored<Option<Message>> {
        let after = seq.0.checked_sub(1).map(Seq);
        let query = HistoryQuery { since: None, before: Some(seq.next()), after, limit: 1 };
        Ok(self.store.history(&query, &mut |_| true)?.pop())
    }

    /// With how many have got it, if it is a broadcast.
    fn as_sent(&mut self, message: Message) -> Stored<Message> {
        if message.to.is_some() {
            return Ok(message);
        }
        let sent = self.sent_message(&message.from, message.seq)?;
        Ok(sent.unwrap_or(message))
    }

    /// Whether a message is from or to someone on this machine, as far as they are known to be.
    fn is_of_machine(&mut self, message: &Message, machine: MachineName) -> Stored<bool> {
        for party in [Some(&message.from), message.to.as_ref()].into_iter().flatten() {
            let home = match party.peer() {
                Some(id) if !self.peers.contains_key(&id) => {
                    self.store.peer(id)?.and_then(|record| record.host)
                }
                _ => self.home_of(party),
            };
            if home == Some(machine) {
                return Ok(true);
            }
        }
        if message.to.is_some() {
            return Ok(false);
        }
        let here = self.peers.iter().filter(|(_, present)| present.record.host == Some(machine));
        for id in here.map(|(id, _)| *id).collect::<Vec<_>>() {
            if self.got_message(Recipient::Peer(id), message.seq)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a message is from or to someone.
    fn is_with(&mut self, message: &Message, with: &mut With<'_>) -> Stored<bool> {
        if names::key(&message.from_name) == with.name || is_party(&message.from, with) {
            return Ok(true);
        }
        let Some(to) = &message.to else {
            let group = message.to_group.as_deref().unwrap_or(names::ALL);
            return Ok(group == with.given
                || match with.peer {
                    Some(peer) => self.got_message(Recipient::Peer(peer), message.seq)?.is_some(),
                    None => false,
                });
        };
        if is_party(to, with)
            || message.to_name.as_deref().is_some_and(|name| names::key(name) == with.name)
        {
            return Ok(true);
        }
        let Some(id) = to.peer() else { return Ok(false) };
        let known = with.names.get(&id).cloned();
        let name = if let Some(known) = known {
            known
        } else {
            let name = match self.peers.get(&id) {
                Some(present) => Some(names::key(&present.record.name)),
                None => self.store.peer(id)?.map(|record| names::key(&record.name)),
            };
            with.names.insert(id, name.clone());
            name
        };
        Ok(name.as_ref() == Some(&with.name))
    }
}

fn is_party(party: &Party, with: &With<'_>) -> bool {
    match party {
        Party::Peer(id) => with.peer == Some(*id) || with.former.contains(id),
        other => names::key(&other.to_string()) == with.name,
    }
}

fn has_text(message: &Message, text: &str) -> bool {
    message.payload.to_lowercase().contains(text)
}
