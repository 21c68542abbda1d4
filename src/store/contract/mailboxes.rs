//! Mailboxes of names, and groups.

use super::*;
use crate::model::{Told, Way};
use crate::store::Telling;
use crate::store::{PurgeBefore, Receipt};

contract!(
    a_mailbox_goes_with_its_name,
    a_name_has_a_mailbox_on_each_machine,
    what_waits_is_as_any_message_to_its_holder,
    an_automatic_name_has_no_mailbox,
    names_that_differ_by_case_have_one_mailbox,
    mailboxes_are_known_while_anything_is_left,
    a_message_tells_to_whom_it_was_sent,
    unread_direct_messages_are_told_apart,
    a_rollback_takes_a_mailbox_back,
);

/// Peer `n` comes under this name.
fn come(store: &mut dyn Store, n: u8, name: &str) {
    turn(store, |store| {
        store.put_peer(&PeerRecord { name: name.into(), ..record(n) }).unwrap();
    });
}

fn leave(store: &mut dyn Store, n: u8, name: &str) {
    let left_at = Some(at(1));
    let record = PeerRecord { name: name.into(), left_at, ..record(n) };
    turn(store, |store| store.put_peer(&record).unwrap());
}

fn inbox(store: &mut dyn Store, n: u8) -> Vec<String> {
    let page = peek(store, &unread(inbox_of(n)));
    assert_eq!(page.remaining, 0);
    assert_eq!(store.unread_count(inbox_of(n)).unwrap(), page.messages.len() as u64);
    texts(&page.messages).into_iter().map(Into::into).collect()
}

fn a_mailbox_goes_with_its_name(store: &mut dyn Store) {
    register(store, 1);
    come(store, 2, "alice");
    tell(store, 1, 2, "a");
    broadcast(store, 1, &[2], "to her alone");
    assert_eq!(inbox(store, 2), ["a", "to her alone"]);
    leave(store, 2, "alice");
    assert_eq!(inbox(store, 2), ["to her alone"]);
    send(store, &party(1), To::Name("alice", None), "b");
    come(store, 3, "alice");
    tell(store, 1, 3, "c");
    assert_eq!(inbox(store, 3), ["a", "b", "c"]);
    // Who had it before comes back under another name.
    come(store, 2, "alice-2");
    assert_eq!(inbox(store, 2), ["to her alone"]);
    fetch(store, &unread(inbox_of(3)), at(5));
    leave(store, 3, "alice");
    come(store, 4, "alice");
    assert_eq!(inbox(store, 4), Vec::<String>::new());
    assert_eq!(peek(store, &all(inbox_of(4))).messages.len(), 3);
}

fn a_name_has_a_mailbox_on_each_machine(store: &mut dyn Store) {
    let [laptop, tower] = ["Laptop", "tower"].map(MachineName::new);
    let put = |store: &mut dyn Store, n: u8, host, left_at| {
        let record = PeerRecord { name: "Alice".into(), host, left_at, ..record(n) };
        turn(store, |store| store.put_peer(&record).unwrap());
    };
    register(store, 1);
    put(store, 2, laptop, None);
    let first = tell(store, 1, 2, "a");
    put(store, 2, laptop, Some(at(1)));
    let second = send(store, &party(1), To::Name("ALICE", MachineName::new("LAPTOP")), "b");
    put(store, 3, tower, None);
    put(store, 4, None, None);
    for n in [3, 4] {
        assert_eq!(inbox(store, n), Vec::<String>::new());
        assert_eq!(store.undelivered(peer(n), Seq(0), 10).unwrap().messages, []);
        let read =
            turn(store, |store| store.mark_read(inbox_of(n), &[first], at(2), None).unwrap());
        assert_eq!(read, []);
    }
    let mailboxes = store.mailboxes("alicE").unwrap();
    let hosts: Vec<_> = mailboxes.iter().map(|it| (it.host, it.unread, it.read)).collect();
    let expected = [(None, None, None), (laptop, Some(second.seq()), None), (tower, None, None)];
    assert_eq!(hosts, expected);
    assert!(mailboxes[0].had >= mailboxes[2].had && mailboxes[2].had >= mailboxes[1].had);
    assert_eq!(mailboxes.iter().max().unwrap().host, laptop, "unread before all");
    // Their sender sees all that was sent to the name.
    tell(store, 1, 3, "c");
    let (sender, label) = (party(1), Party::Label("alice".into()));
    let sent = list_sent(store, &SentQuery { to: Some(&label), ..sent_by(&sender) }).messages;
    assert_eq!(texts(&sent), ["a", "b", "c"]);
    let script = Party::Label("alice@laptop".into());
    let none = list_sent(store, &SentQuery { to: Some(&script), ..sent_by(&sender) }).messages;
    assert_eq!(none, [], "a script is no mailbox");
    put(store, 5, MachineName::new("laptop"), None);
    assert_eq!(inbox(store, 5), ["a", "b"]);
    assert_eq!(fetch(store, &unread(inbox_of(5)), at(3)).messages.len(), 2);
    let laptops = store.mailboxes("alice").unwrap()[1];
    assert_eq!((laptops.unread, laptops.read), (None, Some(second.seq())));
}

fn what_waits_is_as_any_message_to_its_holder(store: &mut dyn Store) {
    register(store, 1);
    come(store, 2, "alice");
    leave(store, 2, "alice");
    let ids: Vec<MessageId> = ["a", "b", "c", "d"]
        .map(|text| send(store, &party(1), To::Name("alice", None), text))
        .into();
    // The former holder has no say in it.
    let nobody = turn(store, |store| store.mark_read(inbox_of(2), &ids, at(2), None).unwrap());
    assert_eq!(nobody, []);
    turn(store, |store| store.mark_delivered(peer(2), &[ids[0].seq()], at(2)).unwrap());
    assert_eq!(store.counts().messages.undelivered, 4);
    come(store, 3, "alice");
    let waiting = store.undelivered(peer(3), Seq(0), 10).unwrap().messages;
    assert_eq!(texts(&waiting), ["a", "b", "c", "d"]);
    let by = Telling::Told(Told::notified(at(3), Way::Hook));
    let (read, notified) = turn(store, |store| {
        store.mark_delivered(peer(3), &[ids[0].seq()], at(3)).unwrap();
        let notified = store.mark_told(inbox_of(3), &ids[1..2], by).unwrap();
        (store.mark_read(inbox_of(3), &ids[2..3], at(3), None).unwrap(), notified)
    });
    assert_eq!((read.len(), notified), (1, 1));
    assert_eq!(texts(&store.undelivered(peer(3), Seq(0), 10).unwrap().messages), ["d"]);
    assert_eq!(inbox(store, 3), ["a", "b", "d"]);
    let from = party(1);
    let query = InboxQuery { from: Some(&from), limit: 2, ..unread(inbox_of(3)) };
    let page = peek(store, &query);
    assert_eq!((texts(&page.messages), page.remaining), (vec!["a", "b"], 1));
    let page = fetch(store, &unread(inbox_of(3)), at(4));
    assert_eq!(page.read.len(), 3);
    let counts = store.counts().messages;
    assert_eq!((counts.total, counts.unread, counts.undelivered), (4, 0, 0));
}

fn an_automatic_name_has_no_mailbox(store: &mut dyn Store) {
    register(store, 1);
    let automatic = PeerRecord { name_is_automatic: true, name: "alice".into(), ..record(2) };
    turn(store, |store| store.put_peer(&automatic).unwrap());
    assert_eq!(store.mailboxes("alice").unwrap(), []);
    tell(store, 1, 2, "to the peer");
    turn(store, |store| {
        store.put_peer(&PeerRecord { left_at: Some(at(1)), ..automatic.clone() }).unwrap();
    });
    come(store, 3, "alice");
    assert_eq!(inbox(store, 3), Vec::<String>::new());
    assert_eq!(inbox(store, 2), ["to the peer"]);
    let sent = list_sent(store, &sent_by(&party(1))).messages;
    assert_eq!((&sent[0].to, &sent[0].to_name), (&Some(party(2)), &None));
}

fn names_that_differ_by_case_have_one_mailbox(store: &mut dyn Store) {
    register(store, 1);
    come(store, 2, "Alice");
    tell(store, 1, 2, "a");
    leave(store, 2, "Alice");
    assert_ne!(store.mailboxes("aLICE").unwrap(), []);
    send(store, &party(1), To::Name("ALICE", None), "b");
    come(store, 3, "alice");
    assert_eq!(inbox(store, 3), ["a", "b"]);
    let to = Party::Label("Alice".into());
    let sender = party(1);
    let query = SentQuery { to: Some(&to), ..sent_by(&sender) };
    let sent = list_sent(store, &query).messages;
    assert_eq!(texts(&sent), ["a", "b"]);
    assert!(sent.iter().all(|message| message.to_name.as_deref() == Some("alice")));
}

fn mailboxes_are_known_while_anything_is_left(store: &mut dyn Store) {
    register(store, 1);
    assert_ne!(store.mailboxes("peer-1").unwrap(), []);
    assert_eq!(store.mailboxes("alice").unwrap(), []);
    come(store, 2, "alice");
    leave(store, 2, "alice");
    assert_ne!(store.mailboxes("alice").unwrap(), []);
    event(store, "a.b");
    turn(store, |store| note(store, 50));
    send(store, &party(1), To::Name("alice", None), "waits");
    let purge = |store: &mut dyn Store, messages| {
        let before = PurgeBefore { messages: time(messages), ..before(100) };
        turn(store, |store| store.purge(&before, 1000).unwrap());
    };
    // The record goes, the message stays.
    purge(store, 0);
    assert_eq!(store.peer(peer(2)).unwrap(), None);
    assert_ne!(store.mailboxes("alice").unwrap(), []);
    turn(store, |store| note(store, 90));
    purge(store, 100);
    purge(store, 100);
    assert_eq!(store.mailboxes("alice").unwrap(), []);
    assert_ne!(store.mailboxes("peer-1").unwrap(), []);
    // Its number may have gone: all is as at first.
    come(store, 3, "alice");
    tell(store, 1, 3, "new");
    assert_eq!(inbox(store, 3), ["new"]);
    purge(store, 0);
    tell(store, 1, 3, "newer");
    assert_eq!(inbox(store, 3), ["new", "newer"]);
}

fn a_message_tells_to_whom_it_was_sent(store: &mut dyn Store) {
    register(store, 1);
    come(store, 2, "alice");
    tell(store, 1, 2, "to the peer");
    leave(store, 2, "alice");
    send(store, &party(1), To::Name("alice", None), "to the name");
    send(store, &party(1), To::Group("#build", &[peer(2)]), "to a topic");
    broadcast(store, 1, &[2], "to all");
    let sent = list_sent(store, &sent_by(&party(1))).messages;
    let told: Vec<_> = (sent.iter())
        .map(|it| (it.to.clone(), it.to_name.as_deref(), it.to_group.as_deref()))
        .collect();
    let label = Party::Label("alice".into());
    assert_eq!(
        told,
        [
            (Some(party(2)), Some("alice"), None),
            (Some(label.clone()), Some("alice"), None),
            (None, None, Some("#build")),
            (None, None, None),
        ]
    );
    let to_name = list_sent(store, &SentQuery { to: Some(&label), ..sent_by(&party(1)) });
    assert_eq!(texts(&to_name.messages), ["to the peer", "to the name"]);
    come(store, 3, "alice");
    let to_holder = list_sent(store, &SentQuery { to: Some(&party(3)), ..sent_by(&party(1)) });
    assert_eq!(texts(&to_holder.messages), ["to the peer", "to the name"]);
    let types = ["message_received".into()];
    let query = EventQuery { types: &types, since: None, after: Some(Seq(0)), limit: 9 };
    let told: Vec<String> =
        read_events(store, &query).events.iter().map(|event| event.payload.to_string()).collect();
    let ends = [
        format!("\"toPeer\":\"{}\"}}", party(2)),
        "\"toPeer\":\"alice\"}".to_owned(),
        "\"toPeer\":null,\"toGroup\":\"#build\"}".to_owned(),
        "\"toPeer\":null}".to_owned(),
    ];
    assert!(told.iter().zip(ends).all(|(told, end)| told.ends_with(&end)), "{told:?}");
}

fn unread_direct_messages_are_told_apart(store: &mut dyn Store) {
    let automatic = PeerRecord { name_is_automatic: true, ..record(2) };
    register(store, 1);
    turn(store, |store| store.put_peer(&automatic).unwrap());
    let read = tell(store, 1, 2, "read");
    let first = tell(store, 1, 2, "a");
    broadcast(store, 1, &[2], "to all");
    let cli = send(store, &Party::Cli, To::One(inbox_of(2)), "b");
    tell(store, 2, 1, "in a mailbox");
    turn(store, |store| store.mark_read(inbox_of(2), &[read], at(1), None).unwrap());
    let [first, second] =
        [(first, party(1)), (cli, Party::Cli)].map(|(id, from)| Receipt { id, from });
    assert_eq!(store.unread_direct(peer(2), 9).unwrap(), [first.clone(), second]);
    assert_eq!(store.unread_direct(peer(2), 1).unwrap(), [first]);
    assert_eq!(store.unread_direct(peer(1), 9).unwrap(), []);
    assert_eq!(store.unread_direct(peer(9), 9).unwrap(), []);
}

fn a_rollback_takes_a_mailbox_back(store: &mut dyn Store) {
    register(store, 1);
    come(store, 2, "alice");
    leave(store, 2, "alice");
    send(store, &party(1), To::Name("alice", None), "waits");
    store.begin_turn().unwrap();
    store.put_peer(&PeerRecord { name: "alice".into(), ..record(3) }).unwrap();
    store.rollback_turn();
    assert_eq!(inbox(store, 3), Vec::<String>::new());
    come(store, 4, "alice");
    assert_eq!(inbox(store, 4), ["waits"]);
}
