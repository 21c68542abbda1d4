//! The notices of this session, each with the messages in it: those that a way is telling, and the last
//! ones before them, about which the agent's program may still report something.

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
    /// The claim, until it is released; none if there are no messages.
    pub(super) id: Option<Uuid>,
    /// How many messages are under it.
    pub(super) count: usize,
}

impl NoticeClaim {
    /// Releases it, unless that was done before.
    pub(super) fn release(&mut self) -> Option<Request> {
        self.id.take().map(release)
    }
}

/// A message in a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    id: MessageId,
    from: Party,
    /// The notice has its full text.
    is_whole: bool,
    /// The agent has read it since.
    is_read: bool,
}

/// A notice, and what is known of it.
#[derive(Debug)]
struct NoticeRecord {
    id: u64,
    by: Way,
    messages: Vec<Told>,
    events: Vec<Item>,
    claimed: NoticeClaim,
    /// The way is telling it.
    is_under_way: bool,
    renew_at: Instant,
    /// What was last heard about it.
    status: Option<SentStatus>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Notices(VecDeque<NoticeRecord>);

impl Notices {
    /// A way begins to tell these messages, those of `whole` in full.
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

    /// A notice was taken (`is_taken`), or its status is reported. Returns what to ask of the broker:
    /// nothing if the notice is not known, or was reported before.
    pub(super) fn word(&mut self, id: u64, status: SentStatus, is_taken: bool) -> Vec<Request> {
        let Some(sent) = self.0.iter_mut().find(|sent| sent.id == id) else { return Vec::new() };
        let claimed = std::mem::take(&mut sent.claimed);
        sent.is_under_way &= !is_taken;
        // A status may come before the notice was taken, and says more than that.
        let is_known = sent.status == Some(status) || (is_taken && sent.status.is_some());
        if is_known {
            return Vec::new();
        }
        sent.status = Some(status);
        match claimed.id {
            // Nothing was marked yet: to release it is enough.
            Some(claim) if status == SentStatus::Dropped => vec![release(claim)],
            _ => sent.marks(status, &claimed),
        }
    }

    /// How many messages are in full in the agent's own queue, and not read.
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

    /// Forgets what a way was telling. Returns what to ask of the broker, and the events.
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

    /// Renews the claims for which it is time.
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

    /// When to call [`Notices::renewals`] again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let claimed = |sent: &&NoticeRecord| sent.is_under_way && sent.claimed.id.is_some();
        self.0.iter().filter(claimed).map(|sent| sent.renew_at).min()
    }

    /// The message that the agent answers with `text`: one told by this way whose handle is in it, or else
    /// the last one.
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
    /// Tells the broker what has become of the messages, and releases those under the claim that are not
    /// in the notice.
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

/// Releases a claim.
pub(super) fn release(claim_id: Uuid) -> Request {
    Request::ReleaseClaim { peer_id: None, claim_id }
}
