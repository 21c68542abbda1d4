//! A hub and two relays, run from a seed as they ship: connections are cut at every point, in both
//! directions, and found to be so sooner, later or by silence; sessions are killed during that, their
//! ways break, clients go away, and everyone sends, waits for locks and lets go of them.
//!
//! Then all is healed, and it must hold that nothing acknowledged is lost, nobody was given anything
//! again after acknowledging it, every request was answered once or ended without an answer, whoever
//! was told that it has a lock has it, and whoever was killed has none.
//!
//! A failure prints its seed. `SIM_SEED=7 cargo test --test relay` replays one seed; `SIM_SEEDS=5000`
//! runs longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test: to panic is how it fails"
)]
#![allow(clippy::cast_possible_truncation, reason = "small numbers")]
#![allow(clippy::print_stderr, reason = "shown only if a test fails")]

#[path = "../simulation/rng.rs"]
mod rng;
mod hub;
mod machine;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use slm_mesh::model::{MessageId, Monotonic, Now, PeerId, Timestamp};

use hub::Hub;
use machine::Machine;
use rng::Rng;

/// Frames under way between a relay and its hub, on one connection.
#[derive(Debug)]
struct Wire {
    key: u64,
    machine: usize,
    to_hub: VecDeque<String>,
    to_relay: VecDeque<String>,
    /// Nothing passes any more, and nobody was told.
    silent: bool,
    /// The relay's end is there.
    relay: bool,
    /// The hub's is.
    hub: bool,
}

/// Everything.
struct World {
    rng: Rng,
    now: Now,
    hub: Hub,
    machines: Vec<Machine>,
    wires: Vec<Wire>,
    keys: u64,
    /// Messages whose sending was acknowledged, and to whom.
    sent: BTreeMap<MessageId, PeerId>,
    /// No more is cut.
    healed: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Now {
            wall: Timestamp(1_800_000_000_000),
            mono: Monotonic(Duration::from_secs(10)),
            boot: Monotonic(Duration::from_secs(10)),
        };
        Self {
            rng: Rng::new(seed),
            now,
            hub: Hub::new(seed, now),
            machines: (0..2).map(|n| Machine::new(n, now)).collect(),
            wires: Vec::new(),
            keys: 0,
            sent: BTreeMap::new(),
            healed: false,
        }
    }

    fn pass(&mut self, ms: u64) {
        let time = Duration::from_millis(ms);
        self.now.mono = self.now.mono.plus(time);
        self.now.boot = self.now.boot.plus(time);
        self.now.wall = self.now.wall.plus_ms(i64::try_from(ms).unwrap());
    }

    fn step(&mut self) {
        let machine = self.rng.below(self.machines.len());
        let Self { rng, now, machines, .. } = self;
        match rng.below(20) {
            0..=4 => machines[machine].ask(rng, &self.hub.peers, *now),
            5..=6 => machines[machine].read(rng),
            7 if rng.chance(15) && !self.healed => machines[machine].kill(rng, *now),
            8 if !self.healed => machines[machine].flap(rng),
            9 if rng.chance(20) && !self.healed => machines[machine].leave(rng, *now),
            10 => {
                let ms = rng.below(200) as u64;
                self.pass(ms);
            }
            11 if self.rng.chance(25) && !self.healed => self.cut(machine),
            _ => {}
        }
        self.deliver();
    }

    /// Frames move, as far as they like; then both ends do what they have to.
    fn deliver(&mut self) {
        for at in 0..self.wires.len() {
            let wire = &mut self.wires[at];
            if wire.silent {
                continue;
            }
            let machine = &mut self.machines[wire.machine];
            for _ in 0..self.rng.below(4) {
                if wire.relay
                    && let Some(frame) = wire.to_relay.pop_front()
                {
                    machine.uplink.heard(self.now.mono);
                    machine.uplink.frame(&frame, self.now.mono);
                }
            }
            let mut frames = Vec::new();
            for _ in 0..self.rng.below(4) {
                frames.extend(wire.to_hub.pop_front());
            }
            if wire.hub {
                let key = wire.key;
                self.hub.take(key, wire.machine, frames, self.now);
                if !wire.relay && wire.to_hub.is_empty() {
                    wire.hub = false;
                    self.hub.machines.leave(key);
                }
            }
        }
        self.hub.turn(self.now);
        for machine in &mut self.machines {
            machine.work(&mut self.rng, self.now, &mut self.sent);
        }
        self.connect();
        self.send();
        self.wires.retain(|wire| wire.relay || wire.hub);
    }

    /// What the relays want of their connections.
    fn connect(&mut self) {
        for at in 0..self.machines.len() {
            if std::mem::take(&mut self.machines[at].hang_up) {
                self.cut_at_relay(at);
            }
            if !self.machines[at].dialling || self.rng.chance(50) {
                continue;
            }
            self.machines[at].dialling = false;
            if !self.healed && self.rng.chance(20) {
                let jitter = (self.rng.next() & 255) as u8;
                self.machines[at].uplink.disconnected("refused", self.now.mono, jitter);
                continue;
            }
            self.keys += 1;
            let key = self.keys;
            if let Some(before) = self.hub.join(key, at, self.now) {
                for wire in self.wires.iter_mut().filter(|wire| wire.key == before) {
                    wire.hub = false;
                }
            }
            let Now { wall, mono, .. } = self.now;
            self.machines[at].uplink.connected(mono, wall);
            self.wires.push(Wire {
                key,
                machine: at,
                to_hub: VecDeque::new(),
                to_relay: VecDeque::new(),
                silent: false,
                relay: true,
                hub: true,
            });
        }
    }

    /// What both ends have to say is under way.
    fn send(&mut self) {
        let mono = self.now.mono;
        for wire in &mut self.wires {
            if wire.relay {
                let uplink = &mut self.machines[wire.machine].uplink;
                while let Some(frame) = uplink.next_frame(mono) {
                    wire.to_hub.push_back(frame);
                }
                if std::mem::take(&mut self.machines[wire.machine].pinged) && !wire.silent {
                    self.machines[wire.machine].uplink.heard(mono);
                }
            }
            if wire.hub
                && let Some(remote) = self.hub.machines.get_mut(wire.key)
            {
                while let Some(frame) = remote.next_frame(mono) {
                    wire.to_relay.push_back(frame);
                }
            }
        }
    }

    /// The connection of a machine is cut: each way some frames still arrive.
    fn cut(&mut self, machine: usize) {
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.machine == machine && wire.relay)
        else {
            return;
        };
        if self.rng.chance(25) {
            wire.silent = true;
            return;
        }
        let arrive = self.rng.below(wire.to_relay.len() + 1);
        for frame in wire.to_relay.drain(..).take(arrive) {
            self.machines[machine].uplink.frame(&frame, self.now.mono);
        }
        self.cut_at_relay(machine);
    }

    fn cut_at_relay(&mut self, machine: usize) {
        for wire in self.wires.iter_mut().filter(|wire| wire.machine == machine && wire.relay) {
            let arrive = if wire.silent { 0 } else { self.rng.below(wire.to_hub.len() + 1) };
            wire.to_hub.truncate(arrive);
            wire.relay = false;
            // The hub may find out late, or when the next one comes.
            wire.silent |= self.rng.chance(30);
        }
        let jitter = (self.rng.next() & 255) as u8;
        self.machines[machine].uplink.disconnected("cut", self.now.mono, jitter);
    }

    /// Everything works again, for long enough.
    fn heal(&mut self) {
        self.healed = true;
        for _ in 0..600 {
            for machine in &mut self.machines {
                machine.retry_all();
                machine.read_all();
            }
            self.pass(200);
            self.deliver();
        }
    }

    fn check(&mut self) {
        let alive: BTreeSet<PeerId> = self.machines.iter().flat_map(Machine::alive).collect();
        for (message, to) in &self.sent {
            let reader = self.machines.iter().find_map(|machine| machine.has_read(*to, *message));
            assert!(reader != Some(false), "{message} to {to} was acknowledged and is lost");
        }
        let locks = self.hub.locks(self.now);
        for (path, holder) in &locks {
            assert!(alive.contains(holder), "{path} is held by {holder}, who was killed");
        }
        for machine in &self.machines {
            for (path, peer) in machine.held() {
                assert_eq!(locks.get(&path), Some(&peer), "{path} was given to {peer}");
            }
            assert!(machine.uplink.standing().connected, "it is connected again");
            machine.check_names(&self.hub.names(self.now));
        }
        let present = self.hub.present();
        for peer in alive {
            assert!(present.contains(&peer), "{peer} is here");
        }
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn what_crosses_machines_is_neither_lost_nor_told_twice() {
    let one = std::env::var("SIM_SEED").ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = one.map_or(0..variable("SIM_SEEDS", 100), |seed| seed..seed + 1);
    let mut met = BTreeMap::new();
    for seed in seeds {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..variable("SIM_STEPS", 500) {
                world.step();
            }
            world.heal();
            world.check();
            let mut met = world.machines.iter().flat_map(|it| it.met.clone()).collect::<Vec<_>>();
            met.extend(world.hub.met.iter().copied());
            met
        });
        match run {
            Ok(all) => {
                for it in all {
                    *met.entry(it).or_insert(0) += 1;
                }
            }
            Err(panic) => {
                eprintln!("SIM_SEED={seed} cargo test --test relay");
                std::panic::resume_unwind(panic);
            }
        }
    }
    if one.is_none() {
        // What this test is about has happened.
        for what in
            ["answered", "in doubt", "refused", "granted", "lost", "again", "confirmed", "killed"]
        {
            assert!(met.contains_key(what), "{what} never happened: {met:?}");
        }
    }
}
