//! Locks.

use super::*;

contract!(locks_are_listed_by_fence, a_lock_is_changed_and_removed, locks_expire_in_order);

fn put(store: &mut dyn Store, lock: &Lock) {
    turn(store, |store| store.put_lock(lock).unwrap());
}

fn locks_are_listed_by_fence(store: &mut dyn Store) {
    let everything = Lock {
        pattern: true,
        shared: true,
        repo_id: Some("/r/.git".into()),
        git_root: Some("/r".into()),
        host: MachineName::new("laptop"),
        repo_hash: Some(RepoHash([7; 32])),
        reason: Some("why".into()),
        ..lock("/r/\u{e4}/**", party(1), Seq(9))
    };
    let repo_wide = Lock {
        git_root: None,
        repo_id: Some("/r/.git".into()),
        ..lock("repo:a", Party::CliAt(MachineName::new("laptop").unwrap()), Seq(3))
    };
    let label = lock("/a", Party::Label("bot".into()), Seq(7));
    // The same path again: a backend knows no rules.
    let again = lock("/a", party(2), Seq(8));
    for lock in [&everything, &repo_wide, &label, &again] {
        put(store, lock);
    }
    assert_eq!(store.locks().unwrap(), [repo_wide, label, again, everything]);
    assert_eq!(store.counts().locks, 4);
}

fn a_lock_is_changed_and_removed(store: &mut dyn Store) {
    let first = lock("/a", party(1), Seq(1));
    put(store, &first);
    put(store, &lock("/b", party(1), Seq(2)));
    let changed = Lock { expires_at: time(90_000), reason: Some("b".into()), ..first };
    put(store, &changed);
    assert_eq!(store.locks().unwrap()[0], changed);
    assert_eq!(store.counts().locks, 2);
    assert_eq!(store.next_lock_expiry().unwrap(), Some(time(60_000)));
    assert!(turn(store, |store| store.remove_lock(Seq(2)).unwrap()));
    assert_eq!(store.next_lock_expiry().unwrap(), Some(time(90_000)));
    turn(store, |store| {
        assert!(!store.remove_lock(Seq(2)).unwrap());
        assert!(!store.turn_wrote());
    });
    assert_eq!(store.locks().unwrap(), [changed]);
    assert_eq!(store.counts().locks, 1);
}

fn locks_expire_in_order(store: &mut dyn Store) {
    assert_eq!(store.next_lock_expiry().unwrap(), None);
    for (path, ms, fence) in [("/c", 10, 4), ("/a", 30, 2), ("/b", 10, 3), ("/d", 20, 1)] {
        put(store, &Lock { expires_at: time(ms), ..lock(path, party(1), Seq(fence)) });
    }
    assert_eq!(store.next_lock_expiry().unwrap(), Some(time(10)));
    let expire = |store: &mut dyn Store, now, limit| -> Vec<String> {
        let locks = turn(store, |store| store.expire_locks(now, limit).unwrap());
        locks.iter().map(|lock| lock.path.to_string()).collect()
    };
    assert_eq!(expire(store, time(9), 10), [""; 0]);
    assert_eq!(expire(store, time(20), 2), ["/b", "/c"]);
    assert_eq!(expire(store, time(20), 2), ["/d"]);
    assert_eq!(store.next_lock_expiry().unwrap(), Some(time(30)));
    assert_eq!(store.counts().locks, 1);
}
