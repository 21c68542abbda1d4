//! Turns, numbers and counts.

use super::*;
use crate::api::MessageCounts;
use crate::store::{Counts, PurgeBefore, StoreError};

contract!(
    a_turn_writes_only_if_something_changed,
    a_rollback_forgets_everything,
    a_rollback_forgets_what_was_counted,
    numbers_come_one_by_one,
    first_is_the_lowest_kept,
    counts_follow_messages,
    counts_follow_broadcasts,
    misuse_is_an_error,
);

fn a_turn_writes_only_if_something_changed(store: &mut dyn Store) {
    register(store, 2);
    let id = tell(store, 1, 2, "hello");
    fetch(store, &unread(inbox_of(2)), at(1));
    turn(store, |store| {
        assert!(!store.turn_wrote());
        store.next_seq();
        store.mark_delivered(peer(2), &[id.seq()], at(2)).unwrap();
        store.mark_read(inbox_of(2), &[id], at(2), None).unwrap();
        store.inbox(&all(inbox_of(2)), Some(at(2)), &mut |_| true).unwrap();
        store.remove_lock(Seq(5)).unwrap();
        store.expire_locks(time(2), 10).unwrap();
        store.expire_state(time(2), 10).unwrap();
        assert!(!store.turn_wrote());
        post(store, &party(1), To::One(inbox_of(2)), &Draft::new("more", T0));
        assert!(store.turn_wrote());
    });
    assert!(!store.turn_wrote());
}

fn a_rollback_forgets_everything(store: &mut dyn Store) {
    register(store, 3);
    let first = tell(store, 1, 2, "kept");
    let all_of_them = broadcast(store, 1, &[2, 3], "kept, too");
    let held = turn(store, |store| {
        let version = store.next_seq();
        store.set_state(&entry("k", "old", version), None).unwrap();
        store.put_lock(&lock("/held", party(1), version)).unwrap();
        version
    });
    let counts = store.counts();
    let last_seq = store.last_seq();

    let client_id = Uuid::from_bytes([9; 16]);
    store.begin_turn().unwrap();
    store.put_peer(&PeerRecord { left_at: Some(at(1)), ..record(1) }).unwrap();
    store.put_peer(&record(4)).unwrap();
    let draft = Draft { client_id: Some(client_id), ..Draft::new("gone", at(5)) };
    post(store, &party(4), To::One(inbox_of(2)), &draft);
    post(store, &Party::Label("bot".into()), To::Many(&[peer(2), peer(4)]), &draft);
    emit(store, "a.b", Some(&party(4)), &draft);
    store.inbox(&unread(inbox_of(2)), Some(at(5)), &mut |_| true).unwrap();
    store.mark_read(inbox_of(3), &[all_of_them], at(5), None).unwrap();
    store.mark_delivered(peer(2), &[first.seq()], at(5)).unwrap();
    store.set_state(&entry("k", "new", Seq(99)), None).unwrap();
    store.set_state(&entry("k2", "new", Seq(99)), None).unwrap();
    store.put_lock(&lock("/new", party(1), Seq(99))).unwrap();
    store.remove_lock(held).unwrap();
    note(store, 1);
    store.purge(&before(1), 100).unwrap();
    assert!(store.turn_wrote());
    store.rollback_turn();

    assert!(!store.turn_wrote());
    assert_eq!(store.counts(), counts);
    assert_eq!(store.last_seq(), last_seq);
    assert_eq!(store.present_peers().unwrap().len(), 3);
    assert_eq!(store.peer(peer(4)).unwrap(), None);
    let page = peek(store, &unread(inbox_of(2)));
    assert_eq!(texts(&page.messages), ["kept", "kept, too"]);
    assert!(page.messages.iter().all(|message| message.delivered_at.is_none()));
    assert_eq!(texts(&peek(store, &unread(inbox_of(3))).messages), ["kept, too"]);
    assert!(peek(store, &all(inbox_of(4))).messages.is_empty());
    assert_eq!(store.client_id(&party(4), client_id).unwrap(), None);
    assert_eq!(&*store.state("default", "k").unwrap().unwrap().value, "old");
    assert_eq!(store.state("default", "k2").unwrap(), None);
    assert_eq!(store.locks().unwrap(), [lock("/held", party(1), held)]);
    let next = tell(store, 1, 2, "after");
    assert_eq!(next.seq(), last_seq.next());
}

fn a_rollback_forgets_what_was_counted(store: &mut dyn Store) {
    register(store, 2);
    tell(store, 1, 2, "one");
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 1);
    store.begin_turn().unwrap();
    post(store, &party(1), To::One(inbox_of(2)), &Draft::new("two", T0));
    post(store, &party(1), To::Many(&[peer(2)]), &Draft::new("three", T0));
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 3);
    store.rollback_turn();
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 1);
    // Reads outside of a turn, then an empty turn: nothing to forget.
    store.begin_turn().unwrap();
    store.rollback_turn();
    store.rollback_turn();
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 1);
}

fn numbers_come_one_by_one(store: &mut dyn Store) {
    assert_eq!(store.last_seq(), Seq(0));
    store.begin_turn().unwrap();
    assert_eq!(store.next_seq(), Seq(1));
    assert_eq!(store.next_seq(), Seq(2));
    assert_eq!(store.last_seq(), Seq(2));
    store.rollback_turn();
    assert_eq!(store.last_seq(), Seq(0));
    turn(store, |store| assert_eq!(store.next_seq(), Seq(1)));
    assert_eq!(store.last_seq(), Seq(1));
}

fn first_is_the_lowest_kept(store: &mut dyn Store) {
    assert_eq!(store.first_seq().unwrap(), Seq(1));
    register(store, 2);
    event(store, "a.b");
    tell(store, 1, 2, "hello");
    assert_eq!(store.first_seq().unwrap(), Seq(1));
    turn(store, |store| note(store, 1));
    let before = PurgeBefore { messages: time(0), ..before(1) };
    turn(store, |store| store.purge(&before, 10).unwrap());
    assert_eq!(store.first_seq().unwrap(), Seq(2));
    let before = PurgeBefore { messages: time(1), ..before };
    turn(store, |store| store.purge(&before, 10).unwrap());
    assert_eq!(store.first_seq().unwrap(), Seq(3));
    assert_eq!(store.last_seq(), Seq(2));
}

fn counts_follow_messages(store: &mut dyn Store) {
    assert_eq!(store.counts(), Counts::default());
    register(store, 2);
    let one = tell(store, 1, 2, "one");
    let two = tell(store, 1, 2, "two");
    event(store, "a.b");
    let messages = |total, undelivered, unread| MessageCounts { total, undelivered, unread };
    assert_eq!(store.counts().messages, messages(2, 2, 2));
    assert_eq!(store.counts().events, 3);
    turn(store, |store| store.mark_delivered(peer(2), &[one.seq()], at(1)).unwrap());
    assert_eq!(store.counts().messages, messages(2, 1, 2));
    turn(store, |store| store.mark_read(inbox_of(2), &[one, two], at(2), None).unwrap());
    assert_eq!(store.counts().messages, messages(2, 0, 0));
}

fn counts_follow_broadcasts(store: &mut dyn Store) {
    register(store, 3);
    let id = broadcast(store, 1, &[2, 3], "all");
    let messages = |undelivered, unread| MessageCounts { total: 1, undelivered, unread };
    assert_eq!(store.counts().messages, messages(1, 1));
    turn(store, |store| store.mark_delivered(peer(2), &[id.seq()], at(1)).unwrap());
    assert_eq!(store.counts().messages, messages(1, 1));
    turn(store, |store| store.mark_delivered(peer(3), &[id.seq()], at(1)).unwrap());
    assert_eq!(store.counts().messages, messages(0, 1));
    fetch(store, &unread(inbox_of(2)), at(2));
    assert_eq!(store.counts().messages, messages(0, 1));
    fetch(store, &unread(inbox_of(3)), at(2));
    assert_eq!(store.counts().messages, messages(0, 0));
}

fn misuse_is_an_error(store: &mut dyn Store) {
    let failed = |result: crate::store::Result<()>| matches!(result, Err(StoreError::Failed(_)));
    assert!(failed(store.put_peer(&record(1))));
    assert!(failed(store.commit_turn()));
    assert!(failed(store.mark_delivered(peer(1), &[], T0)));
    store.begin_turn().unwrap();
    assert!(failed(store.begin_turn()));
    store.rollback_turn();

    // A number that was not given, and one that another row has.
    let new = |seq| NewEvent {
        seq,
        id: MessageId::new(seq, [1; 16]),
        kind: "a.b",
        payload: "{}",
        emitted_by: None,
        created_at: T0,
        client_id: None,
    };
    store.begin_turn().unwrap();
    assert!(failed(store.append_event(&new(Seq(1)))));
    store.rollback_turn();
    store.begin_turn().unwrap();
    let (first, second) = (store.next_seq(), store.next_seq());
    store.append_event(&new(second)).unwrap();
    assert!(failed(store.append_event(&new(first))));
    store.rollback_turn();
    assert_eq!(store.counts().events, 0);
}
