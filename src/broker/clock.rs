//! The clocks. Nothing else in the broker reads one; everything else is told the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::{Monotonic, Now, Timestamp};
use crate::platform;

/// The clocks of this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Time since the start, for measuring.
    pub(super) fn monotonic(self) -> Monotonic {
        Monotonic(self.start.elapsed())
    }

    /// All of them.
    pub(super) fn now(self) -> Now {
        Now { wall: wall(), mono: self.monotonic(), boot: Monotonic(platform::time_since_boot()) }
    }
}

/// Clocks before 1970, and those beyond the range of the type, are shown as its ends.
fn wall() -> Timestamp {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => -ms(before.duration()),
    })
}
