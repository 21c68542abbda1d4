//! Records of peers.

use super::*;

contract!(
    a_record_comes_back_as_it_was,
    present_peers_come_by_id,
    automatic_names_stay_reserved,
    a_new_peer_gets_no_older_broadcast,
);

fn a_record_comes_back_as_it_was(store: &mut dyn Store) {
    assert_eq!(store.peer(peer(1)).unwrap(), None);
    let full = PeerRecord {
        name_is_automatic: true,
        git_root: Some("/g".into()),
        git_branch: Some("main".into()),
        repo_id: Some("r".into()),
        uds_path: Some("/s".into()),
        summary: Some("working".into()),
        host: Some("h".into()),
        reach: Some("push".into()),
        session_id: Some("s".into()),
        agent_pid: Some(u32::MAX),
        private: true,
        acks: true,
        subscriptions: vec!["a.*".into(), "peer_left".into()],
        left_at: Some(at(7)),
        resumable: false,
        ..record(1)
    };
    turn(store, |store| store.put_peer(&full).unwrap());
    assert_eq!(store.peer(peer(1)).unwrap(), Some(full.clone()));
    let plain = PeerRecord { started_at: Timestamp(-1), ..record(1) };
    turn(store, |store| store.put_peer(&plain).unwrap());
    assert_eq!(store.peer(peer(1)).unwrap(), Some(plain));
}

fn present_peers_come_by_id(store: &mut dyn Store) {
    turn(store, |store| {
        for n in [3, 1, 2, 4] {
            store.put_peer(&record(n)).unwrap();
        }
        store.put_peer(&PeerRecord { left_at: Some(at(1)), ..record(2) }).unwrap();
    });
    let ids: Vec<PeerId> =
        store.present_peers().unwrap().into_iter().map(|record| record.id).collect();
    assert_eq!(ids, [peer(1), peer(3), peer(4)]);
    assert!(store.peer(peer(2)).unwrap().is_some());
}

fn automatic_names_stay_reserved(store: &mut dyn Store) {
    let left = |n, ms| PeerRecord { left_at: Some(at(ms)), name_is_automatic: true, ..record(n) };
    turn(store, |store| {
        store.put_peer(&left(1, 30)).unwrap();
        store.put_peer(&left(2, 10)).unwrap();
        store.put_peer(&left(3, 20)).unwrap();
        store.put_peer(&PeerRecord { name_is_automatic: false, ..left(4, 30) }).unwrap();
        store.put_peer(&PeerRecord { left_at: None, ..left(5, 30) }).unwrap();
    });
    let names = store.reserved_names(at(10)).unwrap();
    assert_eq!(names, [("peer-3".into(), peer(3)), ("peer-1".into(), peer(1))]);
}

fn a_new_peer_gets_no_older_broadcast(store: &mut dyn Store) {
    register(store, 2);
    broadcast(store, 1, &[2], "before");
    turn(store, |store| store.put_peer(&record(3)).unwrap());
    broadcast(store, 1, &[2, 3], "after");
    assert_eq!(texts(&peek(store, &unread(inbox_of(3))).messages), ["after"]);
    assert_eq!(texts(&peek(store, &all(inbox_of(3))).messages), ["after"]);
    // A record that is written again changes nothing.
    turn(store, |store| store.put_peer(&record(2)).unwrap());
    assert_eq!(texts(&peek(store, &unread(inbox_of(2))).messages), ["before", "after"]);
}
