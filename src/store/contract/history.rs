//! Messages of anyone to anyone, and peers that have left.

use super::*;

contract!(
    history_has_everybodys_messages,
    history_goes_both_ways_and_begins_where_it_is_told,
    history_ends_where_keep_says,
    those_who_have_left_come_last_first,
    the_state_of_all_goes_on_after_an_entry,
);

const NEWEST: HistoryQuery = HistoryQuery { since: None, before: None, after: None, limit: 100 };

fn list(store: &mut dyn Store, query: &HistoryQuery) -> Vec<String> {
    let messages = store.history(query, &mut |_| true).unwrap();
    messages.iter().map(|message| message.payload.to_string()).collect()
}

fn history_has_everybodys_messages(store: &mut dyn Store) {
    register(store, 3);
    tell(store, 1, 2, "a");
    broadcast(store, 2, &[1, 3], "b");
    send(store, &Party::Label("ci".into()), To::One(Recipient::Cli), "c");
    send(store, &party(3), To::Name("nobody", None), "d");
    let found = store.history(&NEWEST, &mut |_| true).unwrap();
    assert_eq!(texts(&found), ["d", "c", "b", "a"]);
    assert_eq!(found[0].to_name.as_deref(), Some("nobody"));
    assert_eq!((&found[1].from, &found[1].to), (&Party::Label("ci".into()), &Some(Party::Cli)));
    assert_eq!((&found[2].to, found[2].reached), (&None, None));
    assert_eq!((&found[3].from, &found[3].to), (&party(1), &Some(party(2))));
}

fn history_goes_both_ways_and_begins_where_it_is_told(store: &mut dyn Store) {
    register(store, 2);
    let ids: Vec<MessageId> = (0..9).map(|n| tell(store, 1, 2, &n.to_string())).collect();
    event(store, "between.them");
    let (third, seventh) = (Some(ids[2].seq()), Some(ids[6].seq()));
    let between = HistoryQuery { before: seventh, after: third, ..NEWEST };
    assert_eq!(list(store, &between), ["3", "4", "5"]);
    assert_eq!(list(store, &HistoryQuery { after: third, limit: 2, ..NEWEST }), ["3", "4"]);
    assert_eq!(list(store, &HistoryQuery { before: third, ..NEWEST }), ["1", "0"]);
    let later = Draft::new("later", T0.plus_ms(5));
    turn(store, |store| post(store, &party(1), To::One(inbox_of(2)), &later));
    assert_eq!(list(store, &HistoryQuery { since: Some(T0), ..NEWEST }), ["later"]);
    assert_eq!(list(store, &HistoryQuery { since: Some(T0.plus_ms(5)), ..NEWEST }), [""; 0]);
}

fn history_ends_where_keep_says(store: &mut dyn Store) {
    register(store, 2);
    for text in ["a", "b", "c"] {
        tell(store, 1, 2, text);
    }
    let kept = store.history(&NEWEST, &mut |message| *message.payload != *"a").unwrap();
    assert_eq!(texts(&kept), ["c", "b"]);
    assert_eq!(texts(&store.history(&NEWEST, &mut |_| false).unwrap()), ["c"]);
}

fn those_who_have_left_come_last_first(store: &mut dyn Store) {
    register(store, 4);
    for n in [3, 1, 2] {
        event(store, "time.passes");
        turn(store, |store| {
            let mut record = store.peer(peer(n)).unwrap().unwrap();
            record.left_at = Some(T0);
            store.put_peer(&record).unwrap();
        });
    }
    let ids = |store: &mut dyn Store, limit| -> Vec<PeerId> {
        store.departed_peers(limit).unwrap().iter().map(|record| record.id).collect()
    };
    assert_eq!(ids(store, 10), [peer(2), peer(1), peer(3)]);
    assert_eq!(ids(store, 1), [peer(2)]);
}

fn the_state_of_all_goes_on_after_an_entry(store: &mut dyn Store) {
    turn(store, |store| {
        for (namespace, key) in [("b", "k"), ("a", "z"), ("a", "k"), ("c", "a")] {
            let version = store.next_seq();
            let entry = StateEntry { namespace: namespace.into(), ..entry(key, "v", version) };
            store.set_state(&entry, None).unwrap();
        }
    });
    let mut after = |namespace, key, limit| -> Vec<String> {
        let now = time(0);
        let found = store.state_after((namespace, key), now, limit, &mut |_| true).unwrap();
        found.iter().map(|entry| format!("{}/{}", entry.namespace, entry.key)).collect()
    };
    assert_eq!(after("", "", 9), ["a/k", "a/z", "b/k", "c/a"]);
    assert_eq!(after("a", "k", 2), ["a/z", "b/k"]);
    assert_eq!(after("a", "zz", 9), ["b/k", "c/a"]);
    assert_eq!(after("c", "a", 9), [""; 0]);
}
