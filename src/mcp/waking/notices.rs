//! The notices of this session, each with the messages in it: those that a way is at, and the last
//! ones before, of which its program may have a word to say later.

use std::collections::VecDeque;
use std::time::Instant;

use uuid::Uuid;

use crate::api::{MessageInfo, Request};
use crate::limits::{CLAIM_RENEW_EVERY, NOTICES_KNOWN_MAX};
use crate::model::{Handle, MessageId, Party, SentStatus, Way};
use crate::tell::Item;

/// The messages that were claimed for a notice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NoticeClaim {
    /// The claim, unless there are none.
    pub(super) id: Option<Uuid>,
    /// How many there are under it.
    pub(super) count: usize,
}

impl NoticeClaim {
    /// Lets go of it, if that is still to be done.
    pub(super) fn release(&mut self) -> Option<Request> {
        self.id.take().map(release)
    }
}

/// A message in a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    id: MessageId,
    from: Party,
    /// All of it is in there.
    is_whole: bool,
    /// The agent has read it since.
    is_read: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct NoticeRecord {
    id: u64,
    by: Way,
    messages: Vec<Told>,
    events: Vec<Item>,
    claimed: NoticeClaim,
    /// The way is at it.
    is_under_way: bool,
    renew_at: Instant,
    /// The last word about it.
    status: Option<SentStatus>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Notices(VecDeque<NoticeRecord>);

impl Notices {
    /// A way begins to tell these, `whole` of them in full.
    pub(super) fn begin(
        &mut self,
        (id, by): (u64, Way),
        messages: &[MessageInfo],
        whole: &[MessageId],
        events: Vec<Item>,
        claimed: NoticeClaim,
        now: Instant,
    ) {
        if self.0.len() >= NOTICES_KNOWN_MAX {
            self.0.pop_front();
        }
        let told = |message: &MessageInfo| Told {
            id: message.id,
            from: message.from_peer.clone(),
            is_whole: whole.contains(&message.id),
            is_read: false,
        };
        let messages = messages.iter().map(told).collect();
        let renew_at = now + CLAIM_RENEW_EVERY;
        let (is_under_way, status) = (true, None);
        self.0.push_back(NoticeRecord {
            id,
            by,
            messages,
            events,
            claimed,
            is_under_way,
            renew_at,
            status,
        });
    }

    /// Whether a notice of this way has this message in it.
    pub(super) fn has(&self, by: Way, message: MessageId) -> bool {
        self.0.iter().any(|sent| sent.by == by && sent.messages.iter().any(|it| it.id == message))
    }

    /// What is to be told to the broker now that a notice `is_taken`, or that there is this word about
    /// it. Nothing if it is not known, or was said before.
    pub(super) fn word(&mut self, id: u64, status: SentStatus, is_taken: bool) -> Vec<Request> {
        let Some(sent) = self.0.iter_mut().find(|sent| sent.id == id) else { return Vec::new() };
        let claimed = std::mem::take(&mut sent.claimed);
        sent.is_under_way &= !is_taken;
        // A word about it may come before it is taken whole, and says more than that.
        let is_known = sent.status == Some(status) || (is_taken && sent.status.is_some());
        if is_known {
            return Vec::new();
        }
        sent.status = Some(status);
        match claimed.id {
            // There is no mark yet to be taken back.
            Some(claim) if status == SentStatus::Dropped => vec![release(claim)],
            _ => sent.marks(status, &claimed),
        }
    }

    /// How many messages are as a whole in the agent's own queue, and not read.
    pub(super) fn queued_whole(&self) -> u64 {
        let sent = self.0.iter().filter(|sent| sent.status == Some(SentStatus::Sent));
        let told = sent.flat_map(|sent| &sent.messages);
        told.filter(|told| told.is_whole && !told.is_read).count() as u64
    }

    /// The agent has read these.
    pub(super) fn were_read(&mut self, is_read: impl Fn(MessageId) -> bool) {
        for told in self.0.iter_mut().flat_map(|sent| &mut sent.messages) {
            told.is_read |= is_read(told.id);
        }
    }

    /// Forgets what a way was at. Gives what is to be told to the broker, and the events.
    pub(super) fn take_back(&mut self, by: Way) -> (Vec<Request>, Vec<Item>) {
        let (mut requests, mut events) = (Vec::new(), Vec::new());
        self.0.retain_mut(|sent| {
            let goes = sent.by == by && sent.is_under_way;
            if goes {
                events.append(&mut sent.events);
                requests.extend(sent.claimed.release());
            }
            !goes
        });
        (requests, events)
    }

    /// Claims that are to be renewed now.
    pub(super) fn renewals(&mut self, now: Instant) -> Vec<Request> {
        let mut requests = Vec::new();
        for sent in self.0.iter_mut().filter(|sent| sent.is_under_way) {
            if let Some(claim_id) = sent.claimed.id.filter(|_| sent.renew_at <= now) {
                sent.renew_at = now + CLAIM_RENEW_EVERY;
                requests.push(Request::RenewClaim { peer_id: None, claim_id });
            }
        }
        requests
    }

    /// When [`Notices::renewals`] has something to give.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let claimed = |sent: &&NoticeRecord| sent.is_under_way && sent.claimed.id.is_some();
        self.0.iter().filter(claimed).map(|sent| sent.renew_at).min()
    }

    /// What `text` of the agent answers: the message told by this way that it names by its handle,
    /// else the last one.
    pub(super) fn answered(&self, by: Way, text: &str) -> Option<(MessageId, &Party)> {
        let of_way = self.0.iter().rev().filter(|sent| sent.by == by);
        let mut messages = of_way.flat_map(|sent| sent.messages.iter().rev());
        let last = messages.clone().next()?;
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let named: Vec<Handle> = words.filter_map(Handle::parse).collect();
        let told = messages.find(|told| named.contains(&told.id.handle())).unwrap_or(last);
        Some((told.id, &told.from))
    }
}

impl NoticeRecord {
    /// Tells the broker what has become of the messages, and lets go of those of the claim that were
    /// not in it.
    fn marks(&self, status: SentStatus, claimed: &NoticeClaim) -> Vec<Request> {
        let mut requests = Vec::new();
        for whole in [true, false] {
            let of = self.messages.iter().filter(|told| told.is_whole == whole);
            let ids: Vec<MessageId> = of.map(|told| told.id).collect();
            if !ids.is_empty() {
                let (way, claim_id) = (self.by, claimed.id);
                requests.push(Request::MarkSent {
                    peer_id: None,
                    ids,
                    way,
                    status,
                    whole,
                    claim_id,
                });
            }
        }
        requests.extend(claimed.id.filter(|_| claimed.count > self.messages.len()).map(release));
        requests
    }
}

/// Lets go of a claim.
pub(super) fn release(claim_id: Uuid) -> Request {
    Request::ReleaseClaim { peer_id: None, claim_id }
}
