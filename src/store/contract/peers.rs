//! Records of peers.

use super::*;

contract!(
    a_record_comes_back_as_it_was,
    present_peers_come_by_id,
    automatic_names_stay_reserved,
    a_session_is_that_of_the_peer_that_left_last,
    a_new_peer_gets_no_older_broadcast,
);

fn a_record_comes_back_as_it_was(store: &mut dyn Store) {
    assert_eq!(store.peer(peer(1)).unwrap(), None);
    let full = PeerRecord {
        name_is_automatic: true,
        git_root: Some("/g".into()),
        git_branch: Some("main".into()),
        repo_id: Some("r".into()),
        repo_hash: Some(RepoHash([9; 32])),
        uds_path: Some("/s".into()),
        summary: Some("working".into()),
        host: MachineName::new("Laptop"),
        reach: Some("push".into()),
        session_id: Some("s".into()),
        agent_pid: Some(u32::MAX),
        agent_start: Some("12345".into()),
        private: true,
        acks: true,
        subscriptions: vec!["a.*".into(), "peer_left".into()],
        away_at: Some(time(6)),
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
    // When the wall clock said that they left does not count.
    let left = |n| PeerRecord { left_at: Some(T0), name_is_automatic: true, ..record(n) };
    let leave = |store: &mut dyn Store, record: &PeerRecord, ms| {
        turn(store, |store| {
            store.put_peer(record).unwrap();
            emit(store, "a.b", None, &Draft::new("{}", T0));
            note(store, ms);
        });
    };
    event(store, "a.b");
    leave(store, &left(2), 10);
    leave(store, &left(3), 20);
    leave(store, &left(1), 30);
    leave(store, &PeerRecord { name_is_automatic: false, ..left(4) }, 40);
    leave(store, &PeerRecord { left_at: None, ..left(5) }, 40);
    let mut reserved = |ms| -> Vec<PeerId> {
        let names = store.reserved_names(time(ms)).unwrap();
        assert!(names.iter().all(|(name, id)| *name == record(id.0.as_bytes()[0]).name));
        names.into_iter().map(|(_, id)| id).collect()
    };
    assert_eq!(reserved(9), [peer(2), peer(3), peer(1)]);
    assert_eq!(reserved(10), [peer(3), peer(1)]);
    assert_eq!(reserved(30), []);
}

fn a_session_is_that_of_the_peer_that_left_last(store: &mut dyn Store) {
    let left = |n, ms: Option<i64>, agent: &str, session: &str| PeerRecord {
        agent_type: agent.into(),
        session_id: Some(session.into()),
        left_at: ms.map(at),
        ..record(n)
    };
    turn(store, |store| {
        store.put_peer(&left(1, Some(10), "codex", "s")).unwrap();
        store.put_peer(&left(2, Some(30), "codex", "s")).unwrap();
        store.put_peer(&left(3, Some(20), "codex", "s")).unwrap();
        store
            .put_peer(&PeerRecord { resumable: false, ..left(4, Some(40), "codex", "s") })
            .unwrap();
        store.put_peer(&left(5, None, "codex", "s")).unwrap();
        store.put_peer(&left(6, Some(40), "zed", "s")).unwrap();
        store.put_peer(&left(7, Some(40), "codex", "t")).unwrap();
        store.put_peer(&PeerRecord { left_at: Some(at(50)), ..record(8) }).unwrap();
        let host = MachineName::new("Laptop");
        store.put_peer(&PeerRecord { host, ..left(9, Some(60), "codex", "s") }).unwrap();
    });
    let there = store.left_session("codex", "s", MachineName::new("laptop")).unwrap();
    assert_eq!(there.map(|peer| peer.id), Some(peer(9)));
    assert_eq!(store.left_session("codex", "s", MachineName::new("other")).unwrap(), None);
    let mut of =
        |agent, session| store.left_session(agent, session, None).unwrap().map(|peer| peer.id);
    assert_eq!(of("codex", "s"), Some(peer(2)));
    assert_eq!(of("zed", "s"), Some(peer(6)));
    assert_eq!((of("zed", "t"), of("unknown", "s"), of("unknown", "")), (None, None, None));
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
