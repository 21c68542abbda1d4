//! How long the machine has been running, and which running it is.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

/// Time since the machine was started, its sleep included. (On macOS the monotonic clock goes on while
/// it sleeps.)
#[must_use]
pub fn time_since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;

    // Never negative: it begins with 0.
    Duration::try_from(clock_gettime(CLOCK)).unwrap_or_default()
}

/// The id of this running of the machine: random, and the same until it is started again (proc(5)). Where
/// it is not known, each start of a broker is taken for one of the machine, too.
#[must_use]
pub fn boot_id() -> Option<Uuid> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Uuid::try_parse(text.trim()).ok()
}

/// What the machine is called by itself.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
