//! Retention.

use super::*;
use crate::store::PurgeBefore;

contract!(
    old_rows_go_in_steps,
    the_times_in_rows_do_not_count,
    marks_of_time_go_with_what_they_tell_of,
    what_came_before_a_number_can_turn_out_to_be_older,
    what_belongs_to_a_message_goes_with_it,
    departed_peers_go_after_their_messages,
    numbers_are_not_used_again,
    labels_come_and_go,
    maintenance_changes_nothing,
);

fn purge(store: &mut dyn Store, before: &PurgeBefore, limit: u32) -> bool {
    turn(store, |store| store.purge(before, limit).unwrap())
}

fn old_rows_go_in_steps(store: &mut dyn Store) {
    register(store, 2);
    turn(store, |store| {
        for ms in 0..10 {
            post(store, &party(1), To::One(inbox_of(2)), &Draft::new("x", at(ms)));
            emit(store, "a.b", None, &Draft::new("{}", at(ms)));
            note(store, ms + 1);
        }
    });
    assert!(purge(store, &before(5), 3));
    assert_eq!((store.counts().messages.total, store.counts().events), (7, 17));
    assert!(purge(store, &before(5), 3));
    assert_eq!((store.counts().messages.total, store.counts().events), (5, 14));
    assert!(!purge(store, &before(5), 100));
    assert_eq!((store.counts().messages.total, store.counts().events), (5, 10));
    assert_eq!(store.counts().messages.unread, 5);
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 5);
    turn(store, |store| {
        assert!(!store.purge(&before(5), 100).unwrap());
        assert!(!store.turn_wrote());
        // Messages may go earlier than events.
        store.purge(&PurgeBefore { messages: time(9), ..before(0) }, 100).unwrap();
    });
    assert_eq!((store.counts().messages.total, store.counts().events), (1, 6));
    assert_eq!(store.first_seq().unwrap(), Seq(12));
}

fn the_times_in_rows_do_not_count(store: &mut dyn Store) {
    register(store, 2);
    // The wall clock was a year ahead, then it was back in 1970.
    let year = 365 * 24 * 3_600_000;
    for (ms, wall) in [(10, at(year)), (20, Timestamp(5)), (30, at(30))] {
        turn(store, |store| {
            post(store, &party(1), To::One(inbox_of(2)), &Draft::new("x", wall));
            emit(store, "a.b", None, &Draft::new("{}", wall));
            note(store, ms);
        });
    }
    // Nothing is known of what came after the last mark.
    tell(store, 1, 2, "unmarked");
    let left = |store: &mut dyn Store| (store.counts().messages.total, store.counts().events);
    assert!(!purge(store, &before(9), 100));
    assert_eq!(left(store), (4, 7));
    assert!(!purge(store, &before(10), 100));
    assert_eq!(left(store), (3, 5));
    assert!(!purge(store, &before(29), 100));
    assert_eq!(left(store), (2, 3));
    assert!(!purge(store, &before(1_000_000), 100));
    assert_eq!(texts(&peek(store, &all(inbox_of(2))).messages), ["unmarked"]);
}

fn marks_of_time_go_with_what_they_tell_of(store: &mut dyn Store) {
    register(store, 2);
    assert_eq!(store.last_time().unwrap(), None);
    for ms in 1..=5 {
        let last = tell(store, 1, 2, "x").seq();
        turn(store, |store| note(store, ms * 10));
        let (mark, seq) = store.last_time().unwrap().unwrap();
        assert_eq!((mark.at, mark.wall, seq), (time(ms * 10), at(ms * 10), last));
    }
    store.begin_turn().unwrap();
    note(store, 90);
    store.rollback_turn();
    assert_eq!(store.last_time().unwrap().unwrap().0.at, time(50));
    // Removed in small steps, each mark is there as long as it is needed.
    for _ in 0..6 {
        purge(store, &before(35), 1);
    }
    assert_eq!(store.counts().messages.total, 2);
    for _ in 0..3 {
        purge(store, &before(1000), 100);
    }
    assert_eq!(store.counts().messages.total, 0);
    assert_eq!(store.last_time().unwrap().unwrap().0.at, time(50));
    tell(store, 1, 2, "new");
    purge(store, &before(1000), 100);
    assert_eq!(store.counts().messages.total, 1);
}

fn what_came_before_a_number_can_turn_out_to_be_older(store: &mut dyn Store) {
    register(store, 2);
    let set = |store: &mut dyn Store, key: &str| {
        let version = store.next_seq();
        let entry = StateEntry { expires_at: Some(time(1000)), ..entry(key, "v", version) };
        store.set_state(&entry, None).unwrap();
        version
    };
    let mut last = Seq(0);
    for ms in [100, 200, 300, 400] {
        turn(store, |store| {
            post(store, &party(1), To::One(inbox_of(2)), &Draft::new(&ms.to_string(), T0));
            let version = set(store, &ms.to_string());
            last = if ms == 300 { version } else { last };
            note(store, ms);
        });
    }
    // As far apart as the marks are: none gets lost on the way.
    turn(store, |store| store.make_older(last, 100).unwrap());
    purge(store, &before(100), 100);
    assert_eq!(texts(&peek(store, &all(inbox_of(2))).messages), ["300", "400"]);
    purge(store, &before(399), 100);
    assert_eq!(texts(&peek(store, &all(inbox_of(2))).messages), ["400"]);
    let expired = turn(store, |store| store.expire_state(time(900), 10).unwrap());
    let keys: Vec<&str> = expired.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, ["100", "200", "300"]);
    assert_eq!(store.next_state_expiry().unwrap(), Some(time(1000)));
}

fn what_belongs_to_a_message_goes_with_it(store: &mut dyn Store) {
    register(store, 3);
    let id = |n| Uuid::from_bytes([n; 16]);
    let draft = |n| Draft { client_id: Some(id(n)), ..Draft::new("x", T0) };
    turn(store, |store| {
        post(store, &party(1), To::Many(&[peer(2), peer(3)]), &draft(1));
        post(store, &party(1), To::One(inbox_of(2)), &draft(2));
        emit(store, "a.b", Some(&party(1)), &draft(3));
    });
    let many = peek(store, &unread(inbox_of(3))).messages[0].id;
    turn(store, |store| store.mark_read(inbox_of(3), &[many], at(1), None).unwrap());
    turn(store, |store| note(store, 5));
    tell(store, 1, 3, "y");
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 2);
    purge(store, &before(5), 100);
    for n in 1..=3 {
        assert_eq!(store.client_id(&party(1), id(n)).unwrap(), None);
    }
    assert_eq!(store.counts().messages.total, 1);
    assert_eq!(store.counts().messages.unread, 1);
    assert_eq!(store.counts().messages.undelivered, 1);
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 0);
    assert_eq!(peek(store, &all(inbox_of(2))), Page::default());
    assert_eq!(texts(&peek(store, &all(inbox_of(3))).messages), ["y"]);
    turn(store, |store| {
        assert_eq!(store.mark_read(inbox_of(2), &[many], at(9), None).unwrap().len(), 0);
        store.mark_delivered(peer(2), &[many.seq()], at(9)).unwrap();
    });
    assert_eq!(texts(&list_sent(store, &sent_by(&party(1))).messages), ["y"]);
}

fn departed_peers_go_after_their_messages(store: &mut dyn Store) {
    register(store, 4);
    tell(store, 1, 2, "x");
    let leave = |store: &mut dyn Store, n, ms| {
        let left = PeerRecord { left_at: Some(at(ms)), ..record(n) };
        turn(store, |store| {
            store.put_peer(&left).unwrap();
            // As the mesh tells of each.
            emit(store, "a.b", None, &Draft::new("{}", T0));
            note(store, ms);
        });
    };
    turn(store, |store| note(store, 5));
    leave(store, 2, 10);
    leave(store, 3, 20);
    leave(store, 4, 30);
    turn(store, |store| post(store, &Party::Cli, To::One(inbox_of(1)), &Draft::new("y", at(40))));
    let departed = PurgeBefore { departed: time(29), ..before(0) };
    assert!(!purge(store, &departed, 100));
    assert!(store.peer(peer(2)).unwrap().is_some());
    // Now the messages that may be theirs are gone.
    let all_gone = PurgeBefore { messages: time(5), ..departed };
    assert!(purge(store, &all_gone, 2));
    assert_eq!(store.peer(peer(2)).unwrap(), None);
    assert!(store.peer(peer(3)).unwrap().is_some());
    assert!(!purge(store, &all_gone, 100));
    assert_eq!(store.peer(peer(3)).unwrap(), None);
    assert!(store.peer(peer(4)).unwrap().is_some());
    assert_eq!(store.present_peers().unwrap().len(), 1);
    // One that comes back afresh under its old id starts with nothing.
    turn(store, |store| store.put_peer(&record(2)).unwrap());
    assert_eq!(peek(store, &all(inbox_of(2))), Page::default());
    broadcast(store, 1, &[2], "z");
    assert_eq!(texts(&peek(store, &unread(inbox_of(2))).messages), ["z"]);
}

fn numbers_are_not_used_again(store: &mut dyn Store) {
    register(store, 2);
    let last = tell(store, 1, 2, "x").seq();
    turn(store, |store| note(store, 1));
    assert!(!purge(store, &before(1), 100));
    assert_eq!(store.last_seq(), last);
    assert_eq!(store.first_seq().unwrap(), last.next());
    assert_eq!(tell(store, 1, 2, "y").seq(), last.next());
}

fn labels_come_and_go(store: &mut dyn Store) {
    register(store, 1);
    for round in 0..3 {
        turn(store, |store| {
            for n in 0..100 {
                let label = Party::Label(format!("label-{n}").into());
                post(store, &label, To::One(inbox_of(1)), &Draft::new("x", T0));
            }
            note(store, round + 1);
        });
        let label = Party::Label("label-7".into());
        assert_eq!(list_sent(store, &sent_by(&label)).messages.len(), 1);
        for _ in 0..10 {
            purge(store, &before(round + 1), 100);
        }
        assert_eq!(list_sent(store, &sent_by(&label)), Page::default());
        assert_eq!(store.unread_count(inbox_of(1)).unwrap(), 0);
    }
}

fn maintenance_changes_nothing(store: &mut dyn Store) {
    register(store, 2);
    for idle in [false, true] {
        turn(store, |store| {
            for _ in 0..600 {
                post(store, &party(1), To::One(inbox_of(2)), &Draft::new(&"x".repeat(3000), T0));
            }
        });
        let (counts, last_seq) = (store.counts(), store.last_seq());
        store.maintain(idle).unwrap();
        store.maintain(idle).unwrap();
        assert_eq!((store.counts(), store.last_seq()), (counts, last_seq));
        assert!(!store.turn_wrote());
    }
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 1200);
}
