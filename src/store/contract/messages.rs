//! Sending, marks, client ids.

use super::*;
use crate::store::Repeated;

contract!(
    a_message_comes_back_as_it_was,
    times_of_any_size_come_back,
    delivery_is_marked_once,
    reading_implies_delivery,
    only_its_own_messages_are_marked,
    undelivered_come_in_order,
    undelivered_are_found_among_many_others,
    what_comes_after_all_is_delivered_is_found,
    a_client_id_finds_its_message,
    a_client_id_finds_its_event,
    unread_is_counted,
);

fn a_message_comes_back_as_it_was(store: &mut dyn Store) {
    register(store, 1);
    let label = Party::Label("build-bot".into());
    let senders = [party(1), Party::Cli, label];
    let payload = "p".repeat(70_000) + "\0\u{1f600}\"";
    for (sender, kind) in
        senders.iter().zip([MessageKind::Json, MessageKind::Command, MessageKind::Alert])
    {
        for to in [Recipient::Cli, inbox_of(1)] {
            let id = turn(store, |store| {
                let seq = store.next_seq();
                let id = MessageId::new(seq, [0xa5; 16]);
                let message = NewMessage {
                    seq,
                    id,
                    from: sender,
                    from_name: "n\u{e4}me",
                    to: To::One(to),
                    kind,
                    payload: &payload,
                    reply_to: Some(MessageId::new(Seq(7), [3; 16])),
                    created_at: at(5),
                    client_id: None,
                };
                store.send(&message).unwrap();
                id
            });
            let page = fetch(store, &unread(to), at(9));
            let message = Message {
                seq: id.seq(),
                id,
                from: sender.clone(),
                from_name: "n\u{e4}me".into(),
                to: Some(to.into()),
                to_name: matches!(to, Recipient::Peer(_)).then(|| "peer-1".into()),
                to_host: None,
                to_group: None,
                kind,
                payload: payload.as_str().into(),
                reply_to: Some(MessageId::new(Seq(7), [3; 16])),
                created_at: at(5),
                delivered_at: Some(at(9)),
                told: None,
                read_at: Some(at(9)),
                reached: None,
            };
            assert_eq!(page.messages, [message]);
        }
    }
}

fn times_of_any_size_come_back(store: &mut dyn Store) {
    register(store, 2);
    for ms in [0, -1, 1, -(1 << 46), 1 << 46, i64::from(i32::MAX)] {
        let time = Timestamp(ms);
        let draft = Draft::new("x", time);
        turn(store, |store| {
            post(store, &party(1), To::One(inbox_of(2)), &draft);
            post(store, &party(1), To::Many(&[peer(2)]), &draft);
        });
        for message in fetch(store, &unread(inbox_of(2)), time).messages {
            assert_eq!(message.created_at, time);
            assert_eq!((message.delivered_at, message.read_at), (Some(time), Some(time)));
        }
        let newest = InboxQuery { limit: 2, ..all(inbox_of(2)) };
        for message in peek(store, &newest).messages {
            assert_eq!((message.delivered_at, message.read_at), (Some(time), Some(time)));
        }
    }
}

fn delivery_is_marked_once(store: &mut dyn Store) {
    register(store, 3);
    let one = tell(store, 1, 2, "one");
    let many = broadcast(store, 1, &[2, 3], "many");
    let seqs = [one.seq(), many.seq(), Seq(99)];
    turn(store, |store| store.mark_delivered(peer(2), &seqs, at(1)).unwrap());
    turn(store, |store| store.mark_delivered(peer(2), &seqs, at(2)).unwrap());
    for message in peek(store, &unread(inbox_of(2))).messages {
        assert_eq!((message.delivered_at, message.read_at), (Some(at(1)), None));
    }
    assert_eq!(peek(store, &unread(inbox_of(3))).messages[0].delivered_at, None);
    for message in fetch(store, &unread(inbox_of(2)), at(3)).messages {
        assert_eq!((message.delivered_at, message.read_at), (Some(at(1)), Some(at(3))));
    }
}

fn reading_implies_delivery(store: &mut dyn Store) {
    register(store, 2);
    let one = tell(store, 1, 2, "one");
    let many = broadcast(store, 1, &[2], "many");
    let marked =
        turn(store, |store| store.mark_read(inbox_of(2), &[one, many], at(1), None).unwrap());
    assert_eq!(marked.len(), 2);
    turn(store, |store| store.mark_delivered(peer(2), &[one.seq(), many.seq()], at(2)).unwrap());
    assert!(store.undelivered(peer(2), Seq(0), 10).unwrap().messages.is_empty());
    for message in peek(store, &all(inbox_of(2))).messages {
        assert_eq!((message.delivered_at, message.read_at), (Some(at(1)), Some(at(1))));
    }
}

fn only_its_own_messages_are_marked(store: &mut dyn Store) {
    register(store, 3);
    let one = tell(store, 1, 2, "one");
    let many = broadcast(store, 1, &[2], "many");
    let cli = send(store, &party(1), To::One(Recipient::Cli), "cli");
    let event = event(store, "a.b");
    let forged = MessageId::new(one.seq(), [0; 16]);
    let unknown = MessageId::new(Seq(1 << 40), [0; 16]);
    turn(store, |store| {
        for reader in [Recipient::Cli, inbox_of(1), inbox_of(3), inbox_of(9)] {
            assert_eq!(store.mark_read(reader, &[one, many], at(1), None).unwrap().len(), 0);
        }
        let ids = [forged, unknown, cli, event];
        assert_eq!(store.mark_read(inbox_of(2), &ids, at(1), None).unwrap().len(), 0);
        store.mark_delivered(peer(3), &[one.seq(), many.seq(), cli.seq()], at(1)).unwrap();
        assert!(!store.turn_wrote());
        assert_eq!(
            store.mark_read(inbox_of(2), &[one, one, many, many], at(1), None).unwrap().len(),
            2
        );
        assert_eq!(store.mark_read(Recipient::Cli, &[cli], at(1), None).unwrap().len(), 1);
    });
}

fn undelivered_come_in_order(store: &mut dyn Store) {
    register(store, 3);
    let ids: Vec<MessageId> = (0..6u8)
        .map(|n| match n % 2 {
            0 => tell(store, 1, 2, &n.to_string()),
            _ => broadcast(store, 1, &[2, 3], &n.to_string()),
        })
        .collect();
    tell(store, 1, 3, "another's");
    turn(store, |store| {
        store.mark_delivered(peer(2), &[ids[2].seq()], at(1)).unwrap();
        store.mark_read(inbox_of(2), &[ids[1]], at(1), None).unwrap();
        store.mark_delivered(peer(2), &[ids[5].seq()], at(1)).unwrap();
    });
    let waiting = |store: &mut dyn Store, after, limit| -> Vec<String> {
        let messages = store.undelivered(peer(2), after, limit).unwrap().messages;
        assert!(messages.iter().all(|m| m.delivered_at.is_none() && m.reached.is_none()));
        messages.iter().map(|message| message.payload.to_string()).collect()
    };
    assert_eq!(waiting(store, Seq(0), 10), ["0", "3", "4"]);
    assert_eq!(waiting(store, Seq(0), 2), ["0", "3"]);
    assert_eq!(waiting(store, ids[3].seq(), 10), ["4"]);
    assert_eq!(waiting(store, Seq(0), 0), [""; 0]);
    assert!(store.undelivered(peer(9), Seq(0), 10).unwrap().messages.is_empty());
}

/// What a peer has not got, found in as many steps as it takes.
fn all_undelivered(store: &mut dyn Store, n: u8, limit: u32) -> Vec<MessageId> {
    let (mut ids, mut after) = (Vec::new(), Some(Seq(0)));
    while let Some(from) = after {
        let waiting = store.undelivered(peer(n), from, limit).unwrap();
        assert!(waiting.messages.len() <= limit as usize);
        assert!(waiting.next.is_none_or(|next| next > from), "it goes on");
        ids.extend(waiting.messages.iter().map(|message| message.id));
        after = waiting.next;
    }
    ids
}

fn undelivered_are_found_among_many_others(store: &mut dyn Store) {
    register(store, 3);
    let mut waiting = Vec::new();
    turn(store, |store| {
        let draft = Draft::new("x", T0);
        for n in 0..900 {
            let to = if n % 2 == 0 { To::Many(&[peer(2), peer(3)]) } else { To::One(inbox_of(2)) };
            let id = post(store, &party(1), to, &draft);
            if n % 400 < 2 {
                waiting.push(id);
            } else {
                store.mark_delivered(peer(2), &[id.seq()], at(1)).unwrap();
            }
        }
    });
    assert_eq!(waiting.len(), 6);
    for limit in [1, 4, 64] {
        assert_eq!(all_undelivered(store, 2, limit), waiting);
    }
    assert_eq!(all_undelivered(store, 3, 7).len(), 450);
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 900);
}

fn what_comes_after_all_is_delivered_is_found(store: &mut dyn Store) {
    register(store, 2);
    let deliver = |store: &mut dyn Store, id: MessageId| {
        turn(store, |store| {
            store.mark_delivered(peer(2), &[id.seq()], at(1)).unwrap();
            let last = store.last_seq();
            store.delivered_to(peer(2), last).unwrap();
        });
        assert_eq!(all_undelivered(store, 2, 10), []);
    };
    let one = tell(store, 1, 2, "one");
    deliver(store, one);
    let many = broadcast(store, 1, &[2], "many");
    assert_eq!(all_undelivered(store, 2, 10), [many]);
    deliver(store, many);
    let two = tell(store, 1, 2, "two");
    // What did not happen tells nothing.
    store.begin_turn().unwrap();
    store.mark_delivered(peer(2), &[two.seq()], at(1)).unwrap();
    store.delivered_to(peer(2), two.seq()).unwrap();
    store.rollback_turn();
    assert_eq!(all_undelivered(store, 2, 10), [two]);
}

fn a_client_id_finds_its_message(store: &mut dyn Store) {
    register(store, 3);
    let client_id = Uuid::from_bytes([1; 16]);
    assert_eq!(store.client_id(&party(1), client_id).unwrap(), None);
    let draft = Draft { client_id: Some(client_id), ..Draft::new("hello", T0) };
    let (one, many) = turn(store, |store| {
        let one = post(store, &party(1), To::One(inbox_of(2)), &draft);
        (one, post(store, &Party::Cli, To::Many(&[peer(2), peer(3)]), &draft))
    });
    fetch(store, &unread(inbox_of(2)), at(1));
    let Some(Repeated::Message(message)) = store.client_id(&party(1), client_id).unwrap() else {
        panic!("no message")
    };
    assert_eq!((message.id, message.to, message.read_at), (one, Some(party(2)), Some(at(1))));
    let Some(Repeated::Message(message)) = store.client_id(&Party::Cli, client_id).unwrap() else {
        panic!("no message")
    };
    assert_eq!((message.id, message.to, message.read_at), (many, None, None));
    assert_eq!(message.reached.unwrap().recipients, 2);
    assert_eq!(store.client_id(&party(2), client_id).unwrap(), None);
    assert_eq!(store.client_id(&party(1), Uuid::from_bytes([2; 16])).unwrap(), None);
}

fn a_client_id_finds_its_event(store: &mut dyn Store) {
    let client_id = Uuid::from_bytes([1; 16]);
    let label = Party::Label("bot".into());
    let draft = Draft { client_id: Some(client_id), ..Draft::new("[1]", at(4)) };
    let id = turn(store, |store| emit(store, "a.b", Some(&label), &draft));
    let Some(Repeated::Event(event)) = store.client_id(&label, client_id).unwrap() else {
        panic!("no event")
    };
    assert_eq!((event.id, event.seq, &*event.kind), (id, id.seq(), "a.b"));
    assert_eq!((&*event.payload, event.emitted_by, event.created_at), ("[1]", Some(label), at(4)));
}

fn unread_is_counted(store: &mut dyn Store) {
    register(store, 3);
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 0);
    tell(store, 1, 2, "one");
    broadcast(store, 1, &[2, 3], "two");
    send(store, &party(1), To::One(Recipient::Cli), "three");
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 2);
    assert_eq!(store.unread_count(inbox_of(3)).unwrap(), 1);
    assert_eq!(store.unread_count(Recipient::Cli).unwrap(), 1);
    assert_eq!(store.unread_count(inbox_of(9)).unwrap(), 0);
    fetch(store, &InboxQuery { limit: 1, ..unread(inbox_of(2)) }, at(1));
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 1);
    fetch(store, &unread(inbox_of(2)), at(1));
    assert_eq!(store.unread_count(inbox_of(2)).unwrap(), 0);
    assert_eq!(store.unread_count(inbox_of(3)).unwrap(), 1);
}
