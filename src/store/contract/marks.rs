//! How far a message has come: notifications, and what reading tells of it.

use super::*;
use crate::model::{How, Reached, Told, Way};
use crate::store::{Receipt, Telling};

contract!(
    the_first_notification_stands,
    a_notification_is_of_one_recipient,
    what_is_sent_stands_until_more_is_known,
    what_is_dropped_can_be_told_again,
    what_was_read_is_not_notified,
    a_page_leaves_out_what_was_told,
    reading_may_notify,
    reading_tells_what_it_has_read,
    a_page_tells_what_it_has_read,
    a_page_leaves_out_what_it_is_told_to,
);

fn notified(ms: i64, by: Way) -> Told {
    Told::notified(at(ms), by)
}

fn sent(ms: i64, by: Way, how: How) -> Told {
    Told { at: at(ms), by, how, whole: true }
}

fn tell_of(store: &mut dyn Store, n: u8, ids: &[MessageId], told: Told) -> u64 {
    store.mark_told(inbox_of(n), ids, Telling::Told(told)).unwrap()
}

fn marks(store: &mut dyn Store, n: u8) -> Vec<(Option<Timestamp>, Option<Told>, bool)> {
    let page = peek(store, &all(inbox_of(n)));
    let marks = page.messages.iter().map(|m| (m.delivered_at, m.told, m.read_at.is_some()));
    marks.collect()
}

fn the_first_notification_stands(store: &mut dyn Store) {
    register(store, 3);
    let one = tell(store, 1, 2, "one");
    let many = broadcast(store, 1, &[2, 3], "many");
    let unread_before = store.unread_count(inbox_of(2)).unwrap();
    turn(store, |store| {
        store.mark_delivered(peer(2), &[one.seq()], at(1)).unwrap();
        let first = notified(2, Way::InboxSocket);
        let ids = [one, one, many, many];
        assert_eq!(tell_of(store, 2, &ids, first), 2);
        let second = notified(3, Way::Hook);
        assert_eq!(tell_of(store, 2, &ids, second), 0);
        // The process confirms it only now.
        store.mark_delivered(peer(2), &[many.seq()], at(4)).unwrap();
    });
    let first = Some(notified(2, Way::InboxSocket));
    let wanted = [(Some(at(1)), first, false), (Some(at(2)), first, false)];
    assert_eq!(marks(store, 2), wanted);
    assert_eq!(marks(store, 3), [(None, None, false)]);
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), unread_before);
    assert_eq!(store.undelivered(peer(2), Seq(0), 10).unwrap().messages, []);
    let messages = store.counts().messages;
    assert_eq!((messages.total, messages.undelivered, messages.unread), (2, 1, 2));

    let sent = list_sent(store, &sent_by(&party(1))).messages;
    assert_eq!((sent[0].told, sent[0].reached), (first, None));
    let reached = Reached { recipients: 2, delivered: 1, sent: 0, notified: 1, read: 0 };
    assert_eq!((sent[1].told, sent[1].reached), (None, Some(reached)));
}

fn a_notification_is_of_one_recipient(store: &mut dyn Store) {
    register(store, 3);
    let one = tell(store, 1, 2, "one");
    let many = broadcast(store, 1, &[2], "many");
    let other = MessageId::new(one.seq(), [9; 16]);
    turn(store, |store| {
        for reader in [inbox_of(3), inbox_of(9), Recipient::Cli] {
            let ids = [one, many, MessageId::new(Seq(999), [1; 16])];
            assert_eq!(
                store.mark_told(reader, &ids, Telling::Told(notified(1, Way::Hook))).unwrap(),
                0
            );
        }
        let id = [other];
        assert_eq!(tell_of(store, 2, &id, notified(1, Way::Hook)), 0);
    });
    assert_eq!(marks(store, 2), [(None, None, false); 2]);
}

fn what_was_read_is_not_notified(store: &mut dyn Store) {
    register(store, 2);
    let ids = [tell(store, 1, 2, "one"), broadcast(store, 1, &[2], "many")];
    turn(store, |store| {
        store.mark_read(inbox_of(2), &ids, at(1), None).unwrap();
        assert_eq!(tell_of(store, 2, &ids, notified(2, Way::Queue)), 0);
        assert_eq!(store.mark_read(inbox_of(2), &ids, at(3), Some(Way::Hook)).unwrap(), []);
    });
    assert_eq!(marks(store, 2), [(Some(at(1)), None, true); 2]);
}

fn reading_may_notify(store: &mut dyn Store) {
    register(store, 2);
    let ids = [tell(store, 1, 2, "one"), broadcast(store, 1, &[2], "many")];
    let early = [tell(store, 1, 2, "three"), broadcast(store, 1, &[2], "four")];
    turn(store, |store| {
        tell_of(store, 2, &early, notified(1, Way::ToolResult));
        let both = [ids[0], ids[1], early[0], early[1]];
        let read = store.mark_read(inbox_of(2), &both, at(2), Some(Way::Hook)).unwrap();
        assert_eq!(read.len(), 4);
    });
    let late = (Some(at(2)), Some(notified(2, Way::Hook)), true);
    let early = (Some(at(1)), Some(notified(1, Way::ToolResult)), true);
    assert_eq!(marks(store, 2), [late, late, early, early]);
}

fn reading_tells_what_it_has_read(store: &mut dyn Store) {
    register(store, 3);
    let label = Party::Label("bot".into());
    let one = tell(store, 1, 2, "one");
    let many = broadcast(store, 3, &[1, 2], "many");
    let bot = send(store, &label, To::One(inbox_of(2)), "bot");
    let foreign = tell(store, 1, 3, "foreign");
    let read = turn(store, |store| {
        store.mark_read(inbox_of(2), &[bot, many, foreign, one, bot], at(1), None).unwrap()
    });
    let wanted = [(bot, label), (many, party(3)), (one, party(1))];
    assert_eq!(read, wanted.map(|(id, from)| Receipt { id, from }));
    let again = turn(store, |store| store.mark_read(inbox_of(2), &[one, many], at(1), None));
    assert_eq!(again.unwrap(), []);
}

fn a_page_tells_what_it_has_read(store: &mut dyn Store) {
    register(store, 2);
    let ids = tell_in_both_ways(store, 6);
    assert_eq!(peek(store, &unread(inbox_of(2))).read, []);
    let receipts = |ids: &[MessageId]| -> Vec<Receipt> {
        ids.iter().map(|id| Receipt { id: *id, from: party(1) }).collect()
    };
    // Read at the very time at which the next page is.
    turn(store, |store| store.mark_read(inbox_of(2), &[ids[2], ids[3]], at(1), None)).unwrap();
    let page = fetch(store, &InboxQuery { limit: 2, ..unread(inbox_of(2)) }, at(1));
    assert_eq!(page.read, receipts(&ids[..2]));
    let page = fetch(store, &all(inbox_of(2)), at(1));
    assert_eq!((page.messages.len(), page.read), (6, receipts(&ids[4..])));
    assert_eq!(fetch(store, &all(inbox_of(2)), at(1)).read, []);
}

fn a_page_leaves_out_what_it_is_told_to(store: &mut dyn Store) {
    register(store, 2);
    tell_in_both_ways(store, 8);
    let but = [Seq(1), Seq(2), Seq(5), Seq(99)];
    let query = InboxQuery { but: &but, limit: 2, ..unread(inbox_of(2)) };
    let page = peek(store, &query);
    assert_eq!((texts(&page.messages), page.remaining), (vec!["2", "3"], 3));
    let page = peek(store, &InboxQuery { limit: 0, ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec![], 5));
    let from = party(1);
    let page = peek(store, &InboxQuery { unread_only: false, from: Some(&from), ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["6", "7"], 3));
    let everything: Vec<Seq> = (1..=8).map(Seq).collect();
    assert_eq!(peek(store, &InboxQuery { but: &everything, ..query }), Page::default());
}

fn what_is_sent_stands_until_more_is_known(store: &mut dyn Store) {
    register(store, 3);
    let ids = [tell(store, 1, 2, "one"), broadcast(store, 1, &[2, 3], "many")];
    for (told, changed) in [
        (sent(1, Way::Queue, How::Sent), 2),
        // Nothing new is known.
        (sent(2, Way::Queue, How::Sent), 0),
        (sent(3, Way::Queue, How::Held), 2),
        (sent(4, Way::InboxSocket, How::Declined), 2),
    ] {
        turn(store, |store| assert_eq!(tell_of(store, 2, &ids, told), changed, "{told:?}"));
    }
    let last = sent(4, Way::InboxSocket, How::Declined);
    assert_eq!(marks(store, 2), [(Some(at(1)), Some(last), false); 2]);
    let listed = list_sent(store, &sent_by(&party(1))).messages;
    let reached = Reached { recipients: 2, delivered: 1, sent: 1, notified: 0, read: 0 };
    assert_eq!((listed[0].told, listed[1].reached), (Some(last), Some(reached)));

    // What is proven stays so, and what is read without proof was in the queue.
    let proven = notified(5, Way::InboxSocket);
    turn(store, |store| {
        assert_eq!(tell_of(store, 2, &ids[..1], proven), 1);
        assert_eq!(tell_of(store, 2, &ids[..1], sent(6, Way::Queue, How::Sent)), 0);
        assert_eq!(store.mark_read(inbox_of(2), &ids[1..], at(7), None).unwrap().len(), 1);
    });
    let many = (Some(at(1)), Some(last), true);
    assert_eq!(marks(store, 2), [(Some(at(1)), Some(proven), false), many]);
    let listed = list_sent(store, &sent_by(&party(1))).messages;
    let reached = Reached { recipients: 2, delivered: 1, sent: 0, notified: 0, read: 1 };
    assert_eq!(listed[1].reached, Some(reached));
    // By what has told it, if that has told it.
    let third = tell(store, 1, 2, "three");
    turn(store, |store| {
        tell_of(store, 2, &[third], sent(8, Way::Queue, How::Held));
        store.mark_read(inbox_of(2), &[third], at(9), Some(Way::Hook)).unwrap()
    });
    assert_eq!(marks(store, 2)[2], (Some(at(8)), Some(notified(9, Way::Hook)), true));
}

fn what_is_dropped_can_be_told_again(store: &mut dyn Store) {
    register(store, 2);
    let ids = [tell(store, 1, 2, "one"), broadcast(store, 1, &[2], "many")];
    turn(store, |store| {
        let drop = |store: &mut dyn Store, way| {
            store.mark_told(inbox_of(2), &ids, Telling::Dropped(way)).unwrap()
        };
        assert_eq!(drop(store, Way::Queue), 0, "nothing was told");
        tell_of(store, 2, &ids, sent(1, Way::Queue, How::Sent));
        assert_eq!(drop(store, Way::InboxSocket), 0, "it is in another queue");
        assert_eq!(drop(store, Way::Queue), 2);
        tell_of(store, 2, &ids[..1], notified(2, Way::Queue));
        tell_of(store, 2, &ids[1..], sent(2, Way::Queue, How::Sent));
        store.mark_read(inbox_of(2), &ids[1..], at(3), None).unwrap();
        assert_eq!(drop(store, Way::Queue), 0, "it is proven, or read");
    });
    let proven = (Some(at(1)), Some(notified(2, Way::Queue)), false);
    let read = (Some(at(1)), Some(sent(2, Way::Queue, How::Sent)), true);
    assert_eq!(marks(store, 2), [proven, read]);
}

fn a_page_leaves_out_what_was_told(store: &mut dyn Store) {
    register(store, 2);
    let ids = tell_in_both_ways(store, 8);
    turn(store, |store| {
        tell_of(store, 2, &ids[..2], sent(1, Way::Queue, How::Sent));
        tell_of(store, 2, &ids[4..6], notified(1, Way::Hook))
    });
    let query = InboxQuery { untold_only: true, ..unread(inbox_of(2)) };
    let page = peek(store, &query);
    assert_eq!((texts(&page.messages), page.remaining), (vec!["2", "3", "6", "7"], 0));
    let but = [ids[3].seq()];
    let page = peek(store, &InboxQuery { but: &but, limit: 1, ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec!["2"], 2));
    let page = peek(store, &InboxQuery { after: Some(ids[2].seq()), limit: 0, ..query });
    assert_eq!((texts(&page.messages), page.remaining), (vec![], 3));
}
