//! State entries.

use super::*;
use crate::store::{StateChange, StateOutcome};

contract!(
    an_entry_comes_back_as_it_was,
    versions_are_compared,
    deletions_compare_versions_too,
    entries_are_listed_by_key,
    entries_expire_in_order,
);

fn set(store: &mut dyn Store, entry: &StateEntry, if_version: Option<Seq>) -> StateOutcome {
    turn(store, |store| store.set_state(entry, if_version).unwrap())
}

fn change(key: &str, if_version: Option<Seq>) -> StateChange<'_> {
    StateChange { namespace: "default", key, if_version }
}

fn an_entry_comes_back_as_it_was(store: &mut dyn Store) {
    for updated_by in [party(1), Party::Cli, Party::Label("bot".into())] {
        let entry = StateEntry {
            namespace: "n\u{e4}\0".into(),
            updated_by,
            updated_at: at(3),
            expires_at: Some(time(4)),
            ..entry("k\0", &"v".repeat(65_536), Seq(5))
        };
        set(store, &entry, None);
        assert_eq!(store.state("n\u{e4}\0", "k\0").unwrap(), Some(entry));
    }
    assert_eq!(store.counts().state_entries, 1);
    assert_eq!(store.state("default", "k\0").unwrap(), None);
}

fn versions_are_compared(store: &mut dyn Store) {
    let (one, two) = (entry("k", "one", Seq(1)), entry("k", "two", Seq(2)));
    assert_eq!(set(store, &one, Some(Seq(7))), StateOutcome::Conflict(None));
    assert_eq!(set(store, &one, Some(Seq(0))), StateOutcome::Done(None));
    assert_eq!(set(store, &two, Some(Seq(0))), StateOutcome::Conflict(Some(one.clone())));
    assert_eq!(set(store, &two, Some(Seq(1))), StateOutcome::Done(Some(one)));
    assert_eq!(set(store, &entry("k", "three", Seq(3)), None), StateOutcome::Done(Some(two)));
    assert_eq!(store.counts().state_entries, 1);
}

fn deletions_compare_versions_too(store: &mut dyn Store) {
    let one = entry("k", "one", Seq(1));
    turn(store, |store| {
        let mut delete = |if_version| store.delete_state(&change("k", if_version)).unwrap();
        assert_eq!(delete(None), StateOutcome::Done(None));
        assert_eq!(delete(Some(Seq(0))), StateOutcome::Done(None));
        assert_eq!(delete(Some(Seq(1))), StateOutcome::Conflict(None));
        assert!(!store.turn_wrote());
    });
    set(store, &one, None);
    turn(store, |store| {
        let mut delete = |if_version| store.delete_state(&change("k", if_version)).unwrap();
        assert_eq!(delete(Some(Seq(2))), StateOutcome::Conflict(Some(one.clone())));
        assert_eq!(delete(Some(Seq(1))), StateOutcome::Done(Some(one.clone())));
        assert_eq!(delete(None), StateOutcome::Done(None));
    });
    assert_eq!(store.counts().state_entries, 0);
}

fn entries_are_listed_by_key(store: &mut dyn Store) {
    let keys = ["b", "a", "ab", "a/", "\u{e4}", "Z", "a\u{10ffff}", "a/x"];
    for key in keys {
        set(store, &entry(key, key, Seq(1)), None);
    }
    let other = StateEntry { namespace: "other".into(), ..entry("a", "x", Seq(1)) };
    set(store, &other, None);
    let mut list = |prefix: &str, limit| -> Vec<String> {
        let entries =
            store.list_state(Some("default"), prefix, time(0), limit, &mut |_| true).unwrap();
        entries.iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(list("", 100), ["Z", "a", "a/", "a/x", "ab", "a\u{10ffff}", "b", "\u{e4}"]);
    assert_eq!(list("a", 100), ["a", "a/", "a/x", "ab", "a\u{10ffff}"]);
    assert_eq!(list("a", 2), ["a", "a/"]);
    assert_eq!(list("a/", 100), ["a/", "a/x"]);
    assert_eq!(list("c", 100), [""; 0]);
    let kept = store
        .list_state(Some("default"), "a", time(0), 9, &mut |entry| &*entry.key < "a/x")
        .unwrap();
    assert_eq!(kept.len(), 2);
    let kept = store.list_state(Some("default"), "a", time(0), 9, &mut |_| false).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(store.list_state(Some("none"), "", time(0), 9, &mut |_| true).unwrap(), []);
}

fn entries_expire_in_order(store: &mut dyn Store) {
    assert_eq!(store.next_state_expiry().unwrap(), None);
    set(store, &entry("forever", "x", Seq(1)), None);
    assert_eq!(store.next_state_expiry().unwrap(), None);
    for (key, ms) in [("c", 10), ("a", 30), ("b", 10), ("d", 20)] {
        let expires_at = Some(time(ms));
        set(store, &StateEntry { expires_at, ..entry(key, "x", Seq(2)) }, None);
    }
    assert_eq!(store.next_state_expiry().unwrap(), Some(time(10)));
    let expire = |store: &mut dyn Store, now, limit| -> Vec<String> {
        let entries = turn(store, |store| store.expire_state(now, limit).unwrap());
        entries.iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(expire(store, time(9), 10), [""; 0]);
    // Until then they are stored, and not listed.
    let live = |store: &mut dyn Store, now, limit| -> Vec<String> {
        let entries = store.list_state(Some("default"), "", now, limit, &mut |_| true).unwrap();
        entries.iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(live(store, time(9), 9), ["a", "b", "c", "d", "forever"]);
    assert_eq!(live(store, time(10), 9), ["a", "d", "forever"]);
    assert_eq!(live(store, time(10), 2), ["a", "d"]);
    assert_eq!(live(store, time(30), 9), ["forever"]);
    assert_eq!([9, 10, 20, 30].map(|ms| store.expired_state(time(ms)).unwrap()), [0, 2, 3, 4]);
    assert_eq!(expire(store, time(20), 2), ["b", "c"]);
    assert_eq!(expire(store, time(20), 2), ["d"]);
    // A new value without an end takes the end away.
    set(store, &entry("a", "y", Seq(3)), None);
    assert_eq!(store.next_state_expiry().unwrap(), None);
    assert_eq!(store.counts().state_entries, 2);
}
