//! Which tokens a relay forwards: those that the hub has given out through it. Any other may be that of
//! a peer that comes back, and is forwarded to register, a few times.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use serde::Deserialize;

use crate::limits::{
    RATE_WINDOW, RELAY_TOKENS_MAX, RELAY_UNKNOWN_TOKENS_PER_WINDOW, TURN_TIME_MAX,
};
use crate::model::Monotonic;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    known: HashSet<Box<str>>,
    /// The first is forgotten when there are too many.
    order: VecDeque<Box<str>>,
    /// When tokens that are not known were forwarded.
    tried: VecDeque<Monotonic>,
}

impl Tokens {
    pub(super) fn knows(&self, token: &str) -> bool {
        self.known.contains(token)
    }

    /// Notes the token in the answer to a registration.
    pub(super) fn learn(&mut self, registered: &str) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Registered {
            peer_token: Box<str>,
        }
        let Ok(Registered { peer_token }) = serde_json::from_str(registered) else { return };
        if !self.known.insert(peer_token.clone()) {
            return;
        }
        self.order.push_back(peer_token);
        if self.order.len() > RELAY_TOKENS_MAX
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
    }

    /// The hub does not know this one any more.
    pub(super) fn forget(&mut self, token: &str) {
        if self.known.remove(token) {
            self.order.retain(|other| **other != *token);
        }
    }

    /// Takes one of the attempts that tokens which are not known have.
    ///
    /// # Errors
    /// There is none now: how long until the next.
    pub(super) fn try_unknown(&mut self, now: Monotonic) -> Result<(), Duration> {
        while self.tried.front().is_some_and(|at| now.since(*at) >= RATE_WINDOW) {
            self.tried.pop_front();
        }
        match self.tried.front() {
            Some(first) if self.tried.len() >= RELAY_UNKNOWN_TOKENS_PER_WINDOW => {
                Err(first.plus(RATE_WINDOW).since(now).max(TURN_TIME_MAX))
            }
            _ => {
                self.tried.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn tokens_are_learnt_from_registrations_and_the_oldest_is_forgotten() {
        let mut tokens = Tokens::default();
        for n in 0..=RELAY_TOKENS_MAX {
            tokens.learn(&format!(r#"{{"ok":true,"peerToken":"t{n}","name":"a"}}"#));
        }
        assert!(!tokens.knows("t0") && tokens.knows("t1"));
        tokens.forget("t1");
        tokens.learn(r#"{"ok":false}"#);
        tokens.learn("[]");
        assert!(!tokens.knows("t1"));
        assert_eq!(tokens.known.len(), tokens.order.len());
    }

    #[test]
    fn tokens_that_are_not_known_have_a_few_attempts() {
        let mut tokens = Tokens::default();
        for _ in 0..RELAY_UNKNOWN_TOKENS_PER_WINDOW {
            assert_eq!(tokens.try_unknown(at(5)), Ok(()));
        }
        assert_eq!(tokens.try_unknown(at(9)), Err(Duration::from_secs(6)));
        assert_eq!(tokens.try_unknown(at(15)), Ok(()));
    }
}
