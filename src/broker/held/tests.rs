use std::time::Duration;

use super::*;
use crate::api::{Endpoint, LocksReply};
use crate::broker::entropy::SystemEntropy;
use crate::broker::table::Table;
use crate::mesh::{Outcome, Settings};
use crate::model::{Now, Timestamp};
use crate::store::memory::MemoryStore;

fn askers<const N: usize>() -> [Asker; N] {
    let mut table = Table::new();
    [(); N].map(|()| Asker::Http(table.insert(())))
}

fn at(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

fn hold(on: Interest) -> Box<Hold> {
    Hold::new(Caller::Broker, Request::Status, on, at(100))
}

fn woken(held: &mut Held) -> Vec<Asker> {
    let mut taken = Vec::new();
    while let Some((asker, hold)) = held.next_woken() {
        taken.push((asker, hold));
    }
    let woken = taken.iter().map(|(asker, _)| *asker).collect();
    for (asker, hold) in taken {
        held.hold(asker, hold);
    }
    woken
}

fn news(inboxes: &[Recipient], events: &[&'static str], gone: &[PeerId]) -> Effects {
    Effects {
        inboxes: inboxes.to_vec(),
        events: events.iter().map(|kind| (*kind).into()).collect(),
        gone: gone.to_vec(),
        ..Effects::default()
    }
}

#[test]
fn each_is_woken_once_by_what_it_waits_for() {
    let [a, b, c, back, waits] = askers();
    let elsewhere = Asker::Remote { machine: Key::SINGLE, id: 7 };
    let id = PeerId::from_random([1; 16]);
    let peer = Recipient::Peer(id);
    let mut held = Held::default();
    held.hold(elsewhere, hold(Interest::Inbox(peer)));
    held.hold(a, hold(Interest::Inbox(peer)));
    held.hold(b, hold(Interest::Inbox(peer)));
    held.hold(c, hold(Interest::Inbox(Recipient::Cli)));
    held.hold(back, hold(Interest::Gone(id)));
    held.hold(waits, hold(Interest::Claim { peer: id, place: 0, until: at(0) }));
    held.wake(&news(&[Recipient::Cli], &[], &[]));
    assert_eq!(woken(&mut held), [c]);
    // Several messages to one inbox wake its readers once.
    held.wake(&news(&[peer, peer], &[], &[]));
    held.wake(&news(&[peer], &[], &[]));
    assert_eq!(woken(&mut held), [a, b, elsewhere, waits]);
    held.wake(&news(&[], &[], &[id, id]));
    assert_eq!(woken(&mut held), [back, waits]);
    held.wake(&news(&[], &["x"], &[]));
    assert!(!held.is_busy());
    assert_eq!(held.end().len(), 6);
    assert!(held.is_empty() && held.signs.is_empty() && held.deadlines.is_empty());
}

#[test]
fn readers_of_events_are_woken_by_the_types_they_asked_for() {
    let asked: [&[&str]; 5] =
        [&[], &["*"], &["build.*", "build.done"], &["a.b.*", "plain"], &["a.b"]];
    let mut held = Held::default();
    let readers: Vec<(Asker, &[&str])> = askers::<5>().into_iter().zip(asked).collect();
    for (asker, types) in &readers {
        let body = serde_json::json!({ "action": "read", "types": types, "wait": 5 }).to_string();
        let request = Request::decode(Endpoint::Events, body.as_bytes()).unwrap();
        held.hold(*asker, Hold::new(Caller::Broker, request, Interest::Events, at(5)));
    }
    for kind in ["build.done", "build", "build.x.y", "a.b", "a.b.c", "a.c", "plain", "plainer"] {
        let expected: Vec<Asker> = (readers.iter())
            .filter(|(_, types)| {
                let types: Vec<Box<str>> = types.iter().map(|of| (*of).into()).collect();
                crate::model::type_matches(&types, kind)
            })
            .map(|(asker, _)| *asker)
            .collect();
        held.wake(&news(&[], &[kind], &[]));
        let mut found = woken(&mut held);
        found.sort_unstable();
        assert_eq!(found, expected, "{kind}");
    }
    held.wake_due(at(5));
    while held.next_woken().is_some() {}
    assert!(held.is_empty() && held.events.is_empty() && held.deadlines.is_empty());
}

#[test]
fn each_is_asked_again_when_its_time_is_over() {
    let [first, second] = askers();
    let mut held = Held::default();
    for (asker, until) in [(second, 9), (first, 5)] {
        let request = hold(Interest::Events);
        held.hold(asker, Box::new(Hold { until: at(until), ..*request }));
    }
    held.wake_due(at(4));
    assert_eq!((held.next_deadline(), held.is_busy()), (Some(at(5)), false));
    held.wake_due(at(5));
    assert_eq!((held.next_deadline(), held.is_busy()), (Some(at(9)), true));
    assert_eq!(held.next_woken().unwrap().0, first);
    assert!(held.next_woken().is_none() && !held.is_empty());
}

/// A mesh in which whoever asks for `/f` waits for it, until `script` lets go.
struct Locks {
    mesh: Mesh<MemoryStore>,
    held: Held,
}

const NOW: Now = Now {
    wall: Timestamp(1_800_000_000_000),
    mono: Monotonic(Duration::ZERO),
    boot: Monotonic(Duration::ZERO),
};

impl Locks {
    fn new() -> Self {
        let entropy = Box::new(SystemEntropy::new().unwrap());
        let mesh = Mesh::new(MemoryStore::new(), entropy, Settings::default(), NOW).unwrap();
        let mut new = Self { mesh, held: Held::default() };
        new.mesh.begin_turn(NOW).unwrap();
        new.ask("lock", "script", 0);
        new.commit();
        new
    }

    fn ask(&mut self, action: &str, who: &str, wait: u32) -> (Request, Outcome) {
        let body = serde_json::json!({
            "action": action, "peerId": who, "filePath": "/f", "wait": wait,
        });
        let request = Request::decode(Endpoint::Lock, body.to_string().as_bytes()).unwrap();
        let outcome = self.mesh.handle(Caller::Broker, &request, NOW).unwrap();
        (request, outcome)
    }

    fn wait(&mut self, asker: Asker, who: &str) {
        let (request, outcome) = self.ask("lock", who, 50);
        let Outcome::Hold { on, until } = outcome else { panic!("{outcome:?}") };
        self.held.hold(asker, Hold::new(Caller::Broker, request, on, until));
    }

    /// Lets those go on whose turn it is.
    fn grant(&mut self) -> Vec<Asker> {
        let mut given = Vec::new();
        while let Some((asker, hold)) = self.held.next_waiter(&mut self.mesh) {
            let again = hold.again();
            let outcome = self.mesh.handle_held(hold.caller, &hold.request, again, NOW).unwrap();
            let Outcome::Reply(reply) = outcome else { panic!("{outcome:?}") };
            self.held.answered(asker, &reply);
            given.push(asker);
        }
        given
    }

    fn commit(&mut self) {
        self.mesh.commit_turn().unwrap();
        self.held.commit(NOW.mono);
    }

    /// Who holds the lock.
    fn holder(&mut self) -> Option<String> {
        let (_, outcome) = self.ask("query", "cli", 0);
        let Outcome::Reply(Reply::Locks(LocksReply { locks, .. })) = outcome else {
            panic!("{outcome:?}")
        };
        locks.first().map(|lock| lock.locked_by_name.to_string())
    }

    /// Tells the mesh of lost answers.
    fn tell_lost(&mut self) -> Vec<Lost> {
        let mut told = Vec::new();
        while let Some((fence, lost)) = self.held.next_lost() {
            self.mesh.grant_lost(fence, lost, NOW).unwrap();
            told.push(lost);
        }
        told
    }
}

#[test]
fn locks_are_given_in_order_and_those_whose_answer_is_lost_go_to_the_next() {
    let [a, b, c, d] = askers();
    let mut locks = Locks::new();
    locks.mesh.begin_turn(NOW).unwrap();
    for (asker, who) in [(a, "a"), (b, "b"), (c, "c"), (d, "d")] {
        locks.wait(asker, who);
    }
    // Gone before its turn came.
    locks.held.closed(a, NOW.mono, &mut locks.mesh, || panic!("it was given nothing"));
    locks.ask("unlock", "script", 0);
    assert_eq!(locks.grant(), [b]);
    // Nobody knows yet whether it is so: it goes before the turn has committed.
    locks.held.closed(b, NOW.mono, &mut locks.mesh, || panic!("nothing was written"));
    locks.commit();
    assert!(locks.held.has_lost());

    locks.mesh.begin_turn(NOW).unwrap();
    assert_eq!(locks.tell_lost(), [Lost::Unwritten]);
    assert_eq!(locks.grant(), [c]);
    locks.commit();
    assert!(!locks.held.has_lost());
    let later = at(1);
    locks.held.closed(c, later, &mut locks.mesh, || Some(Cut::Reset));
    locks.mesh.begin_turn(NOW).unwrap();
    let after = later.since(NOW.mono);
    assert_eq!(locks.tell_lost(), [Lost::Reset { after }]);
    // The turn is forgotten: it is told again.
    locks.mesh.abort_turn(NOW).unwrap();
    assert!(locks.held.abort(&mut locks.mesh).is_none() && locks.held.has_lost());
    locks.mesh.begin_turn(NOW).unwrap();
    assert_eq!(locks.tell_lost(), [Lost::Reset { after }]);
    // It may have read it.
    assert_eq!((locks.grant(), locks.holder().as_deref()), (vec![], Some("c")));
    locks.ask("unlock", "c", 0);
    assert_eq!(locks.grant(), [d]);
    locks.commit();
    // It asks for something else: so it has its answer, whatever becomes of the connection.
    locks.held.goes_on(d);
    locks.held.closed(d, later, &mut locks.mesh, || panic!("that does not matter any more"));
    assert!(!locks.held.has_lost() && locks.held.is_empty() && locks.held.granted.is_empty());
}

#[test]
fn whoever_hangs_up_leaves_the_queue_and_is_answered_at_once() {
    let [a, b] = askers();
    let mut locks = Locks::new();
    locks.mesh.begin_turn(NOW).unwrap();
    locks.wait(a, "a");
    locks.wait(b, "b");
    locks.commit();
    locks.held.hung_up(a, NOW.mono, &mut locks.mesh);
    locks.held.hung_up(a, NOW.mono, &mut locks.mesh);
    locks.mesh.begin_turn(NOW).unwrap();
    locks.ask("unlock", "script", 0);
    assert_eq!(locks.grant(), [b]);
    let (asker, hold) = locks.held.next_woken().unwrap();
    assert_eq!((asker, hold.again().hung_up, hold.again().until), (a, true, NOW.mono));
    assert!(locks.held.next_woken().is_none() && locks.held.is_empty());
    assert!(locks.held.deadlines.is_empty());
}

#[test]
fn a_turn_that_fails_has_held_nothing_and_given_nothing() {
    let [a, b] = askers();
    let mut locks = Locks::new();
    locks.mesh.begin_turn(NOW).unwrap();
    locks.wait(a, "a");
    locks.commit();
    locks.mesh.begin_turn(NOW).unwrap();
    locks.wait(b, "b");
    locks.ask("unlock", "script", 0);
    assert_eq!(locks.grant(), [a]);
    locks.mesh.abort_turn(NOW).unwrap();
    let (asker, _) = locks.held.abort(&mut locks.mesh).unwrap();
    assert_eq!((asker, locks.held.abort(&mut locks.mesh).is_none()), (b, true));
    locks.held.closed(a, NOW.mono, &mut locks.mesh, || panic!("it has no lock"));
    locks.mesh.begin_turn(NOW).unwrap();
    assert_eq!((locks.grant(), locks.holder().as_deref()), (vec![], Some("script")));
    assert!(!locks.held.has_lost() && locks.held.is_empty());
}
