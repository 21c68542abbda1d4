//! What was last heard of each kind of agent.

use super::*;

contract!(what_was_heard_is_kept_by_kind, a_turn_that_fails_has_heard_nothing);

fn heard(store: &mut dyn Store) -> Vec<(String, String)> {
    let heard = store.heard().unwrap().into_iter();
    heard.map(|(kind, facts)| (kind.into(), facts.into())).collect()
}

fn pair(kind: &str, facts: &str) -> (String, String) {
    (kind.into(), facts.into())
}

fn what_was_heard_is_kept_by_kind(store: &mut dyn Store) {
    assert_eq!(heard(store), []);
    turn(store, |store| {
        store.put_heard("pi", Some("{}")).unwrap();
        store.put_heard("codex", Some("{\"a\":1}")).unwrap();
        assert!(store.turn_wrote());
    });
    turn(store, |store| store.put_heard("codex", Some("\u{e4}")).unwrap());
    assert_eq!(heard(store), [pair("codex", "\u{e4}"), pair("pi", "{}")]);
    turn(store, |store| store.put_heard("pi", None).unwrap());
    turn(store, |store| store.put_heard("nobody", None).unwrap());
    assert_eq!(heard(store), [pair("codex", "\u{e4}")]);
}

fn a_turn_that_fails_has_heard_nothing(store: &mut dyn Store) {
    turn(store, |store| store.put_heard("codex", Some("1")).unwrap());
    store.begin_turn().unwrap();
    store.put_heard("codex", Some("2")).unwrap();
    store.put_heard("pi", Some("2")).unwrap();
    store.rollback_turn();
    assert_eq!(heard(store), [pair("codex", "1")]);
    assert!(store.put_heard("codex", None).is_err(), "outside of a turn");
}
