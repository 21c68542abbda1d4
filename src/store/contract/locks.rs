//! Locks.

use super::*;
use crate::store::{AcquireOutcome, ReleaseOutcome};

contract!(
    a_lock_is_held_by_one,
    a_holder_renews_and_never_shortens,
    a_lock_is_given_back,
    locks_are_listed_by_path,
    locks_expire_in_order,
    a_holder_loses_all_its_locks,
);

fn acquire(store: &mut dyn Store, lock: &Lock) -> AcquireOutcome {
    turn(store, |store| store.acquire_lock(lock).unwrap())
}

fn release(store: &mut dyn Store, path: &str, holder: Option<&Party>) -> ReleaseOutcome {
    turn(store, |store| store.release_lock(path, holder).unwrap())
}

fn a_lock_is_held_by_one(store: &mut dyn Store) {
    assert_eq!(store.lock("/a").unwrap(), None);
    for (n, holder) in [party(1), Party::Cli, Party::Label("bot".into())].into_iter().enumerate() {
        let path = format!("/{n}");
        let reason = Some("why".into());
        let first = Lock { reason, ..lock(&path, holder, Seq(7)) };
        assert_eq!(acquire(store, &first), AcquireOutcome::Acquired);
        let second = lock(&path, party(2), Seq(8));
        assert_eq!(acquire(store, &second), AcquireOutcome::Held(first.clone()));
        assert_eq!(store.lock(&path).unwrap(), Some(first));
    }
    assert_eq!(store.counts().locks, 3);
}

fn a_holder_renews_and_never_shortens(store: &mut dyn Store) {
    let first = lock("/a", party(1), Seq(1));
    acquire(store, &first);
    let shorter = Lock {
        expires_at: at(1),
        fence: Seq(2),
        locked_at: at(1),
        holder_name: "renamed".into(),
        ..first.clone()
    };
    turn(store, |store| {
        let outcome = store.acquire_lock(&shorter).unwrap();
        assert_eq!(outcome, AcquireOutcome::Renewed(first.clone()));
        assert!(!store.turn_wrote());
    });
    let longer = Lock { expires_at: at(90_000), reason: Some("b".into()), ..shorter.clone() };
    let renewed = Lock { expires_at: at(90_000), reason: Some("b".into()), ..first };
    assert_eq!(acquire(store, &longer), AcquireOutcome::Renewed(renewed.clone()));
    assert_eq!(acquire(store, &shorter), AcquireOutcome::Renewed(renewed.clone()));
    assert_eq!(store.lock("/a").unwrap(), Some(renewed));
    assert_eq!(store.counts().locks, 1);
    assert_eq!(store.next_lock_expiry().unwrap(), Some(at(90_000)));
}

fn a_lock_is_given_back(store: &mut dyn Store) {
    assert_eq!(release(store, "/a", None), ReleaseOutcome::NotLocked);
    let held = lock("/a", party(1), Seq(1));
    acquire(store, &held);
    assert_eq!(release(store, "/a", Some(&party(2))), ReleaseOutcome::Held(held.clone()));
    assert_eq!(release(store, "/a", Some(&party(1))), ReleaseOutcome::Released(held.clone()));
    assert_eq!(release(store, "/a", Some(&party(1))), ReleaseOutcome::NotLocked);
    acquire(store, &held);
    assert_eq!(release(store, "/a", None), ReleaseOutcome::Released(held));
    assert_eq!(store.counts().locks, 0);
}

fn locks_are_listed_by_path(store: &mut dyn Store) {
    let label = Party::Label("bot".into());
    for (path, holder) in
        [("/b", &label), ("/a/x", &Party::Cli), ("/a", &label), ("/\u{e4}", &party(1))]
    {
        acquire(store, &lock(path, holder.clone(), Seq(1)));
    }
    let paths: Vec<String> =
        store.locks().unwrap().iter().map(|lock| lock.path.to_string()).collect();
    assert_eq!(paths, ["/a", "/a/x", "/b", "/\u{e4}"]);
    assert_eq!(store.lock_counts().unwrap(), [(party(1), 1), (Party::Cli, 1), (label, 2)]);
}

fn locks_expire_in_order(store: &mut dyn Store) {
    assert_eq!(store.next_lock_expiry().unwrap(), None);
    for (path, ms) in [("/c", 10), ("/a", 30), ("/b", 10), ("/d", 20)] {
        acquire(store, &Lock { expires_at: at(ms), ..lock(path, party(1), Seq(1)) });
    }
    assert_eq!(store.next_lock_expiry().unwrap(), Some(at(10)));
    let expire = |store: &mut dyn Store, now, limit| -> Vec<String> {
        let locks = turn(store, |store| store.expire_locks(now, limit).unwrap());
        locks.iter().map(|lock| lock.path.to_string()).collect()
    };
    assert_eq!(expire(store, at(9), 10), [""; 0]);
    assert_eq!(expire(store, at(20), 2), ["/b", "/c"]);
    assert_eq!(expire(store, at(20), 2), ["/d"]);
    assert_eq!(store.next_lock_expiry().unwrap(), Some(at(30)));
    assert_eq!(store.counts().locks, 1);
}

fn a_holder_loses_all_its_locks(store: &mut dyn Store) {
    for (path, n) in [("/c", 1), ("/a", 1), ("/b", 2)] {
        acquire(store, &lock(path, party(n), Seq(1)));
    }
    let locks = turn(store, |store| store.release_locks_of(&party(1)).unwrap());
    let paths: Vec<&str> = locks.iter().map(|lock| &*lock.path).collect();
    assert_eq!(paths, ["/a", "/c"]);
    turn(store, |store| {
        assert_eq!(store.release_locks_of(&party(1)).unwrap(), []);
        assert!(!store.turn_wrote());
    });
    assert_eq!(store.lock_counts().unwrap(), [(party(2), 1)]);
}
