//! Pages of a recipient's messages.

use super::*;
use crate::store::REMAINING_MAX;

contract!(
    unread_takes_the_oldest,
    all_takes_the_newest,
    direct_and_broadcast_come_in_order,
    from_takes_one_sender,
    from_skips_what_others_sent,
    pages_go_both_ways,
    keep_ends_the_page,
    peeking_marks_nothing,
    reading_marks_only_what_is_kept,
    remaining_is_exact_for_all_unread,
    remaining_is_counted_so_far,
    a_stranger_has_an_empty_inbox,
    many_pages_of_everything,
);

fn unread_takes_the_oldest(store: &mut dyn Store) {
    register(store, 2);
    for n in 0..5 {
        tell(store, 1, 2, &n.to_string());
    }
    let query = InboxQuery { limit: 2, ..unread(inbox_of(2)) };
    let page = fetch(store, &query, at(1));
    assert_eq!((texts(&page.messages), page.remaining), (vec!["0", "1"], 3));
    let page = fetch(store, &query, at(1));
    assert_eq!((texts(&page.messages), page.remaining), (vec!["2", "3"], 1));
    let page = fetch(store, &query, at(1));
    assert_eq!((texts(&page.messages), page.remaining), (vec!["4"], 0));
    assert_eq!(fetch(store, &query, at(1)), Page::default());
}

fn all_takes_the_newest(store: &mut dyn Store) {
    register(store, 2);
    for n in 0..5 {
        tell(store, 1, 2, &n.to_string());
    }
    fetch(store, &InboxQuery { limit: 4, ..unread(inbox_of(2)) }, at(1));
    let page = fetch(store, &InboxQuery { limit: 3, ..all(inbox_of(2)) }, at(2));
    assert_eq!((texts(&page.messages), page.remaining), (vec!["2", "3", "4"], 2));
    let read: Vec<_> = page.messages.iter().map(|message| message.read_at).collect();
    assert_eq!(read, [Some(at(1)), Some(at(1)), Some(at(2))]);
}

fn direct_and_broadcast_come_in_order(store: &mut dyn Store) {
    register(store, 3);
    for n in 0..30u8 {
        match n % 5 {
            0 => broadcast(store, 1, &[2, 3], &n.to_string()),
            1 => broadcast(store, 1, &[3], &n.to_string()),
            2 => broadcast(store, 3, &[1, 2], &n.to_string()),
            _ => tell(store, 1, 2, &n.to_string()),
        };
    }
    let wanted: Vec<String> = (0..30).filter(|n| n % 5 != 1).map(|n| n.to_string()).collect();
    let page = peek(store, &InboxQuery { limit: 100, ..unread(inbox_of(2)) });
    assert_eq!(texts(&page.messages), wanted);
    let first = fetch(store, &InboxQuery { limit: 10, ..unread(inbox_of(2)) }, at(1));
    assert_eq!(texts(&first.messages), wanted[..10]);
    let rest = peek(store, &InboxQuery { limit: 100, ..unread(inbox_of(2)) });
    assert_eq!(texts(&rest.messages), wanted[10..]);
    let newest = peek(store, &InboxQuery { limit: 7, ..all(inbox_of(2)) });
    assert_eq!(texts(&newest.messages), wanted[wanted.len() - 7..]);
    assert_eq!(newest.remaining, wanted.len() as u64 - 7);
    let everything = peek(store, &InboxQuery { limit: 100, ..all(inbox_of(2)) });
    assert_eq!((texts(&everything.messages).len(), everything.remaining), (wanted.len(), 0));
}

fn from_takes_one_sender(store: &mut dyn Store) {
    register(store, 3);
    tell(store, 1, 2, "a");
    tell(store, 3, 2, "b");
    broadcast(store, 1, &[2, 3], "c");
    broadcast(store, 3, &[1, 2], "d");
    tell(store, 1, 3, "e");
    let first = party(1);
    let query = InboxQuery { from: Some(&first), ..unread(inbox_of(2)) };
    assert_eq!(texts(&peek(store, &query).messages), ["a", "c"]);
    fetch(store, &InboxQuery { limit: 1, ..query }, at(1));
    assert_eq!(texts(&peek(store, &query).messages), ["c"]);
    let query = InboxQuery { unread_only: false, ..query };
    assert_eq!(texts(&peek(store, &query).messages), ["a", "c"]);
    let stranger = Party::Label("stranger".into());
    let query = InboxQuery { from: Some(&stranger), ..query };
    assert_eq!(peek(store, &query), Page::default());
    let query = InboxQuery { unread_only: true, ..query };
    assert_eq!(peek(store, &query), Page::default());
}

fn from_skips_what_others_sent(store: &mut dyn Store) {
    register(store, 3);
    turn(store, |store| {
        // 1 wrote much that is read, 3 much that is not; now and then the other way round.
        for n in 0..300 {
            let from = party(if n % 2 == 0 { 1 } else { 3 });
            let id = post(store, &from, To::One(inbox_of(2)), &Draft::new(&n.to_string(), T0));
            if (n % 2 == 0) != (n % 50 < 2) {
                store.mark_read(inbox_of(2), &[id], at(1), None).unwrap();
            }
        }
    });
    let from = party(1);
    let query = InboxQuery { from: Some(&from), limit: 4, ..unread(inbox_of(2)) };
    let page = peek(store, &query);
    assert_eq!((texts(&page.messages), page.remaining), (vec!["0", "50", "100", "150"], 2));
    let after = page.messages.last().map(|message| message.seq);
    let page = peek(store, &InboxQuery { after, ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["200", "250"], 0));
    let before = page.messages.last().map(|message| message.seq);
    let page = peek(store, &InboxQuery { before, limit: 10, ..query });
    assert_eq!((page.messages.len(), page.remaining), (5, 0));
}

fn pages_go_both_ways(store: &mut dyn Store) {
    register(store, 2);
    tell_in_both_ways(store, 6);
    let query = InboxQuery { limit: 2, ..all(inbox_of(2)) };
    let page = peek(store, &query);
    assert_eq!((texts(&page.messages), page.remaining), (vec!["4", "5"], 4));
    let before = Some(page.messages[0].seq);
    let page = peek(store, &InboxQuery { before, ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["2", "3"], 2));
    let after = Some(page.messages[0].seq);
    let page = peek(store, &InboxQuery { after, ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["3", "4"], 1));
    let page = peek(store, &InboxQuery { after, before: after.map(Seq::next), ..query });
    assert_eq!(page, Page::default());
    let page = peek(store, &InboxQuery { after: Some(Seq(u64::MAX)), ..query });
    assert_eq!(page, Page::default());
    let page = peek(store, &InboxQuery { before: Some(Seq(u64::MAX)), ..query });
    assert_eq!(texts(&page.messages), ["4", "5"]);
    let query = InboxQuery { unread_only: true, ..query };
    let page = peek(store, &InboxQuery { before: Some(Seq(4)), after: Some(Seq(1)), ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["1", "2"], 0));
    let page = peek(store, &InboxQuery { after: Some(Seq(1)), ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["1", "2"], 3));
}

fn keep_ends_the_page(store: &mut dyn Store) {
    register(store, 2);
    for n in 0..4 {
        tell(store, 1, 2, &n.to_string());
    }
    let mut offered = Vec::new();
    let page = store
        .inbox(&unread(inbox_of(2)), None, &mut |message| {
            offered.push(message.payload.to_string());
            offered.len() < 3
        })
        .unwrap();
    assert_eq!((texts(&page.messages), page.remaining), (vec!["0", "1"], 2));
    assert_eq!(offered, ["0", "1", "2"]);
    let page = store.inbox(&unread(inbox_of(2)), None, &mut |_| false).unwrap();
    assert_eq!((texts(&page.messages), page.remaining), (vec!["0"], 3));
    let page = store.inbox(&all(inbox_of(2)), None, &mut |_| false).unwrap();
    assert_eq!((texts(&page.messages), page.remaining), (vec!["3"], 3));
    let query = InboxQuery { limit: 0, ..unread(inbox_of(2)) };
    let page = store.inbox(&query, None, &mut |_| true).unwrap();
    assert_eq!((page.messages.len(), page.remaining), (0, 4));
}

fn peeking_marks_nothing(store: &mut dyn Store) {
    register(store, 2);
    tell(store, 1, 2, "one");
    broadcast(store, 1, &[2], "two");
    for query in [unread(inbox_of(2)), all(inbox_of(2))] {
        for message in peek(store, &query).messages {
            assert_eq!((message.delivered_at, message.read_at), (None, None));
        }
    }
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 2);
}

fn reading_marks_only_what_is_kept(store: &mut dyn Store) {
    register(store, 2);
    tell_in_both_ways(store, 4);
    let mut count = 0;
    let page = turn(store, |store| {
        let keep = &mut |message: &Message| {
            assert_eq!((message.delivered_at, message.read_at), (Some(at(1)), Some(at(1))));
            count += 1;
            count < 3
        };
        store.inbox(&unread(inbox_of(2)), Some(at(1)), keep).unwrap()
    });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["0", "1"], 2));
    assert_eq!(texts(&peek(store, &unread(inbox_of(2))).messages), ["2", "3"]);
}

fn remaining_is_exact_for_all_unread(store: &mut dyn Store) {
    register(store, 2);
    turn(store, |store| {
        for n in 0..250 {
            let to = if n % 10 == 0 { To::Many(&[peer(2)]) } else { To::One(inbox_of(2)) };
            post(store, &party(1), to, &Draft::new("x", T0));
        }
    });
    let query = InboxQuery { limit: 20, ..unread(inbox_of(2)) };
    assert_eq!(peek(store, &query).remaining, 230);
    assert_eq!(fetch(store, &query, at(1)).remaining, 230);
    assert_eq!(fetch(store, &query, at(1)).remaining, 210);
    let from = party(1);
    let queries = [
        InboxQuery { from: Some(&from), ..query },
        InboxQuery { before: Some(Seq(1000)), ..query },
        InboxQuery { after: Some(Seq(0)), ..query },
    ];
    for query in queries {
        assert_eq!(peek(store, &query).remaining, REMAINING_MAX);
    }
}

fn remaining_is_counted_so_far(store: &mut dyn Store) {
    register(store, 2);
    turn(store, |store| {
        for n in 0..121 {
            let to = if n % 3 == 0 { To::Many(&[peer(2)]) } else { To::One(inbox_of(2)) };
            post(store, &party(1), to, &Draft::new("x", T0));
        }
    });
    let remaining = |store: &mut dyn Store, limit| {
        peek(store, &InboxQuery { limit, ..all(inbox_of(2)) }).remaining
    };
    assert_eq!(remaining(store, 20), 100);
    assert_eq!(remaining(store, 21), 100);
    assert_eq!(remaining(store, 22), 99);
    assert_eq!(remaining(store, 121), 0);
    let query = InboxQuery { limit: 20, after: Some(Seq(2)), ..all(inbox_of(2)) };
    assert_eq!(peek(store, &query).remaining, 99);
}

fn a_stranger_has_an_empty_inbox(store: &mut dyn Store) {
    for recipient in [inbox_of(1), Recipient::Cli] {
        assert_eq!(peek(store, &unread(recipient)), Page::default());
        assert_eq!(fetch(store, &all(recipient), at(1)), Page::default());
    }
    register(store, 1);
    broadcast(store, 1, &[1], "to itself");
    assert_eq!(peek(store, &all(Recipient::Cli)), Page::default());
}

/// Longer than any piece in which a backend may read.
fn many_pages_of_everything(store: &mut dyn Store) {
    register(store, 3);
    let mut wanted = Vec::new();
    turn(store, |store| {
        for n in 0..1500 {
            let text = n.to_string();
            let to = match n % 7 {
                0 => To::Many(&[peer(2), peer(3)]),
                1 => To::Many(&[peer(3)]),
                _ => To::One(inbox_of(2)),
            };
            let id = post(store, &party(1), to, &Draft::new(&text, T0));
            if n % 7 != 1 {
                wanted.push(text);
                if n % 11 == 0 {
                    store.mark_read(inbox_of(2), &[id], at(1), None).unwrap();
                }
            }
        }
    });
    let mut got = Vec::new();
    let mut after = Some(Seq(0));
    loop {
        let page = peek(store, &InboxQuery { limit: 333, after, ..all(inbox_of(2)) });
        let Some(last) = page.messages.last() else { break };
        after = Some(last.seq);
        got.extend(page.messages.iter().map(|message| message.payload.to_string()));
    }
    assert_eq!(got, wanted);
    let page = peek(store, &InboxQuery { limit: 1000, ..unread(inbox_of(2)) });
    let unread: Vec<&String> =
        wanted.iter().filter(|text| text.parse::<u32>().unwrap() % 11 != 0).collect();
    assert_eq!(texts(&page.messages), unread[..1000]);
    assert_eq!(page.remaining, unread.len() as u64 - 1000);
}
