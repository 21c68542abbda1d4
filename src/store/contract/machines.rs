//! Machines that have joined, invitations, and people at the command lines of other machines.

use super::*;

contract!(
    machines_are_kept_by_id,
    no_two_machines_have_one_name,
    invitations_are_kept_by_hash,
    a_turn_that_fails_has_let_nobody_in,
    a_person_has_an_inbox_on_each_machine,
);

pub(super) fn name(text: &str) -> MachineName {
    MachineName::new(text).unwrap()
}

pub(super) fn machine(n: u8, called: &str) -> MachineRecord {
    MachineRecord {
        id: MachineId([n; 32]),
        name: name(called),
        address: "192.0.2.7".into(),
        joined_at: T0,
        last_seen: at(5),
        removed_at: None,
    }
}

pub(super) fn invitation(n: u8) -> Invitation {
    Invitation {
        token_hash: [n; 32],
        name: None,
        made_at: T0,
        expires_at: time(60_000),
        owner: None,
    }
}

fn machines_are_kept_by_id(store: &mut dyn Store) {
    assert_eq!(store.machines().unwrap(), []);
    let (first, second) = (machine(2, "Laptop"), machine(1, "desk"));
    turn(store, |store| {
        store.put_machine(&first).unwrap();
        store.put_machine(&second).unwrap();
        assert!(store.turn_wrote());
    });
    assert_eq!(store.machines().unwrap(), [second.clone(), first.clone()]);
    let removed = MachineRecord {
        address: "[2001:db8::1]".into(),
        last_seen: at(9),
        removed_at: Some(at(10)),
        ..first
    };
    turn(store, |store| store.put_machine(&removed).unwrap());
    let kept = store.machines().unwrap();
    assert_eq!(kept, [second, removed]);
    assert_eq!(kept[1].name.as_str(), "Laptop");
}

fn no_two_machines_have_one_name(store: &mut dyn Store) {
    turn(store, |store| {
        store.put_machine(&MachineRecord { removed_at: Some(T0), ..machine(1, "laptop") }).unwrap();
    });
    store.begin_turn().unwrap();
    assert!(store.put_machine(&machine(2, "LAPTOP")).is_err());
    store.rollback_turn();
    assert_eq!(store.machines().unwrap().len(), 1);
}

fn invitations_are_kept_by_hash(store: &mut dyn Store) {
    let named = Invitation { name: Some(name("Laptop")), ..invitation(1) };
    turn(store, |store| {
        store.put_invitation(&invitation(2)).unwrap();
        store.put_invitation(&named).unwrap();
    });
    assert_eq!(store.invitations().unwrap(), [named.clone(), invitation(2)]);
    let owned = Invitation { owner: Some(MachineId([7; 32])), ..named };
    turn(store, |store| {
        store.put_invitation(&owned).unwrap();
        store.remove_invitation(&[2; 32]).unwrap();
        store.remove_invitation(&[9; 32]).unwrap();
    });
    assert_eq!(store.invitations().unwrap(), [owned]);
}

fn a_turn_that_fails_has_let_nobody_in(store: &mut dyn Store) {
    turn(store, |store| store.put_invitation(&invitation(1)).unwrap());
    store.begin_turn().unwrap();
    store.put_machine(&machine(1, "laptop")).unwrap();
    store.put_invitation(&invitation(2)).unwrap();
    store.remove_invitation(&[1; 32]).unwrap();
    store.rollback_turn();
    assert_eq!(store.machines().unwrap(), []);
    assert_eq!(store.invitations().unwrap(), [invitation(1)]);
    assert!(store.put_machine(&machine(1, "laptop")).is_err(), "outside of a turn");
    assert!(store.put_invitation(&invitation(2)).is_err(), "outside of a turn");
    assert!(store.remove_invitation(&[1; 32]).is_err(), "outside of a turn");
}

fn a_person_has_an_inbox_on_each_machine(store: &mut dyn Store) {
    register(store, 1);
    let there = Recipient::CliAt(name("Laptop"));
    send(store, &party(1), To::One(there), "there");
    send(store, &party(1), To::One(Recipient::Cli), "here");
    send(store, &Party::CliAt(name("laptop")), To::One(inbox_of(1)), "from there");
    broadcast(store, 1, &[1], "to all");
    for (reader, expected) in [(there, "there"), (Recipient::Cli, "here")] {
        assert_eq!(texts(&peek(store, &unread(reader)).messages), [expected]);
        assert_eq!(texts(&peek(store, &all(reader)).messages), [expected]);
        assert_eq!(store.unread_count(reader).unwrap(), 1);
    }
    // Names of machines are one in upper and lower case.
    let again = Recipient::CliAt(name("LAPTOP"));
    assert_eq!(texts(&fetch(store, &unread(again), at(1)).messages), ["there"]);
    assert_eq!(store.unread_count(there).unwrap(), 0);
    let got = peek(store, &all(inbox_of(1))).messages;
    assert!(got.iter().any(|message| message.from == Party::CliAt(name("Laptop"))));
    let to = SentQuery {
        sender: &party(1),
        to: Some(&Party::CliAt(name("laptop"))),
        before: None,
        after: None,
        limit: 10,
    };
    assert_eq!(texts(&list_sent(store, &to).messages), ["there"]);
}
