//! Messages: sending and fetching.

use std::rc::Rc;
use std::time::Duration;

use super::Mesh;
use super::groups::Group;
use super::turn::{AskedAgain, Caller, Failure, Handled, Interest, Outcome, Replied};
use super::who::{Actor, Right, not_found};
use crate::api::{
    Budget, Code, Fact, Fetch, Filter, MessageInfo, Messages, Refusal, Reply, SendMessage, Sent,
    message_size,
};
use crate::model::{Message, MessageId, Party, PeerId, Reached, Recipient, event_type};
use crate::names;
use crate::store::{InboxQuery, NewMessage, Page, Repeated, SentQuery, Store, To};

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter<'a> {
    pub(super) from: &'a Actor,
    pub(super) send: &'a SendMessage,
    /// The message that `replyTo` names.
    pub(super) reply_to: Option<MessageId>,
}

impl<S: Store> Mesh<S> {
    /// `POST /send`
    pub(super) fn send(&mut self, caller: Caller, send: &SendMessage) -> Replied {
        let actor = self.acting(caller, send.from_peer.as_deref(), "fromPeer", Right::Speak)?;
        let reply_to = match send.reply_to {
            Some(named) => Some(self.message_named(&actor.party, named)?),
            None => None,
        };
        let letter = Letter { from: &actor, send, reply_to };
        if let Some(client_id) = send.id
            && let Some(first) = self.store.client_id(&actor.party, client_id)?
        {
            return self.sent_before(letter, first);
        }
        if let Some(group) = Group::parse(&send.to_peer) {
            let members = self.members(&group, &actor, &send.place)?;
            return self.broadcast(letter, (group, &members));
        }
        let home = self.home_of(&actor.party);
        let Some(recipient) = self.find_recipient(&send.to_peer, home)? else {
            return self.send_to_mailbox(letter);
        };
        Ok(Reply::Sent(self.deliver(letter, recipient)?))
    }

    /// Stores a message to one recipient and pushes it.
    pub(super) fn deliver(
        &mut self,
        letter: Letter<'_>,
        recipient: Recipient,
    ) -> crate::store::Result<Sent> {
        let message = self.store_message(letter, To::One(recipient))?;
        let message_id = message.id;
        let (pushed, damped) = match recipient {
            Recipient::Peer(peer) => {
                let pushed = self.push_message(message, &[peer]) > 0;
                (pushed, self.damped_reason(&letter.from.party, &[peer]))
            }
            Recipient::Cli | Recipient::CliAt(_) => (false, None),
        };
        self.effects.inboxes.push(recipient);
        Ok(Sent::Direct { message_id, queued: false, delivered: false, pushed, damped })
    }

    /// A message to a name that nobody has: it waits, if somebody had it.
    fn send_to_mailbox(&mut self, letter: Letter<'_>) -> Replied {
        let send = letter.send;
        let Some(mailbox) = self.mailbox_called(&send.to_peer)? else {
            return Err(self.no_recipient(&send.to_peer).into());
        };
        let message = self.store_message(letter, To::Name(&send.to_peer, mailbox.host))?;
        let (message_id, queued) = (message.id, true);
        let (delivered, pushed) = (false, false);
        Ok(Reply::Sent(Sent::Direct { message_id, queued, delivered, pushed, damped: None }))
    }

    fn broadcast(&mut self, letter: Letter<'_>, (group, to): (Group<'_>, &[PeerId])) -> Replied {
        if to.is_empty() {
            return Ok(Reply::Sent(Sent::Broadcast {
                message_id: None,
                recipients: 0,
                delivered: 0,
                pushed: 0,
                damped: None,
            }));
        }
        let address = match group {
            Group::All => To::Many(to),
            group => To::Group(group.name(), to),
        };
        let message = self.store_message(letter, address)?;
        let message_id = Some(message.id);
        let pushed = self.push_message(message, to);
        let damped = self.damped_reason(&letter.from.party, to);
        self.digest(to);
        self.effects.inboxes.extend(to.iter().map(|id| Recipient::Peer(*id)));
        Ok(Reply::Sent(Sent::Broadcast {
            message_id,
            recipients: u32::try_from(to.len()).unwrap_or(u32::MAX),
            delivered: 0,
            pushed,
            damped,
        }))
    }

    fn store_message(&mut self, letter: Letter<'_>, to: To<'_>) -> crate::store::Result<Message> {
        let Letter { from: actor, send, reply_to } = letter;
        let (seq, id) = self.next_id();
        self.store.send(&NewMessage {
            seq,
            id,
            from: &actor.party,
            from_name: &actor.name,
            to,
            kind: send.kind,
            payload: &send.payload,
            reply_to,
            created_at: self.now.wall,
            client_id: send.id,
        })?;
        let (to, to_name, to_host, to_group) = match to {
            To::One(recipient) => {
                let peer = recipient.peer();
                let mailbox = peer.and_then(|id| self.mailbox_of(id)).map(Into::into);
                (Some(recipient.into()), mailbox, peer.and_then(|id| self.machine_of(id)), None)
            }
            To::Name(name, host) => {
                (Some(Party::Label(name.into())), Some(name.into()), host, None)
            }
            To::Many(_) => (None, None, None, None),
            To::Group(name, _) => (None, None, None, Some(name.into())),
        };
        let message = Message {
            seq,
            id,
            from: actor.party.clone(),
            from_name: actor.name.clone(),
            to,
            to_name,
            to_host,
            to_group,
            kind: send.kind,
            payload: send.payload.clone(),
            reply_to,
            created_at: self.now.wall,
            delivered_at: None,
            told: None,
            read_at: None,
            reached: None,
        };
        self.note_event(event_type::MESSAGE_RECEIVED);
        let readers = self.subscribers(event_type::MESSAGE_RECEIVED);
        if !readers.is_empty() {
            let received = Rc::new(Fact::MessageReceived {
                message_id: id,
                from_peer: message.from.clone(),
                to_peer: message.to.clone(),
                to_group: message.to_group.clone(),
            });
            self.push_event(&readers, &received, seq, Some(&message.from));
        }
        Ok(message)
    }

    /// The answer to a message that was sent with this client id before.
    fn sent_before(&self, letter: Letter<'_>, first: Repeated) -> Replied {
        let send = letter.send;
        let conflict = || {
            let message = "this `id` was used for something else: make a new one for each sending";
            Failure::from(Refusal::new(Code::IdConflict, message))
        };
        let Repeated::Message(first) = first else { return Err(conflict()) };
        let group = Group::parse(&send.to_peer);
        let same_recipient = match (&first.to, first.to_name.as_deref()) {
            (None, _) => {
                let first = first.to_group.as_deref().unwrap_or(names::ALL);
                group.is_some_and(|group| group.name() == first)
            }
            (Some(_), Some(name)) if name.eq_ignore_ascii_case(&send.to_peer) => true,
            // A recipient that has left can no longer be found by its name.
            (Some(to), name) => {
                match self.find_recipient(&send.to_peer, self.home_of(&letter.from.party)) {
                    Ok(Some(Recipient::Peer(id))) if name.is_some() => {
                        let mailbox = self.mailbox_of(id).map(names::key);
                        Party::Peer(id) == *to || mailbox.as_deref() == name
                    }
                    Ok(Some(recipient)) => Party::from(recipient) == *to,
                    Ok(None) | Err(_) => group.is_none(),
                }
            }
        };
        let same = same_recipient
            && first.payload == send.payload
            && first.kind == send.kind
            && first.reply_to == letter.reply_to;
        if !same {
            return Err(conflict());
        }
        let answer = if let Some(Reached { recipients, delivered, .. }) = first.reached {
            let message_id = Some(first.id);
            Sent::Broadcast { message_id, recipients, delivered, pushed: delivered, damped: None }
        } else {
            let delivered = first.delivered_at.is_some();
            let queued = first.to_name.is_some() && first.to.as_ref().is_some_and(is_label);
            Sent::Direct {
                message_id: first.id,
                queued,
                delivered,
                pushed: delivered,
                damped: None,
            }
        };
        Ok(Reply::Sent(answer))
    }

    /// `POST /messages`
    pub(super) fn fetch(
        &mut self,
        caller: Caller,
        fetch: &Fetch,
        held: Option<AskedAgain>,
    ) -> Handled {
        if held.is_some_and(|held| held.hung_up) {
            // Nobody would see what it marks read.
            return Ok(Outcome::Reply(Reply::Messages(Messages::default())));
        }
        let reads = !fetch.peek && fetch.filter != Filter::Sent;
        let right = if reads { Right::Speak } else { Right::Oversee };
        let who = fetch.peer_id.as_deref();
        let actor = match held {
            None => self.acting(caller, who, "peerId", right)?,
            Some(_) => self.actor(caller, who, "peerId", right)?,
        };
        let from = match &fetch.from {
            // What is sent to a name that nobody has is in the mailbox of that name.
            Some(text) => match self.correspondent(text, self.home(caller))? {
                Party::Label(_) if fetch.filter == Filter::Sent => Some(Party::parse(text)),
                party => Some(party),
            },
            None => None,
        };
        let limit = fetch.limit.unwrap_or(Fetch::DEFAULT_LIMIT);
        let mut budget = Budget::of(self.reply_bytes);
        let mut keep = |message: &Message| budget.admits(message_size(message));
        if fetch.filter == Filter::Sent {
            let query = SentQuery {
                sender: &actor.party,
                to: from.as_ref(),
                before: fetch.before,
                after: fetch.after,
                limit,
            };
            let Page { messages, remaining, .. } = self.store.sent(&query, &mut keep)?;
            let messages = self.seen_by_sender(messages)?;
            return Ok(Outcome::Reply(Reply::Messages(Messages { messages, remaining })));
        }
        let Some(recipient) = actor.party.inbox() else {
            return Err(not_found(&actor.name).into());
        };
        let query = InboxQuery {
            unread_only: fetch.filter == Filter::Unread,
            from: from.as_ref(),
            before: fetch.before,
            after: fetch.after,
            ..InboxQuery::of(recipient, limit)
        };
        let mut page = self.store.inbox(&query, reads.then_some(self.now.wall), &mut keep)?;
        self.was_read(recipient, std::mem::take(&mut page.read))?;
        if page.messages.is_empty() && fetch.wait > 0 {
            let until = held.map_or_else(
                || self.now.mono.plus(Duration::from_secs(fetch.wait)),
                |held| held.until,
            );
            if self.now.mono < until {
                return Ok(Outcome::Hold { on: Interest::Inbox(recipient), until });
            }
        }
        let remaining = page.remaining;
        let messages = self.listed(page.messages);
        Ok(Outcome::Reply(Reply::Messages(Messages { messages, remaining })))
    }

    /// Messages as their recipient is shown them.
    pub(super) fn listed(&self, messages: Vec<Message>) -> Vec<MessageInfo> {
        let shown = |message: Message| {
            let from_agent = self.agent_of(&message.from).map(Into::into);
            MessageInfo { from_agent, ..message.into() }
        };
        messages.into_iter().map(shown).collect()
    }
}

fn is_label(party: &Party) -> bool {
    matches!(party, Party::Label(_))
}
