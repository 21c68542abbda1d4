//! The two charts: messages a second, and how long deliveries take.

use std::collections::BTreeMap;

use crate::model::{Seq, Timestamp};

/// Seconds of the first chart.
const SECONDS: i64 = 60;
/// Seconds kept, in case the clock is set back a little.
const SECONDS_KEPT: usize = 120;
/// Messages of the second.
const MESSAGES: usize = 60;

/// Messages stored in each of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// By the second of the wall clock; seconds without messages are not there.
    seconds: BTreeMap<i64, u64>,
}

impl Rate {
    /// A message that was stored then.
    pub(super) fn count(&mut self, at: Timestamp) {
        *self.seconds.entry(second(at)).or_default() += 1;
        if self.seconds.len() > SECONDS_KEPT {
            self.seconds.pop_first();
        }
    }

    /// The whole seconds before this one, oldest first.
    pub(super) fn bars(&self, now: Timestamp) -> Vec<u64> {
        let now = second(now);
        let bar = |second| self.seconds.get(&second).copied().unwrap_or(0);
        (now - SECONDS..now).map(bar).collect()
    }

    /// Whether the chart looks different in a second from now.
    pub(super) fn moves(&self, now: Timestamp) -> bool {
        self.seconds.range(second(now) - SECONDS..).next().is_some()
    }
}

/// The second of the wall clock that `at` is in.
pub(super) fn second(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}

/// Times from the moment a message was stored to the confirmation of its recipient's process, of the
/// newest messages of which both are known.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    ms: BTreeMap<Seq, u64>,
}

impl Deliveries {
    /// A message was stored and confirmed at these times.
    pub(super) fn insert(&mut self, seq: Seq, stored: Timestamp, confirmed: Timestamp) {
        let ms = confirmed.0.saturating_sub(stored.0);
        self.ms.insert(seq, u64::try_from(ms).unwrap_or(0));
        if self.ms.len() > MESSAGES {
            self.ms.pop_first();
        }
    }

    /// Each, in the order of the messages, ms.
    pub(super) fn bars(&self) -> Vec<u64> {
        self.ms.values().copied().collect()
    }

    /// Median and largest, ms; none where nothing is known.
    pub(super) fn median_and_max(&self) -> Option<(u64, u64)> {
        let mut ms = self.bars();
        ms.sort_unstable();
        Some((*ms.get(ms.len() / 2)?, *ms.last()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_the_second() {
        let mut rate = Rate::default();
        for ms in [10_100, 10_900, 12_000, 13_500] {
            rate.count(Timestamp(ms));
        }
        // The second that has not ended is not shown.
        assert_eq!(rate.bars(Timestamp(13_999))[56..], [0, 2, 0, 1]);
        assert_eq!(rate.bars(Timestamp(14_000))[58..], [1, 1]);
        assert!(rate.moves(Timestamp(70_000)) && !rate.moves(Timestamp(80_000)));
        for second in 0..1000 {
            rate.count(Timestamp(second * 1000));
        }
        assert!(rate.seconds.len() <= SECONDS_KEPT);
    }

    #[test]
    fn deliveries_are_those_of_the_newest_messages() {
        let mut deliveries = Deliveries::default();
        assert_eq!(deliveries.median_and_max(), None);
        for seq in 0..100 {
            deliveries.insert(Seq(seq), Timestamp(0), Timestamp(i64::try_from(seq).unwrap()));
        }
        assert_eq!(deliveries.bars().len(), MESSAGES);
        assert_eq!(deliveries.bars()[58..], [98, 99]);
        assert_eq!(deliveries.median_and_max(), Some((70, 99)));
        // A clock that was set back in between.
        deliveries.insert(Seq(200), Timestamp(50), Timestamp(10));
        assert_eq!(deliveries.bars().last(), Some(&0));
    }
}
