//! The messages that are quoted on results of tools: unread ones of which the agent has not been told
//! in any other way, each once.
//!
//! They are claimed when there is a result, before it is written, and count as notified once the client
//! has taken its last byte.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::api::{Claimed, Request};
use crate::limits::CLAIM_DEFER_MAX;
use crate::model::{MessageId, Way};
use crate::tell::{Item, compose};

/// Messages quoted on a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quoted {
    /// What the result says.
    pub(super) text: String,
    claim_id: Uuid,
    messages: Vec<MessageId>,
    /// There are more under the claim.
    has_others: bool,
}

impl Quoted {
    /// The client has taken them: what to ask of the broker then.
    pub(super) fn taken(self) -> Vec<Request> {
        let claim_id = Some(self.claim_id);
        let (ids, way) = (self.messages, Way::ToolResult);
        let mark = Request::MarkNotified { peer_id: None, ids, way, claim_id };
        let rest = self.has_others.then(|| release(self.claim_id));
        [mark].into_iter().chain(rest).collect()
    }

    /// They were not given after all: what to ask of the broker then.
    pub(super) fn left(&self) -> Request {
        release(self.claim_id)
    }
}

fn release(claim_id: Uuid) -> Request {
    Request::ReleaseClaim { peer_id: None, claim_id }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    /// There may be messages.
    is_wanted: bool,
    /// The broker hands none out before.
    defer_until: Option<Instant>,
    /// They were asked for.
    is_asked: bool,
    /// For the next result.
    ready: Option<Quoted>,
}

impl Quotes {
    /// There may be messages.
    pub(super) fn sign(&mut self) {
        self.is_wanted = true;
        self.defer_until = None;
    }

    /// Whether to claim messages now; if so, [`Quotes::answered`] has to follow. `is_sure`: there has been
    /// a sign of each message.
    pub(super) fn ask(&mut self, is_sure: bool, now: Instant) -> bool {
        let is_quiet = self.defer_until.is_some_and(|at| now < at);
        let asks = !self.is_asked && !is_quiet && (self.is_wanted || !is_sure);
        if asks {
            (self.is_asked, self.is_wanted, self.defer_until) = (true, false, None);
        }
        asks
    }

    /// Whether a claim has not been answered yet.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// The claim was answered with `claimed`, or has failed. `has`: whether the agent has a message
    /// already, or is about to get it. Returns what to ask of the broker.
    pub(super) fn answered(
        &mut self,
        claimed: Option<Claimed>,
        has: impl Fn(MessageId) -> bool,
        now: Instant,
    ) -> Option<Request> {
        self.is_asked = false;
        let Some(Claimed { mut messages, remaining, claim_id, defer_ms, .. }) = claimed else {
            self.is_wanted = true;
            return None;
        };
        if let Some(ms) = defer_ms {
            self.is_wanted = true;
            self.defer_until = Some(now + Duration::from_millis(ms).min(CLAIM_DEFER_MAX));
        }
        let claim_id = claim_id?;
        let count = messages.len();
        messages.retain(|message| !has(message.id));
        let items: Vec<Item> = messages.iter().map(Item::message).collect();
        let composed = compose(&items, remaining);
        let has_others = composed.told < count;
        self.is_wanted |= has_others || remaining > 0;
        if composed.told == 0 {
            return Some(release(claim_id));
        }
        let told = messages.iter().take(composed.told).map(|message| message.id);
        let (text, messages) = (composed.text, told.collect());
        self.ready = Some(Quoted { text, claim_id, messages, has_others });
        None
    }

    /// Those for the next result.
    pub(super) fn take(&mut self) -> Option<Quoted> {
        self.ready.take()
    }
}
