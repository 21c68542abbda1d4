//! Requests to the broker for whose answers nobody waits: what has become of messages, and answers that
//! the agent gave with its own means of messaging.
//!
//! They are sent one at a time and in order. One that fails is sent again, unless it was refused.

use std::collections::VecDeque;
use std::time::Instant;

use crate::api::Request;
use crate::limits::ERRANDS_MAX;
use crate::log;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::mcp) struct Errands {
    waiting: VecDeque<Request>,
    /// The first of them is under way.
    is_out: bool,
    /// When to send it again.
    retry_at: Option<Instant>,
}

impl Errands {
    /// Adds one. Beyond [`ERRANDS_MAX`] they are dropped: then there has been no broker for so long that
    /// the claims they are about have expired.
    pub(in crate::mcp) fn add(&mut self, request: Request) {
        if self.waiting.len() < ERRANDS_MAX {
            self.waiting.push_back(request);
        } else {
            log::debug(format_args!("the broker is not told any more: {request:?}"));
        }
    }

    /// Adds several.
    pub(in crate::mcp) fn extend(&mut self, requests: impl IntoIterator<Item = Request>) {
        for request in requests {
            self.add(request);
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The one under way, or else the next one.
    pub(super) fn first(&self) -> Option<&Request> {
        self.waiting.front()
    }

    /// The next one, if it can be sent now; it then is under way.
    pub(super) fn take(&mut self, now: Instant) -> Option<Request> {
        if self.is_out || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        self.retry_at = None;
        let next = self.waiting.front()?.clone();
        self.is_out = true;
        Some(next)
    }

    /// Takes all that are not under way.
    pub(super) fn take_all(&mut self) -> Vec<Request> {
        self.waiting.drain(usize::from(self.is_out)..).collect()
    }

    /// Removes the one under way.
    pub(super) fn done(&mut self) -> Option<Request> {
        std::mem::take(&mut self.is_out).then(|| self.waiting.pop_front()).flatten()
    }

    /// The one under way has failed and will be sent again at `retry_at`.
    pub(super) fn lost(&mut self, retry_at: Instant) {
        self.is_out = false;
        self.retry_at = Some(retry_at);
    }

    /// When to call [`Errands::take`] again, if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.is_out)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    fn release(n: u8) -> Request {
        Request::ReleaseClaim { peer_id: None, claim_id: Uuid::from_bytes([n; 16]) }
    }

    #[test]
    fn they_go_one_by_one_and_in_order() {
        let now = Instant::now();
        let mut errands = Errands::default();
        assert!(errands.take(now).is_none() && errands.is_empty());
        errands.add(release(1));
        errands.add(release(2));
        assert_eq!((errands.take(now), errands.take(now)), (Some(release(1)), None));
        let later = now + Duration::from_secs(1);
        errands.lost(later);
        assert_eq!((errands.take(now), errands.deadline()), (None, Some(later)));
        assert_eq!(errands.take(later), Some(release(1)));
        assert_eq!((errands.deadline(), errands.done()), (None, Some(release(1))));
        assert_eq!(errands.done(), None, "an answer that comes twice ends nothing");
        assert_eq!(errands.take(later), Some(release(2)));
        errands.add(release(3));
        assert_eq!(errands.take_all(), [release(3)]);
        errands.done();
        assert!(errands.is_empty());
    }

    #[test]
    fn there_is_an_end_to_what_waits() {
        let mut errands = Errands::default();
        for _ in 0..2 * ERRANDS_MAX {
            errands.add(release(1));
        }
        assert_eq!(errands.waiting.len(), ERRANDS_MAX);
    }
}
