//! How much time has passed for a mesh, whatever its clocks say, and what may have grown old by then.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use slm_mesh::api::{LockInfo, LockReply, Reply};
use slm_mesh::limits::CLOCK_STEADY_TIME;
use slm_mesh::model::{Now, PeerId, Seq};
use slm_mesh::store::{EventQuery, Store};

use crate::world::{Action, Answer, Backend, Seen, World};

/// What is shown may be off by so much, ms.
const SHOWN_MS: i64 = 200;

#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Ms since the beginning, as far as anyone can know.
    passed: i64,
    /// Ms that the machine has slept since the broker started. No time for it, but for the next one
    /// unless it was noted.
    asleep: i64,
    /// The same since the beginning.
    slept: i64,
    /// When the machine was started anew, and how long it had slept by then.
    reboots: Vec<(i64, i64)>,
    /// What was before this may be older than it seems, or younger.
    vague: i64,
    /// Locks, when they were taken and when they end.
    locks: BTreeMap<Seq, (i64, i64)>,
}

impl Times {
    /// Learns how much time an action took, and which locks it gave.
    pub(crate) fn learn(&mut self, action: &Action, seen: &Seen, now: Now) {
        match action {
            Action::Time { ms, .. } | Action::Restart { ms, reboot: false, .. } => {
                self.passed += *ms as i64;
            }
            Action::Sleep { ms } => {
                self.asleep += *ms as i64;
                self.slept += *ms as i64;
            }
            Action::Restart { reboot: true, .. } => {
                self.asleep = 0;
                self.reboots.push((self.passed, self.slept));
                self.vague = self.passed + 1;
            }
            Action::Turn(..) | Action::BareTurn(..) | Action::Maintain => {}
        }
        if seen.down && self.asleep > 0 {
            self.passed += std::mem::take(&mut self.asleep);
            self.vague = self.passed + 1;
        }
        let answers = seen.answers.iter().map(|(_, answer)| answer);
        for answer in answers.chain(seen.late.iter().map(|(.., answer)| answer)) {
            if let Answer::Reply(Reply::Locked(LockReply { lock, .. })) = answer {
                self.locked(lock, now);
            }
        }
    }

    fn locked(&mut self, lock: &LockInfo, now: Now) {
        let until = self.passed + lock.expires_at.0 - now.wall.0;
        let (_, known) = self.locks.entry(lock.fence).or_insert((self.passed, until));
        *known = (*known).max(until);
    }

    /// Now, to be compared.
    pub(crate) fn now(&self) -> i64 {
        self.passed
    }

    /// Whether what came at `at` may be older than `ms`. How long the machine was off only the wall
    /// clock tells, after it has kept step for a while.
    pub(crate) fn may_be_older(&self, at: i64, ms: i64) -> bool {
        let steady = CLOCK_STEADY_TIME.as_millis() as i64;
        let unseen = |(reboot, slept): &(i64, i64)| {
            at <= *reboot && self.passed + self.slept - reboot - slept >= steady
        };
        self.passed - at >= ms || self.reboots.iter().any(unseen)
    }

    /// A lock lasts as long as its holder was told, and no longer. To be called after a turn in which
    /// what had expired was removed.
    pub(crate) fn check_locks<B: Backend>(&self, world: &mut World<B>, met: &mut BTreeSet<String>) {
        let known = |fence: Seq| {
            let lock = self.locks.get(&fence).filter(|(taken, _)| *taken >= self.vague);
            lock.map(|(_, until)| *until)
        };
        let store = world.mesh().store_mut();
        for lock in store.locks().unwrap() {
            if let Some(until) = known(lock.fence) {
                assert!(self.passed <= until + SHOWN_MS, "{lock:?} is held beyond its time");
            }
        }
        let types = ["file_unlocked".into()];
        let query = EventQuery { types: &types, since: None, after: Some(Seq(0)), limit: u32::MAX };
        for event in store.events(&query, &mut |_| true).unwrap().events {
            let payload: Value = serde_json::from_str(&event.payload).unwrap();
            if payload["reason"] != "expired" {
                continue;
            }
            met.insert("lock expired".to_owned());
            // A peer may have been away, which shortens the time of its locks.
            let of_peer = PeerId::parse(payload["lockedBy"].as_str().unwrap()).is_some();
            let fence = Seq(payload["fence"].as_u64().unwrap());
            if let Some(until) = known(fence).filter(|_| !of_peer) {
                assert!(self.passed >= until - SHOWN_MS, "before its time: {}", event.payload);
            }
        }
    }
}
