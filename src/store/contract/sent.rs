//! Pages of a sender's messages.

use super::*;
use crate::model::Reached;

contract!(
    sent_takes_the_newest_of_all_recipients,
    sent_to_takes_one_recipient,
    sent_shows_how_it_stands,
    sent_pages_go_both_ways,
    sent_keeps_what_keep_wants,
);

fn sent_takes_the_newest_of_all_recipients(store: &mut dyn Store) {
    register(store, 5);
    let label = Party::Label("bot".into());
    turn(store, |store| {
        for n in 0..200u32 {
            let text = n.to_string();
            let draft = Draft::new(&text, T0);
            match n % 5 {
                0 => post(store, &label, To::Many(&[peer(1), peer(2)]), &draft),
                1 => post(store, &label, To::One(Recipient::Cli), &draft),
                2 => post(store, &party(1), To::One(inbox_of(2)), &draft),
                // Few of them, and long ago.
                3 if n < 20 => post(store, &label, To::One(inbox_of(5)), &draft),
                _ => post(store, &label, To::One(inbox_of(3)), &draft),
            };
        }
    });
    let wanted: Vec<String> = (0..200).filter(|n| n % 5 != 2).map(|n| n.to_string()).collect();
    let page = list_sent(store, &sent_by(&label));
    assert_eq!(texts(&page.messages), wanted[140..].iter().collect::<Vec<_>>());
    assert_eq!(page.remaining, 100);
    let page = list_sent(store, &SentQuery { limit: 150, ..sent_by(&label) });
    assert_eq!((texts(&page.messages).len(), page.remaining), (150, 10));
    let page = list_sent(store, &SentQuery { limit: 1000, ..sent_by(&label) });
    assert_eq!((texts(&page.messages), page.remaining), (wanted.iter().map(|w| &**w).collect(), 0));
    let stranger = Party::Label("stranger".into());
    assert_eq!(list_sent(store, &sent_by(&stranger)), Page::default());
}

fn sent_to_takes_one_recipient(store: &mut dyn Store) {
    register(store, 3);
    let sender = party(1);
    tell(store, 1, 2, "a");
    tell(store, 1, 3, "b");
    broadcast(store, 1, &[2, 3], "c");
    broadcast(store, 1, &[3], "d");
    broadcast(store, 3, &[1, 2], "e");
    send(store, &sender, To::One(Recipient::Cli), "f");
    let (two, three, nine) = (party(2), party(3), party(9));
    let to = |recipient| SentQuery { to: Some(recipient), ..sent_by(&sender) };
    assert_eq!(texts(&list_sent(store, &to(&two)).messages), ["a", "c"]);
    assert_eq!(texts(&list_sent(store, &to(&three)).messages), ["b", "c", "d"]);
    assert_eq!(texts(&list_sent(store, &to(&Party::Cli)).messages), ["f"]);
    assert_eq!(list_sent(store, &to(&nine)), Page::default());
}

fn sent_shows_how_it_stands(store: &mut dyn Store) {
    register(store, 4);
    let one = tell(store, 1, 2, "one");
    let many = broadcast(store, 1, &[4, 3, 2], "many");
    turn(store, |store| {
        store.mark_delivered(peer(2), &[one.seq(), many.seq()], at(1)).unwrap();
        store.mark_delivered(peer(3), &[many.seq()], at(1)).unwrap();
        store.mark_read(inbox_of(2), &[many], at(2), None).unwrap();
    });
    let sender = party(1);
    let page = list_sent(store, &sent_by(&sender));
    let [direct, broadcast] = &page.messages[..] else { panic!("two") };
    assert_eq!((direct.delivered_at, direct.read_at, direct.reached), (Some(at(1)), None, None));
    assert_eq!((broadcast.delivered_at, broadcast.read_at, &broadcast.to), (None, None, &None));
    let reached = Reached { recipients: 3, delivered: 2, sent: 0, notified: 0, read: 1 };
    assert_eq!(broadcast.reached, Some(reached));
    // A recipient sees its own marks only.
    let seen = peek(store, &all(inbox_of(3))).messages;
    assert_eq!((seen[0].delivered_at, seen[0].read_at, seen[0].reached), (Some(at(1)), None, None));
}

fn sent_pages_go_both_ways(store: &mut dyn Store) {
    register(store, 4);
    let sender = party(1);
    for n in 0..6u8 {
        match n % 3 {
            0 => broadcast(store, 1, &[2, 3], &n.to_string()),
            1 => tell(store, 1, 2, &n.to_string()),
            _ => tell(store, 1, 4, &n.to_string()),
        };
    }
    let query = SentQuery { limit: 2, ..sent_by(&sender) };
    let page = list_sent(store, &query);
    assert_eq!((texts(&page.messages), page.remaining), (vec!["4", "5"], 4));
    let page = list_sent(store, &SentQuery { before: Some(page.messages[0].seq), ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["2", "3"], 2));
    let page = list_sent(store, &SentQuery { after: Some(page.messages[0].seq), ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["3", "4"], 1));
    let to = party(2);
    let page = list_sent(store, &SentQuery { to: Some(&to), after: Some(Seq(1)), ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["1", "3"], 1));
}

fn sent_keeps_what_keep_wants(store: &mut dyn Store) {
    register(store, 3);
    let sender = party(1);
    for n in 0..4u8 {
        tell(store, 1, 2 + n % 2, &n.to_string());
    }
    let page = store.sent(&sent_by(&sender), &mut |message| &*message.payload != "1").unwrap();
    assert_eq!((texts(&page.messages), page.remaining), (vec!["2", "3"], 2));
    let page = store.sent(&sent_by(&sender), &mut |_| false).unwrap();
    assert_eq!((texts(&page.messages), page.remaining), (vec!["3"], 3));
}
