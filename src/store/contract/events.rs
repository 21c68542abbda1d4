//! Events.

use super::*;
use crate::model::{Event, event_type};

contract!(
    an_event_comes_back_as_it_was,
    a_message_is_an_event_too,
    without_a_cursor_the_newest_come,
    after_takes_the_oldest,
    types_and_patterns_select,
    since_looks_at_times_though_they_jump,
    keep_ends_a_page_of_events,
    many_types_of_one_prefix,
);

fn everything() -> EventQuery<'static> {
    EventQuery { types: &[], since: None, after: None, limit: 50 }
}

fn names(types: &[&str]) -> Vec<Box<str>> {
    types.iter().map(|name| (*name).into()).collect()
}

fn kinds(page: &EventPage) -> Vec<&str> {
    page.events.iter().map(|event| &*event.kind).collect()
}

fn seqs(page: &EventPage) -> Vec<u64> {
    page.events.iter().map(|event| event.seq.0).collect()
}

/// Events of numbers 1, 3 and 5, and messages between them.
fn fill(store: &mut dyn Store) {
    register(store, 2);
    for _ in 0..3 {
        event(store, "a.b");
        tell(store, 1, 2, "x");
    }
}

fn an_event_comes_back_as_it_was(store: &mut dyn Store) {
    let emitters = [None, Some(party(1)), Some(Party::Cli), Some(Party::Label("bot".into()))];
    for emitted_by in emitters {
        let id = turn(store, |store| {
            emit(store, "a.b", emitted_by.as_ref(), &Draft::new("{\"n\":1}", at(3)))
        });
        let event = Event {
            seq: id.seq(),
            id,
            kind: "a.b".into(),
            payload: "{\"n\":1}".into(),
            emitted_by,
            created_at: at(3),
        };
        let page = read_events(store, &EventQuery { limit: 1, ..everything() });
        assert_eq!(page, EventPage { events: vec![event], last_seq: id.seq() });
    }
}

fn a_message_is_an_event_too(store: &mut dyn Store) {
    register(store, 3);
    let one = tell(store, 1, 2, "secret");
    let many = broadcast(store, 1, &[2, 3], "secret");
    let page = read_events(store, &everything());
    let payload = |id: MessageId, to: &str| {
        let from = party(1);
        format!("{{\"messageId\":\"{id}\",\"fromPeer\":\"{from}\",\"toPeer\":{to}}}")
    };
    let event = |id: MessageId, to: &str| Event {
        seq: id.seq(),
        id,
        kind: event_type::MESSAGE_RECEIVED.into(),
        payload: payload(id, to).into(),
        emitted_by: Some(party(1)),
        created_at: T0,
    };
    assert_eq!(page.events, [event(one, &format!("\"{}\"", party(2))), event(many, "null")]);
    assert_eq!(page.last_seq, many.seq());
}

fn without_a_cursor_the_newest_come(store: &mut dyn Store) {
    assert_eq!(read_events(store, &everything()), EventPage::default());
    fill(store);
    let page = read_events(store, &EventQuery { limit: 3, ..everything() });
    assert_eq!((seqs(&page), page.last_seq), (vec![4, 5, 6], Seq(6)));
    let types = names(&["a.b"]);
    let page = read_events(store, &EventQuery { types: &types, limit: 2, ..everything() });
    assert_eq!((seqs(&page), page.last_seq), (vec![3, 5], Seq(6)));
}

fn after_takes_the_oldest(store: &mut dyn Store) {
    fill(store);
    let query = EventQuery { after: Some(Seq(1)), limit: 2, ..everything() };
    let page = read_events(store, &query);
    assert_eq!((seqs(&page), page.last_seq), (vec![2, 3], Seq(3)));
    let page = read_events(store, &EventQuery { limit: 5, ..query });
    assert_eq!((seqs(&page), page.last_seq), (vec![2, 3, 4, 5, 6], Seq(6)));
    let types = names(&["message_received"]);
    let page = read_events(store, &EventQuery { types: &types, ..query });
    assert_eq!((seqs(&page), page.last_seq), (vec![2, 4], Seq(4)));
    let page = read_events(store, &EventQuery { types: &types, limit: 3, ..query });
    assert_eq!((seqs(&page), page.last_seq), (vec![2, 4, 6], Seq(6)));
    let types = names(&["nothing.like.it"]);
    let page = read_events(store, &EventQuery { types: &types, ..query });
    assert_eq!((seqs(&page), page.last_seq), (vec![], Seq(6)));
    let page = read_events(store, &EventQuery { after: Some(Seq(u64::MAX)), ..query });
    assert_eq!((seqs(&page), page.last_seq), (vec![], Seq(6)));
}

fn types_and_patterns_select(store: &mut dyn Store) {
    register(store, 2);
    for kind in ["build.done", "build.failed", "builder.x", "peer_left", "a.b", "build."] {
        event(store, kind);
    }
    tell(store, 1, 2, "x");
    let mut read = |types: &[&str]| -> Vec<String> {
        let types = names(types);
        let page = read_events(store, &EventQuery { types: &types, ..everything() });
        kinds(&page).iter().map(ToString::to_string).collect()
    };
    assert_eq!(read(&["build.*"]), ["build.done", "build.failed", "build."]);
    assert_eq!(read(&["build.done", "build.*"]), ["build.done", "build.failed", "build."]);
    assert_eq!(read(&["a.b", "a.b", "peer_left"]), ["peer_left", "a.b"]);
    assert_eq!(read(&["build"]), [""; 0]);
    assert_eq!(read(&["message*"]), ["message_received"]);
    assert_eq!(read(&["message_received", "a.b"]), ["a.b", "message_received"]);
    assert_eq!(read(&["a.b", "*"]).len(), 7);
    assert_eq!(read(&["zzz.*", "b*"]).len(), 4);
}

fn since_looks_at_times_though_they_jump(store: &mut dyn Store) {
    register(store, 2);
    // Forward for a while, an hour back, an hour forward again; over several thousand numbers.
    let time = |n: i64| at(n * 10 - if (1000..3000).contains(&n) { 3_600_000 } else { 0 });
    turn(store, |store| {
        for n in 0..5000 {
            let draft = Draft::new("{}", time(n));
            if n % 3 == 0 {
                post(store, &party(1), To::One(inbox_of(2)), &draft);
            } else {
                emit(store, if n % 3 == 1 { "a.b" } else { "a.c" }, None, &draft);
            }
        }
    });
    for since in [time(0).plus_ms(-1), time(5), time(999), time(2000), time(4000), time(4999)] {
        let wanted: Vec<u64> =
            (0..5000).filter(|n| time(*n) > since).map(|n| n.unsigned_abs() + 1).collect();
        let query = EventQuery { since: Some(since), limit: 100, ..everything() };
        let page = read_events(store, &query);
        assert_eq!(seqs(&page), wanted[..wanted.len().min(100)]);
        let page = read_events(store, &EventQuery { after: Some(Seq(3500)), ..query });
        let later: Vec<u64> = wanted.iter().copied().filter(|seq| *seq > 3500).collect();
        assert_eq!(seqs(&page), later[..later.len().min(100)]);
        let types = names(&["a.b"]);
        let page = read_events(store, &EventQuery { types: &types, ..query });
        let of_type: Vec<u64> = wanted.iter().copied().filter(|seq| seq % 3 == 2).collect();
        assert_eq!(seqs(&page), of_type[..of_type.len().min(100)]);
    }
}

fn keep_ends_a_page_of_events(store: &mut dyn Store) {
    for _ in 0..5 {
        event(store, "a.b");
    }
    let query = EventQuery { after: Some(Seq(0)), ..everything() };
    let page = store.events(&query, &mut |event| event.seq < Seq(3)).unwrap();
    assert_eq!((seqs(&page), page.last_seq), (vec![1, 2], Seq(2)));
    let page = store.events(&query, &mut |_| false).unwrap();
    assert_eq!((seqs(&page), page.last_seq), (vec![1], Seq(1)));
    // The newest, cut off at their old end.
    let page = store.events(&everything(), &mut |event| event.seq > Seq(3)).unwrap();
    assert_eq!((seqs(&page), page.last_seq), (vec![4, 5], Seq(5)));
}

fn many_types_of_one_prefix(store: &mut dyn Store) {
    turn(store, |store| {
        for n in 0..1000 {
            let kind = if n % 4 == 0 { "other.x".into() } else { format!("many.{n}") };
            emit(store, &kind, None, &Draft::new("{}", T0));
        }
    });
    let types = names(&["many.*"]);
    let query = EventQuery { types: &types, limit: 5, ..everything() };
    assert_eq!(seqs(&read_events(store, &query)), [995, 996, 998, 999, 1000]);
    let page = read_events(store, &EventQuery { after: Some(Seq(3)), ..query });
    assert_eq!((seqs(&page), page.last_seq), (vec![4, 6, 7, 8, 10], Seq(10)));
}
