//! The two charts: messages a second, and how long deliveries take.

use std::collections::BTreeMap;

use crate::model::{Seq, Timestamp};

/// Seconds of the first chart, messages of the second.
pub(in crate::cli::top) const POINTS: usize = 60;

/// Messages stored in each of the last seconds.
#[derive(Debug, Default)]
pub(in crate::cli::top) struct Rate {
    /// By the second of the wall clock; seconds without messages are not there.
    seconds: BTreeMap<i64, u32>,
}

impl Rate {
    /// A message that was stored then.
    pub(super) fn count(&mut self, at: Timestamp) {
        let count = self.seconds.entry(second(at)).or_default();
        *count = count.saturating_add(1);
        while self.seconds.len() > 2 * POINTS {
            self.seconds.pop_first();
        }
    }

    /// The whole seconds before this one, oldest first, at most `points` of them.
    pub(in crate::cli::top) fn bars(&self, points: usize, now: Timestamp) -> Vec<u32> {
        let now = second(now);
        let points = i64::try_from(points.min(POINTS)).unwrap_or(0);
        (now - points..now).map(|second| self.seconds.get(&second).copied().unwrap_or(0)).collect()
    }

    /// Whether the chart looks different in a second from now.
    pub(in crate::cli::top) fn moves(&self, now: Timestamp) -> bool {
        let points = i64::try_from(POINTS).unwrap_or(0);
        self.seconds.range(second(now) - points..).next().is_some()
    }
}

/// The second of the wall clock that `at` is in.
pub(in crate::cli::top) fn second(at: Timestamp) -> i64 {
    at.0.div_euclid(1000)
}

/// Times from the moment a message was stored to the confirmation of its recipient's process, of the
/// newest messages of which both are known.
#[derive(Debug, Default)]
pub(in crate::cli::top) struct Deliveries {
    ms: BTreeMap<Seq, u32>,
}

impl Deliveries {
    /// A message was stored and confirmed at these times.
    pub(super) fn insert(&mut self, seq: Seq, stored: Timestamp, confirmed: Timestamp) {
        let ms = confirmed.0.saturating_sub(stored.0).max(0);
        self.ms.insert(seq, u32::try_from(ms).unwrap_or(u32::MAX));
        while self.ms.len() > POINTS {
            self.ms.pop_first();
        }
    }

    /// Each of the newest `points`, in the order of the messages, ms.
    pub(in crate::cli::top) fn bars(&self, points: usize) -> Vec<u32> {
        let skipped = self.ms.len().saturating_sub(points);
        self.ms.values().skip(skipped).copied().collect()
    }

    /// Median and largest, ms; none where nothing is known.
    pub(in crate::cli::top) fn median_and_max(&self) -> Option<(u32, u32)> {
        let mut ms: Vec<u32> = self.ms.values().copied().collect();
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
        assert_eq!(rate.bars(4, Timestamp(13_999)), [0, 2, 0, 1]);
        assert_eq!(rate.bars(2, Timestamp(14_000)), [1, 1]);
        assert!(rate.moves(Timestamp(70_000)) && !rate.moves(Timestamp(80_000)));
        for second in 0..1000 {
            rate.count(Timestamp(second * 1000));
        }
        assert!(rate.seconds.len() <= 2 * POINTS);
    }

    #[test]
    fn deliveries_are_those_of_the_newest_messages() {
        let mut deliveries = Deliveries::default();
        assert_eq!(deliveries.median_and_max(), None);
        for seq in 0..100 {
            deliveries.insert(Seq(seq), Timestamp(0), Timestamp(i64::try_from(seq).unwrap()));
        }
        assert_eq!(deliveries.bars(POINTS).len(), POINTS);
        assert_eq!(deliveries.bars(2), [98, 99]);
        assert_eq!(deliveries.median_and_max(), Some((70, 99)));
        // A clock that was set back in between.
        deliveries.insert(Seq(200), Timestamp(50), Timestamp(10));
        assert_eq!(deliveries.bars(1), [0]);
    }
}
