//! Requests with an id whose outcome is unknown. When the agent makes such a request again, it gets the
//! same id, by which the broker recognises it if it has it already.

use std::time::Instant;

use uuid::Uuid;

use crate::api::Request;
use crate::limits::{REPEAT_TIME, REPEATS_MAX};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct UnknownOutcomes(Vec<(Request, Instant)>);

impl UnknownOutcomes {
    /// Gives `request` the id of the same one that was sent lately with an unknown outcome, if there is
    /// one.
    pub(super) fn recognise(&mut self, request: &mut Request, now: Instant) {
        self.0.retain(|(_, at)| now.saturating_duration_since(*at) <= REPEAT_TIME);
        if let Some((known, _)) = self.0.iter().rev().find(|(known, _)| is_same(known, request)) {
            request.clone_from(known);
        }
    }

    /// The outcome of `request` is unknown.
    pub(super) fn unknown(&mut self, request: &Request, now: Instant) {
        if id(request).is_some() {
            self.settled(request);
            if self.0.len() >= REPEATS_MAX {
                self.0.remove(0);
            }
            self.0.push((request.clone(), now));
        }
    }

    /// The outcome of `request` is known.
    pub(super) fn settled(&mut self, request: &Request) {
        self.0.retain(|(known, _)| known != request);
    }
}

/// The id of a message or an event.
fn id(request: &Request) -> Option<Uuid> {
    match request {
        Request::Send(send) => send.id,
        Request::Emit { id, .. } => *id,
        _ => None,
    }
}

/// Whether two requests are the same apart from their ids.
fn is_same(a: &Request, b: &Request) -> bool {
    let mut a = a.clone();
    match &mut a {
        Request::Send(send) => send.id = id(b),
        Request::Emit { id: own, .. } => *own = id(b),
        _ => {}
    }
    a == *b
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::{Place, SendMessage};
    use crate::model::MessageKind;

    fn send(to: &str, text: &str, id: u8) -> Request {
        Request::Send(SendMessage {
            from_peer: None,
            to_peer: to.into(),
            payload: text.into(),
            kind: MessageKind::Text,
            reply_to: None,
            id: Some(Uuid::from_bytes([id; 16])),
            place: Place::default(),
        })
    }

    #[test]
    fn the_same_has_the_same_id_for_a_minute() {
        let now = Instant::now();
        let mut outcomes = UnknownOutcomes::default();
        outcomes.unknown(&send("bob", "hi", 1), now);
        outcomes.unknown(&Request::Shutdown, now);
        let mut known = |to: &str, text: &str, after: Duration| {
            let mut request = send(to, text, 2);
            outcomes.recognise(&mut request, now + after);
            request == send(to, text, 1)
        };
        let minute = Duration::from_secs(60);
        assert!(!known("bob", "hi!", Duration::ZERO) && !known("eve", "hi", Duration::ZERO));
        assert!(known("bob", "hi", Duration::ZERO) && known("bob", "hi", minute));
        assert!(!known("bob", "hi", minute + Duration::from_millis(1)));
    }

    #[test]
    fn what_is_known_at_last_is_something_new_the_next_time() {
        let now = Instant::now();
        let mut outcomes = UnknownOutcomes::default();
        for n in 0..=u8::try_from(REPEATS_MAX).unwrap() {
            outcomes.unknown(&send("bob", &n.to_string(), n), now);
            outcomes.unknown(&send("bob", &n.to_string(), n), now);
        }
        assert_eq!(outcomes.0.len(), REPEATS_MAX, "the oldest is forgotten");
        outcomes.settled(&send("bob", "1", 1));
        let mut again = send("bob", "1", 99);
        outcomes.recognise(&mut again, now);
        assert_eq!(again, send("bob", "1", 99));
    }
}
