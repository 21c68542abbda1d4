//! Times: of the wall clock, of the monotonic one, and the mesh's own.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::ids::Seq;
use super::written::as_text;

/// A point of wall-clock time, ms since the Unix epoch. Written as ISO 8601 UTC with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time moved by `ms`, which may be negative; saturates.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Parses an RFC 3339 time with any offset, to the millisecond (the rest is cut off).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|time| Self(time.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock outside of jiff's years (-9999 to 9999) is shown as the nearest end.
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        });
        write!(f, "{time:.3}")
    }
}

as_text!(Timestamp::parse: "not an ISO 8601 time");

/// A point of monotonic time, as the distance from an arbitrary start of its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// This time moved forward; saturates.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// The time since `earlier`, zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// What time it is: the wall clock for what is shown, the monotonic one for measuring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock; may jump either way.
    pub wall: Timestamp,
    /// Monotonic clock; never goes back, and stands still while the machine sleeps.
    pub mono: Monotonic,
    /// Time since the machine was started, its sleep included.
    pub boot: Monotonic,
}

/// A number of seconds in the largest unit that it fills, in words: `2 min`.
#[must_use]
pub fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// What is left of a time, ms, in words: `in 2 min`. It is rounded up.
#[must_use]
pub fn in_span(ms: i64) -> String {
    format!("in {}", span(ms.max(0).saturating_add(999) / 1000))
}

/// A point of the mesh's own time, ms, by which things expire and grow old. It goes on with the time
/// that passes, whatever the wall clock does; where that has always been right, it is the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshTime(pub i64);

impl MeshTime {
    /// This time moved by `ms`, which may be negative; saturates.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Ms until `later`; negative if that was before.
    #[must_use]
    pub fn ms_until(self, later: Self) -> i64 {
        later.0.saturating_sub(self.0)
    }
}

/// What is known of the clocks at some time, for whoever starts the mesh again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeMark {
    /// The mesh's own time.
    pub at: MeshTime,
    /// What the wall clock said.
    pub wall: Timestamp,
    /// Which running of the machine it was, if that is known.
    pub boot_id: Option<Uuid>,
    /// For how long the machine had been running.
    pub boot: Monotonic,
    /// Since when in that running the wall clock had kept step.
    pub steady_since: Monotonic,
    /// How far the wall clock is ahead of the mesh's time when it is right, ms.
    pub believed_ms: i64,
    /// The machine was restarted, and it is not known yet how much older everything up to here has become
    /// meanwhile.
    pub unseen_to: Option<Seq>,
}
