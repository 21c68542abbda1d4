//! Messages: sending and fetching.

use std::time::Duration;

use super::turn::{Caller, Failure, Interest, Outcome};
use super::who::{Actor, Right, not_found};
use super::{Handled, Mesh};
use crate::api::{
    Budget, Code, Fetch, Filter, MessageInfo, Messages, Refusal, Reply, SendMessage, Sent,
    message_size,
};
use crate::model::{Message, Monotonic, Now, Party, PeerId, Reached, Recipient, event_type};
use crate::store::{InboxQuery, NewMessage, Page, Repeated, SentQuery, Store, To};

type Answer = std::result::Result<Reply, Failure>;

/// The word that means everyone.
const ALL: &str = "all";

impl<S: Store> Mesh<S> {
    /// `POST /send`
    pub(super) fn send(&mut self, caller: Caller, send: &SendMessage, now: Now) -> Answer {
        let actor =
            self.acting(caller, send.from_peer.as_deref(), "fromPeer", Right::Speak, now)?;
        if let Some(client_id) = send.id
            && let Some(first) = self.store.client_id(&actor.party, client_id)?
        {
            return self.sent_before(send, first);
        }
        if send.to_peer.as_ref() == ALL {
            return self.broadcast(&actor, send, now);
        }
        let recipient = self.recipient(&send.to_peer)?;
        Ok(Reply::Sent(self.deliver(&actor, recipient, send, now)?))
    }

    /// Stores a message to one recipient and pushes it.
    pub(super) fn deliver(
        &mut self,
        actor: &Actor,
        recipient: Recipient,
        send: &SendMessage,
        now: Now,
    ) -> crate::store::Result<Sent> {
        let message = self.store_message(actor, send, To::One(recipient), now)?;
        let pushed = match recipient {
            Recipient::Peer(peer) => self.push_message(&message, &[peer], now) > 0,
            Recipient::Cli => false,
        };
        self.effects.inboxes.push(recipient);
        Ok(Sent::Direct { message_id: message.id, delivered: false, pushed })
    }

    fn broadcast(&mut self, actor: &Actor, send: &SendMessage, now: Now) -> Answer {
        let me = actor.party.peer();
        let to: Vec<PeerId> = self.peers.keys().copied().filter(|id| Some(*id) != me).collect();
        if to.is_empty() {
            return Ok(Reply::Sent(Sent::Broadcast {
                message_id: None,
                recipients: 0,
                delivered: 0,
                pushed: 0,
            }));
        }
        let message = self.store_message(actor, send, To::Many(&to), now)?;
        let pushed = self.push_message(&message, &to, now);
        self.effects.inboxes.extend(to.iter().map(|id| Recipient::Peer(*id)));
        Ok(Reply::Sent(Sent::Broadcast {
            message_id: Some(message.id),
            recipients: u32::try_from(to.len()).unwrap_or(u32::MAX),
            delivered: 0,
            pushed,
        }))
    }

    fn store_message(
        &mut self,
        actor: &Actor,
        send: &SendMessage,
        to: To<'_>,
        now: Now,
    ) -> crate::store::Result<Message> {
        let (seq, id) = self.next_id();
        self.store.send(&NewMessage {
            seq,
            id,
            from: &actor.party,
            from_name: &actor.name,
            to,
            kind: send.kind,
            payload: &send.payload,
            reply_to: send.reply_to,
            created_at: now.wall,
            client_id: send.id,
        })?;
        let message = Message {
            seq,
            id,
            from: actor.party.clone(),
            from_name: actor.name.clone(),
            to: match to {
                To::One(recipient) => Some(recipient.into()),
                To::Many(_) => None,
            },
            kind: send.kind,
            payload: send.payload.clone(),
            reply_to: send.reply_to,
            created_at: now.wall,
            delivered_at: None,
            notified: None,
            read_at: None,
            reached: None,
        };
        self.effects.events = true;
        if self.has_subscribers() {
            let payload =
                crate::store::message_event_payload(id, &message.from, message.to.as_ref());
            let by = Some(&message.from);
            self.push_event(event_type::MESSAGE_RECEIVED, &payload, seq, by, now);
        }
        Ok(message)
    }

    /// The answer to a message that was sent with this client id before.
    fn sent_before(&self, send: &SendMessage, first: Repeated) -> Answer {
        let conflict = || {
            let message = "this `id` was used for something else: make a new one for each sending";
            Failure::from(Refusal::new(Code::IdConflict, message))
        };
        let Repeated::Message(first) = first else { return Err(conflict()) };
        let same_recipient = match &first.to {
            None => send.to_peer.as_ref() == ALL,
            // A recipient that has left can no longer be found by its name.
            Some(to) => match self.recipient(&send.to_peer) {
                Ok(recipient) => Party::from(recipient) == *to,
                Err(_) => send.to_peer.as_ref() != ALL,
            },
        };
        let same = same_recipient
            && first.payload == send.payload
            && first.kind == send.kind
            && first.reply_to == send.reply_to;
        if !same {
            return Err(conflict());
        }
        let answer = if let Some(Reached { recipients, delivered, .. }) = first.reached {
            let message_id = Some(first.id);
            Sent::Broadcast { message_id, recipients, delivered, pushed: delivered }
        } else {
            let delivered = first.delivered_at.is_some();
            Sent::Direct { message_id: first.id, delivered, pushed: delivered }
        };
        Ok(Reply::Sent(answer))
    }

    /// `POST /messages`
    pub(super) fn fetch(
        &mut self,
        caller: Caller,
        fetch: &Fetch,
        now: Now,
        held: Option<Monotonic>,
    ) -> Handled {
        let reads = !fetch.peek && fetch.filter != Filter::Sent;
        let right = if reads { Right::Speak } else { Right::Oversee };
        let who = fetch.peer_id.as_deref();
        let actor = match held {
            None => self.acting(caller, who, "peerId", right, now)?,
            Some(_) => self.actor(caller, who, "peerId", right)?,
        };
        let from = match &fetch.from {
            Some(text) => Some(self.correspondent(text)?),
            None => None,
        };
        let limit = fetch.limit.unwrap_or(Fetch::DEFAULT_LIMIT);
        let mut budget = Budget::default();
        let mut keep = |message: &Message| budget.admits(message_size(message));
        if fetch.filter == Filter::Sent {
            let query = SentQuery {
                sender: &actor.party,
                to: match &from {
                    Some(party) => match party.inbox() {
                        Some(recipient) => Some(recipient),
                        // Nothing was ever sent to a label.
                        None => return Ok(Outcome::Reply(listed(Page::default()))),
                    },
                    None => None,
                },
                before: fetch.before,
                after: fetch.after,
                limit,
            };
            let Page { messages, remaining, .. } = self.store.sent(&query, &mut keep)?;
            let messages = messages.into_iter().map(MessageInfo::sent).collect();
            return Ok(Outcome::Reply(Reply::Messages(Messages { messages, remaining })));
        }
        let Some(recipient) = actor.party.inbox() else {
            return Err(not_found(&actor.name).into());
        };
        let query = InboxQuery {
            recipient,
            unread_only: fetch.filter == Filter::Unread,
            from: from.as_ref(),
            before: fetch.before,
            after: fetch.after,
            but: &[],
            limit,
        };
        let mut page = self.store.inbox(&query, reads.then_some(now.wall), &mut keep)?;
        self.was_read(recipient, std::mem::take(&mut page.read), now)?;
        if page.messages.is_empty() && fetch.wait > 0 {
            let until = held.unwrap_or_else(|| now.mono.plus(Duration::from_secs(fetch.wait)));
            if now.mono < until {
                return Ok(Outcome::Hold { on: Interest::Inbox(recipient), until });
            }
        }
        Ok(Outcome::Reply(listed(page)))
    }
}

pub(super) fn listed(page: Page) -> Reply {
    Reply::Messages(Messages {
        messages: page.messages.into_iter().map(Into::into).collect(),
        remaining: page.remaining,
    })
}
