//! The mesh's own time, by which everything expires and grows old.
//!
//! It goes on with the monotonic clock, and no jump of the wall clock moves it. Over a stop of the
//! broker it goes on by the time that the machine has run, its sleep included. Over a restart of the
//! machine only the wall clock can tell how much time has passed, and it may be wrong just then: it is
//! believed once it has kept step with the machine's running time for an hour, and until then nothing is
//! removed for its age.
//!
//! What is shown is the wall clock, as it is now.

use std::time::Duration;

use super::Mesh;
use crate::limits::CLOCK_STEADY_TIME;
use uuid::Uuid;

use crate::model::{MeshTime, Monotonic, Now, Seq, TimeMark, Timestamp};
use crate::store::{Result, Store};

/// The wall clock has jumped if it is so far from where it should be, ms.
const JUMP_MS: i64 = 60_000;

/// A wall clock that is behind what was believed is believed after so long.
const BEHIND_TIME: Duration = Duration::from_secs(24 * 3600);

/// Times are shown with the same distance from the wall clock until it is so wrong, ms: read twice, they
/// are the same.
const SHOWN_MS: i64 = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Clock {
    /// The mesh's time minus the monotonic clock, ms.
    base: i64,
    /// The wall clock minus the mesh's time, as it is shown, ms.
    shown: i64,
    /// The wall clock minus the mesh's time, as it is believed to be, ms. A clock that was ahead once
    /// has it too high: then too little time has passed, which removes nothing.
    believed: i64,
    /// The wall clock minus the running time of the machine, as of the last look, ms.
    offset: i64,
    /// Since when in the running of the machine the wall clock has kept step.
    steady_since: Monotonic,
    /// The machine was restarted, and it is not known yet how much older everything up to here has
    /// become.
    unseen_to: Option<Seq>,
}

impl Clock {
    /// Begins where the store says that it ended.
    pub(super) fn start(
        last: Option<TimeMark>,
        last_seq: Seq,
        boot_id: Option<Uuid>,
        now: Now,
    ) -> Self {
        let offset = now.wall.0.saturating_sub(ms(now.boot));
        let Some(last) = last else {
            // So that what was stored by the wall clock, before there were marks, goes on.
            let mut new = Self {
                base: now.wall.0.saturating_sub(ms(now.mono)),
                shown: 0,
                believed: 0,
                offset,
                steady_since: now.boot,
                unseen_to: None,
            };
            new.follow(now);
            return new;
        };
        let same_boot = boot_id.is_some() && last.boot_id == boot_id && now.boot >= last.boot;
        let stopped = if same_boot { ms(now.boot) - ms(last.boot) } else { 0 };
        let steady = same_boot && !jumped(offset, last.wall.0.saturating_sub(ms(last.boot)));
        let mut clock = Self {
            base: last.at.0.saturating_add(stopped).saturating_sub(ms(now.mono)),
            shown: 0,
            believed: last.believed_ms,
            offset,
            steady_since: if steady { last.steady_since } else { now.boot },
            unseen_to: if same_boot { last.unseen_to } else { Some(last_seq) },
        };
        clock.follow(now);
        clock
    }

    /// The mesh's time.
    pub(super) fn time(&self, now: Now) -> MeshTime {
        MeshTime(self.base.saturating_add(ms(now.mono)))
    }

    /// A time of the mesh as the wall clock shows it.
    pub(super) fn on_wall(&self, at: MeshTime) -> Timestamp {
        Timestamp(at.0.saturating_add(self.shown))
    }

    /// What the wall clock says now is what is shown. To be called first in a turn.
    pub(super) fn follow(&mut self, now: Now) {
        let ahead = now.wall.0.saturating_sub(self.time(now).0);
        if ahead.saturating_sub(self.shown).abs() > SHOWN_MS {
            self.shown = ahead;
        }
    }

    /// Looks whether the wall clock can be believed. Once it can, gives how much time had passed unseen,
    /// and up to where that makes everything older.
    fn look(&mut self, now: Now) -> Option<(Seq, i64)> {
        let offset = now.wall.0.saturating_sub(ms(now.boot));
        if jumped(offset, self.offset) {
            self.steady_since = now.boot;
        }
        self.offset = offset;
        let steady_for = now.boot.since(self.steady_since);
        let ahead = now.wall.0.saturating_sub(self.time(now).0);
        if self.unseen_to.is_some() && steady_for < CLOCK_STEADY_TIME {
            return None;
        }
        // If no time has passed unseen, the wall clock was set, whatever it did.
        let unseen = ahead.saturating_sub(self.believed).max(0);
        if unseen > 0 || steady_for >= BEHIND_TIME {
            self.believed = ahead;
        }
        self.unseen_to.take().map(|to| (to, unseen))
    }

    fn mark(&self, boot_id: Option<Uuid>, now: Now) -> TimeMark {
        TimeMark {
            at: self.time(now),
            wall: now.wall,
            boot_id,
            boot: now.boot,
            steady_since: self.steady_since,
            believed_ms: self.believed,
            unseen_to: self.unseen_to,
        }
    }
}

fn ms(time: Monotonic) -> i64 {
    i64::try_from(time.0.as_millis()).unwrap_or(i64::MAX)
}

fn jumped(offset: i64, before: i64) -> bool {
    offset.saturating_sub(before).saturating_abs() > JUMP_MS
}

impl<S: Store> Mesh<S> {
    /// Notes at the start what time it is, so that a later start does not have to rely on the wall clock.
    /// If that cannot be stored now, it is at the next occasion.
    pub(super) fn begin_time(&mut self) {
        let begun = self.store.begin_turn().and_then(|()| self.look_at_clocks());
        if begun.and_then(|_| self.store.commit_turn()).is_err() {
            self.store.rollback_turn();
        }
    }

    /// A turn was forgotten, and with it perhaps that something is older.
    pub(super) fn abort_time(&mut self) -> Result<()> {
        if let Some((last, _)) = self.store.last_time()?
            && last.boot_id == self.settings.boot_id
        {
            self.clock.believed = last.believed_ms;
            self.clock.unseen_to = last.unseen_to;
        }
        Ok(())
    }

    /// What the mesh's clock says.
    pub(super) fn time(&self) -> MeshTime {
        self.clock.time(self.now)
    }

    /// Stores what time it is: what has a number by now is as old as this.
    pub(super) fn note_time(&mut self) -> Result<()> {
        self.store.note_time(&self.clock.mark(self.settings.boot_id, self.now))
    }

    /// Looks after the clock; gives whether anything may be removed for its age.
    pub(super) fn look_at_clocks(&mut self) -> Result<bool> {
        if let Some((to, unseen)) = self.clock.look(self.now)
            && unseen > 0
        {
            self.store.make_older(to, unseen)?;
            self.note_expiries()?;
        }
        let mark = self.clock.mark(self.settings.boot_id, self.now);
        let told =
            |mark: &TimeMark| (mark.boot_id, mark.believed_ms, mark.unseen_to, mark.steady_since);
        let last = self.store.last_time()?;
        let news = last
            .is_none_or(|(last, seq)| seq < self.store.last_seq() || told(&last) != told(&mark));
        if news {
            self.store.note_time(&mark)?;
        }
        Ok(self.clock.unseen_to.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1000;
    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * HOUR;

    /// A machine with a broker, which looks at the clocks now and then.
    struct Machine {
        now: Now,
        boot_id: Uuid,
        clock: Clock,
        /// How much older what came before the last start of the machine has become.
        older: i64,
    }

    impl Machine {
        fn new(wall: i64) -> Self {
            let boot = Monotonic(Duration::from_secs(30));
            let now = Now { wall: Timestamp(wall), mono: Monotonic::default(), boot };
            let boot_id = Uuid::from_u128(1);
            Self { now, boot_id, clock: Clock::start(None, Seq(0), Some(boot_id), now), older: 0 }
        }

        fn time(&self) -> i64 {
            self.clock.time(self.now).0
        }

        /// How long ago was what came then, before the last start of the machine.
        fn age(&self, at: i64) -> i64 {
            self.time() - at + self.older
        }

        fn is_unseen(&self) -> bool {
            self.clock.unseen_to.is_some()
        }

        fn look(&mut self) {
            self.clock.follow(self.now);
            if let Some((to, unseen)) = self.clock.look(self.now) {
                assert_eq!(to, Seq(7));
                self.older += unseen;
            }
        }

        /// Time passes, looked at every ten minutes.
        fn run(&mut self, ms: i64) -> &mut Self {
            self.look();
            for piece in (0..ms).step_by(600_000).map(|at| (ms - at).min(600_000)) {
                self.now.mono = Monotonic(self.now.mono.0 + duration(piece));
                self.sleep(piece).look();
            }
            self
        }

        fn sleep(&mut self, ms: i64) -> &mut Self {
            self.now.boot = Monotonic(self.now.boot.0 + duration(ms));
            self.jump(ms)
        }

        fn jump(&mut self, ms: i64) -> &mut Self {
            self.now.wall = self.now.wall.plus_ms(ms);
            self
        }

        /// The broker ends, and another starts after `ms`.
        fn restart(&mut self, ms: i64) -> &mut Self {
            let mark = self.clock.mark(Some(self.boot_id), self.now);
            self.sleep(ms);
            self.now.mono = Monotonic::default();
            self.clock = Clock::start(Some(mark), Seq(7), Some(self.boot_id), self.now);
            self
        }

        /// The machine is off for `ms`; then the wall clock says so much more than it should.
        fn reboot(&mut self, ms: i64, wrong: i64) -> &mut Self {
            let mark = self.clock.mark(Some(self.boot_id), self.now);
            self.boot_id = Uuid::from_u128(self.boot_id.as_u128() + 1);
            self.jump(ms + wrong);
            self.now.mono = Monotonic::default();
            self.now.boot = Monotonic(Duration::from_secs(20));
            self.clock = Clock::start(Some(mark), Seq(7), Some(self.boot_id), self.now);
            self
        }
    }

    fn duration(ms: i64) -> Duration {
        Duration::from_millis(ms.try_into().unwrap())
    }

    #[test]
    fn no_jump_of_the_wall_clock_moves_the_time() {
        for jump in [SECOND, HOUR, YEAR, -SECOND, -HOUR, -60 * YEAR] {
            let mut machine = Machine::new(50 * YEAR);
            machine.run(HOUR).jump(jump).run(HOUR).jump(-jump).run(HOUR);
            assert_eq!(machine.time(), 50 * YEAR + 3 * HOUR);
            machine.jump(jump).restart(HOUR).run(HOUR).jump(-jump).run(HOUR);
            assert_eq!(machine.time(), 50 * YEAR + 6 * HOUR);
            assert!(!machine.is_unseen());
        }
    }

    #[test]
    fn what_is_shown_is_the_wall_clock_as_it_is_and_the_same_when_read_twice() {
        let mut machine = Machine::new(50 * YEAR);
        let until = MeshTime(machine.time() + HOUR);
        assert_eq!(machine.clock.on_wall(until), Timestamp(50 * YEAR + HOUR));
        machine.jump(SHOWN_MS).look();
        assert_eq!(machine.clock.on_wall(until), Timestamp(50 * YEAR + HOUR));
        machine.jump(1).look();
        assert_eq!(machine.clock.on_wall(until), Timestamp(50 * YEAR + HOUR + SHOWN_MS + 1));
        machine.jump(-YEAR).look();
        assert_eq!(machine.clock.on_wall(until), Timestamp(49 * YEAR + HOUR + SHOWN_MS + 1));
    }

    #[test]
    fn sleep_is_no_time_and_a_stop_is() {
        let mut machine = Machine::new(50 * YEAR);
        machine.run(HOUR).sleep(8 * HOUR).run(HOUR);
        assert_eq!(machine.time(), 50 * YEAR + 2 * HOUR);
        machine.sleep(8 * HOUR).restart(HOUR);
        assert_eq!(machine.time(), 50 * YEAR + 3 * HOUR);
        assert!(!machine.is_unseen());
    }

    #[test]
    fn after_a_restart_of_the_machine_the_wall_clock_counts_once_it_is_steady() {
        let mut machine = Machine::new(50 * YEAR);
        machine.run(HOUR).reboot(30 * HOUR, 0).run(HOUR - 1);
        assert_eq!((machine.age(50 * YEAR), machine.is_unseen()), (2 * HOUR - 1, true));
        machine.run(1);
        assert_eq!((machine.age(50 * YEAR), machine.is_unseen()), (32 * HOUR, false));
        // What came since is as old as it is.
        assert_eq!(machine.time(), 50 * YEAR + 2 * HOUR);
        // The hour goes on over the starts of brokers.
        machine.reboot(5 * HOUR, 0).run(HOUR / 2).restart(HOUR / 4).run(HOUR / 4);
        assert_eq!((machine.age(50 * YEAR), machine.is_unseen()), (38 * HOUR, false));
    }

    #[test]
    fn a_wall_clock_that_is_wrong_at_the_start_of_the_machine_is_waited_for() {
        for wrong in [-50 * YEAR, -2 * HOUR, 2 * HOUR, 50 * YEAR] {
            let mut machine = Machine::new(50 * YEAR);
            machine.run(HOUR).reboot(10 * HOUR, wrong).run(HOUR - 1).jump(-wrong).run(HOUR - 1);
            assert!(machine.is_unseen(), "{wrong}");
            machine.run(1);
            assert!(!machine.is_unseen(), "{wrong}");
            assert_eq!(machine.age(50 * YEAR), 13 * HOUR - 1, "{wrong}");
        }
    }

    #[test]
    fn a_stop_that_the_wall_clock_says_was_in_the_future_was_now() {
        let mut machine = Machine::new(50 * YEAR);
        machine.run(HOUR).jump(YEAR).run(2 * HOUR).reboot(5 * HOUR, -YEAR).run(2 * HOUR);
        assert_eq!((machine.age(50 * YEAR), machine.is_unseen()), (5 * HOUR, false));
        // After a day the right one is believed again.
        machine.run(25 * HOUR).reboot(5 * HOUR, 0).run(2 * HOUR);
        assert_eq!(machine.age(50 * YEAR), 37 * HOUR);
    }

    #[test]
    fn a_wall_clock_that_was_behind_is_no_time_that_has_passed() {
        // Wrong at the first start of all, and put right while the broker ran.
        let mut machine = Machine::new(YEAR);
        machine.run(HOUR).jump(49 * YEAR).run(HOUR).reboot(5 * HOUR, 0).run(2 * HOUR);
        assert_eq!(machine.age(YEAR), 9 * HOUR);
        // Behind for some hours, and put right while the machine was off.
        let mut machine = Machine::new(50 * YEAR);
        machine.run(HOUR).jump(-YEAR).run(5 * HOUR).reboot(5 * HOUR, YEAR).run(2 * HOUR);
        assert_eq!(machine.age(50 * YEAR), 13 * HOUR);
    }
}
