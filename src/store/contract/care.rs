//! Retention.

use super::*;
use crate::store::PurgeBefore;

contract!(
    old_rows_go_in_steps,
    young_rows_keep_those_after_them,
    what_belongs_to_a_message_goes_with_it,
    departed_peers_go_after_their_messages,
    numbers_are_not_used_again,
    labels_come_and_go,
    maintenance_changes_nothing,
);

fn before(ms: i64) -> PurgeBefore {
    PurgeBefore { messages: at(ms), events: at(ms), departed: at(ms) }
}

fn purge(store: &mut dyn Store, before: &PurgeBefore, limit: u32) -> bool {
    turn(store, |store| store.purge(before, limit).unwrap())
}

fn old_rows_go_in_steps(store: &mut dyn Store) {
    register(store, 2);
    turn(store, |store| {
        for ms in 0..10 {
            post(store, &party(1), To::One(inbox_of(2)), &Draft::new("x", at(ms)));
            emit(store, "a.b", None, &Draft::new("{}", at(ms)));
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
        store.purge(&PurgeBefore { messages: at(9), ..before(0) }, 100).unwrap();
    });
    assert_eq!((store.counts().messages.total, store.counts().events), (1, 6));
    assert_eq!(store.first_seq().unwrap(), Seq(12));
}

fn young_rows_keep_those_after_them(store: &mut dyn Store) {
    register(store, 2);
    turn(store, |store| {
        for ms in [0, 100, 1, 2] {
            post(store, &party(1), To::One(inbox_of(2)), &Draft::new("x", at(ms)));
            emit(store, "a.b", None, &Draft::new("{}", at(ms)));
        }
    });
    assert!(!purge(store, &before(50), 100));
    assert_eq!((store.counts().messages.total, store.counts().events), (3, 6));
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
    turn(store, |store| post(store, &party(1), To::One(inbox_of(3)), &Draft::new("y", at(9))));
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
        turn(store, |store| store.put_peer(&left).unwrap());
    };
    leave(store, 2, 10);
    leave(store, 3, 20);
    leave(store, 4, 30);
    turn(store, |store| post(store, &Party::Cli, To::One(inbox_of(1)), &Draft::new("y", at(40))));
    let departed = PurgeBefore { departed: at(30), ..before(0) };
    assert!(!purge(store, &departed, 100));
    assert!(store.peer(peer(2)).unwrap().is_some());
    // Now the messages that may be theirs are gone.
    let all_gone = PurgeBefore { messages: at(5), ..departed };
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
                post(store, &label, To::One(inbox_of(1)), &Draft::new("x", at(round)));
            }
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
