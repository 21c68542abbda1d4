//! Whether a session's agent is in a turn, as far as its hooks tell.
//!
//! In a turn the next hook tells the agent of a message, which costs nothing; otherwise something has to
//! wake it. A turn that is broken off may end without any hook: then only time tells.

use crate::limits::TURN_SILENCE_MAX;
use crate::model::{Moment, Monotonic};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AgentTurn {
    runs: bool,
    /// When a hook was heard last.
    heard: Option<Monotonic>,
}

impl AgentTurn {
    /// A hook was heard, at this moment of a turn if it says so.
    pub(super) fn heard(&mut self, moment: Option<Moment>, now: Monotonic) {
        self.heard = Some(now);
        match moment {
            Some(Moment::Prompt | Moment::Tool) => self.runs = true,
            Some(Moment::Start | Moment::Stop | Moment::End) => self.runs = false,
            None => {}
        }
    }

    /// The agent was given something at the end of its turn, which goes on with that.
    pub(super) fn goes_on(&mut self) {
        self.runs = true;
    }

    /// Whether the session has hooks.
    pub(super) fn has_hooks(&self) -> bool {
        self.heard.is_some()
    }

    /// Whether it is in one; none if no hook tells.
    pub(super) fn is_busy(&self, now: Monotonic) -> Option<bool> {
        self.has_hooks().then(|| self.until(now).is_some())
    }

    /// Until when messages are left to the next hook; none if they are not.
    pub(super) fn until(&self, now: Monotonic) -> Option<Monotonic> {
        let until = self.heard?.plus(TURN_SILENCE_MAX);
        (self.runs && now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_turn_lasts_as_long_as_the_hooks_say_or_until_they_are_silent() {
        let at = |seconds| Monotonic(Duration::from_secs(seconds));
        let mut turn = AgentTurn::default();
        assert!(!turn.has_hooks() && turn.until(at(0)).is_none(), "nothing is known");
        assert_eq!(turn.is_busy(at(0)), None);
        turn.heard(None, at(1));
        assert!(turn.has_hooks() && turn.until(at(1)).is_none(), "no moment of a turn");
        turn.heard(Some(Moment::Start), at(2));
        assert_eq!(turn.until(at(2)), None);
        turn.heard(Some(Moment::Prompt), at(3));
        turn.heard(Some(Moment::Tool), at(10));
        assert_eq!((turn.until(at(29)), turn.until(at(30))), (Some(at(30)), None));
        assert_eq!((turn.is_busy(at(29)), turn.is_busy(at(30))), (Some(true), Some(false)));
        turn.heard(None, at(40));
        assert_eq!(turn.until(at(40)), Some(at(60)), "it was not over after all");
        turn.heard(Some(Moment::Stop), at(41));
        assert_eq!(turn.until(at(41)), None);
        turn.goes_on();
        assert_eq!(turn.until(at(42)), Some(at(61)));
        turn.heard(Some(Moment::End), at(43));
        assert_eq!(turn.until(at(43)), None);
    }
}
