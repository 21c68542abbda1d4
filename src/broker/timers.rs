//! When the reactor has to wake up for something of its own.

use std::collections::BTreeSet;

use super::table::Key;
use crate::model::{Monotonic, PeerId};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// An HTTP connection has been waiting too long for something.
    Connection(Key),
    /// A peer's socket is to be connected to again.
    Link(PeerId),
}

/// Alarms by time.
///
/// Most deadlines move away all the time: that of an idle connection with each of its requests.
/// Those need not be set again; when the alarm comes, whoever it belongs to says that it is not due
/// yet, and sets it anew.
#[derive(Debug, Default)]
pub(super) struct Timers {
    alarms: BTreeSet<(Monotonic, Alarm)>,
}

impl Timers {
    /// Sets the alarm of someone whose deadline is `at`, unless it has one that comes no later.
    /// `set` is its own note of that.
    pub(super) fn wake_by(&mut self, at: Monotonic, alarm: Alarm, set: &mut Option<Monotonic>) {
        match *set {
            Some(earlier) if earlier <= at => return,
            Some(later) => {
                self.alarms.remove(&(later, alarm));
            }
            None => {}
        }
        self.alarms.insert((at, alarm));
        *set = Some(at);
    }

    /// Takes an alarm back.
    pub(super) fn cancel(&mut self, alarm: Alarm, set: &mut Option<Monotonic>) {
        if let Some(at) = set.take() {
            self.alarms.remove(&(at, alarm));
        }
    }

    /// The time of the first alarm.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Takes the first alarm, if it is due. Its owner's note is to be cleared.
    pub(super) fn pop_due(&mut self, now: Monotonic) -> Option<Alarm> {
        if self.next()? > now {
            return None;
        }
        self.alarms.pop_first().map(|(_, alarm)| alarm)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn each_owner_has_one_alarm_and_it_is_the_earliest() {
        let mut timers = Timers::default();
        let alarm = Alarm::Connection(Key::SINGLE);
        let mut set = None;
        timers.wake_by(at(5), alarm, &mut set);
        timers.wake_by(at(9), alarm, &mut set);
        assert_eq!((timers.next(), set), (Some(at(5)), Some(at(5))));
        timers.wake_by(at(3), alarm, &mut set);
        assert_eq!((timers.next(), timers.alarms.len()), (Some(at(3)), 1));
        assert_eq!(timers.pop_due(at(2)), None);
        assert_eq!(timers.pop_due(at(3)), Some(alarm));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cancelled_alarm_does_not_come() {
        let mut timers = Timers::default();
        let alarm = Alarm::Connection(Key::SINGLE);
        let mut set = None;
        timers.wake_by(at(5), alarm, &mut set);
        timers.cancel(alarm, &mut set);
        timers.cancel(alarm, &mut set);
        assert_eq!((timers.next(), set), (None, None));
    }
}
