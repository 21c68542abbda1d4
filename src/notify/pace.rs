//! How many messages are shown one by one. A flood would bury the desktop, so that what is too much is
//! counted, and told together.

use std::time::{Duration, Instant};

use crate::limits::{NOTIFICATION_WINDOW, NOTIFICATIONS_MAX};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When the first of those that were shown was.
    since: Option<Instant>,
    shown: u32,
    /// Not shown, and to be told together.
    rest: u64,
}

impl Pace {
    /// Counts one more message. Gives whether it is shown by itself; if not, it belongs to the rest.
    pub fn admit(&mut self, now: Instant) -> bool {
        if self.rest == 0 && self.is_over(now) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        let admitted = self.rest == 0 && self.shown < NOTIFICATIONS_MAX;
        if admitted {
            self.shown += 1;
        } else {
            self.rest += 1;
        }
        admitted
    }

    /// When the rest is to be told; none if there is no rest.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + NOTIFICATION_WINDOW).filter(|_| self.rest > 0)
    }

    /// Takes the rest, if it is due: how many messages it has.
    pub fn take_rest(&mut self, now: Instant) -> Option<u64> {
        let rest = Some(self.rest).filter(|rest| *rest > 0 && self.is_over(now))?;
        *self = Self { since: Some(now), shown: 1, rest: 0 };
        Some(rest)
    }

    /// Time until the rest is due.
    #[must_use]
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        self.due().map(|due| due.saturating_duration_since(now))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.since.is_none_or(|since| since + NOTIFICATION_WINDOW <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_together() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let admitted = (0..20).filter(|_| pace.admit(start)).count();
        assert_eq!(admitted, NOTIFICATIONS_MAX as usize);
        let rest = 20 - u64::from(NOTIFICATIONS_MAX);
        assert_eq!(pace.due(), Some(start + NOTIFICATION_WINDOW));
        assert_eq!(pace.time_left(start), Some(NOTIFICATION_WINDOW));
        assert_eq!(pace.take_rest(start), None);
        // Those that come before the rest was told belong to it.
        let over = start + NOTIFICATION_WINDOW;
        assert!(!pace.admit(over));
        assert_eq!(pace.take_rest(over), Some(rest + 1));
        assert_eq!((pace.take_rest(over), pace.due()), (None, None));
        // That was one of the next window.
        let admitted = (0..20).filter(|_| pace.admit(over)).count();
        assert_eq!(admitted, NOTIFICATIONS_MAX as usize - 1);
    }

    #[test]
    fn those_that_come_now_and_then_are_all_shown() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert!((0..20).all(|n| pace.admit(start + NOTIFICATION_WINDOW * n)));
        assert_eq!(pace.due(), None);
    }
}
