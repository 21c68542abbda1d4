//! What has expired is gone for everyone who looks, however far its removal has come: more expires
//! at once here than one turn removes, or the turn removes nothing.

use std::time::Duration;

use crate::alone::store_with_locks;
use slm_mesh::api::{
    Code, DeletedReply, Endpoint, EntriesReply, EntryReply, LockInfo, LockReply, LocksReply, Reply,
    Request,
};
use slm_mesh::limits::LOCKS_MAX;
use slm_mesh::mesh::{Caller, Entropy, Failure, Mesh, Outcome, Settings};
use slm_mesh::model::{MeshTime, Now, Seq, Timestamp};
use slm_mesh::store::memory::MemoryStore;
use slm_mesh::store::{EventQuery, Store};

/// More than a turn removes, by far.
const MANY: usize = 1000;
const WALL: Timestamp = Timestamp(1_800_000_000_000);

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// A mesh, and what time it is.
struct Test {
    mesh: Mesh<MemoryStore>,
    now: Now,
    /// Turns remove nothing at their beginning.
    bare: bool,
}

impl Test {
    fn new(bare: bool) -> Self {
        Self::over(MemoryStore::new(), bare)
    }

    fn over(store: MemoryStore, bare: bool) -> Self {
        let settings = Settings::default();
        let now = Now { wall: WALL, ..Now::default() };
        let mesh = Mesh::new(store, Box::new(Zeros), settings, now).unwrap();
        Self { mesh, now, bare }
    }

    /// Asks all of these in one turn.
    fn turn(&mut self, asked: &[(Endpoint, String)]) -> Vec<Result<Reply, Code>> {
        if self.bare {
            self.mesh.begin_bare_turn(self.now).unwrap();
        } else {
            self.mesh.begin_turn(self.now).unwrap();
        }
        let mut answers = Vec::new();
        for (endpoint, body) in asked {
            let request = Request::decode(*endpoint, body.as_bytes()).unwrap();
            answers.push(match self.mesh.handle(Caller::Broker, &request, self.now) {
                Ok(Outcome::Reply(reply)) => Ok(reply),
                Ok(Outcome::Hold { .. }) => panic!("nothing here waits"),
                Err(Failure::Refused(refusal)) => Err(refusal.code),
                Err(Failure::Store(error)) => panic!("{error}"),
            });
        }
        self.mesh.commit_turn().unwrap();
        self.mesh.take_effects();
        answers
    }

    fn pass(&mut self, ms: u64) {
        self.now.wall = self.now.wall.plus_ms(i64::try_from(ms).unwrap());
        self.now.mono = self.now.mono.plus(Duration::from_millis(ms));
    }

    fn events(&mut self, kind: &str) -> Vec<serde_json::Value> {
        let types = [kind.into()];
        let query = EventQuery { types: &types, since: None, after: Some(Seq(0)), limit: u32::MAX };
        let page = self.mesh.store_mut().events(&query, &mut |_| true).unwrap();
        page.events.iter().map(|event| serde_json::from_str(&event.payload).unwrap()).collect()
    }
}

fn state(action: &str, more: &str) -> (Endpoint, String) {
    (Endpoint::State, format!(r#"{{"action":"{action}","peerId":"cli"{more}}}"#))
}

fn lock(who: &str, path: &str, more: &str) -> (Endpoint, String) {
    let body =
        format!(r#"{{"action":"lock","peerId":"{who}","filePath":"{path}","ttlMinutes":1{more}}}"#);
    (Endpoint::Lock, body)
}

fn fence(answer: &Result<Reply, Code>) -> Seq {
    match answer {
        Ok(Reply::Locked(LockReply { lock, .. })) => lock.fence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn state_that_has_expired_is_not_there() {
    for bare in [false, true] {
        let mut test = Test::new(bare);
        let set =
            |n: usize| state("set", &format!(r#","key":"k{n:04}","value":"old","ttlSeconds":1"#));
        test.turn(&(0..MANY).map(set).collect::<Vec<_>>());
        test.turn(&[state("set", r#","key":"stays","value":"here""#)]);
        test.pass(1000);
        let last = format!(r#","key":"k{:04}""#, MANY - 1);
        let before = format!(r#","key":"k{:04}""#, MANY - 2);
        let answers = test.turn(&[
            state("get", &last),
            state("list", ""),
            state("delete", &last),
            state("set", &format!(r#"{before},"value":"new","ifVersion":0"#)),
            state("get", &before),
            (Endpoint::Status, String::new()),
        ]);
        assert!(
            matches!(&answers[0], Ok(Reply::Entry(EntryReply { entry: None, .. }))),
            "{answers:?}"
        );
        let Ok(Reply::Entries(EntriesReply { entries, remaining: 0, .. })) = &answers[1] else {
            panic!()
        };
        assert_eq!(entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["stays"]);
        assert!(
            matches!(&answers[2], Ok(Reply::Deleted(DeletedReply { deleted: false, .. }))),
            "{answers:?}"
        );
        let Ok(Reply::Entry(EntryReply { entry: Some(set), .. })) = &answers[3] else {
            panic!("{answers:?}")
        };
        let Ok(Reply::Entry(EntryReply { entry: Some(got), .. })) = &answers[4] else {
            panic!("{answers:?}")
        };
        assert_eq!((set, &*got.value), (got, "new"));
        let Ok(Reply::Status(status)) = &answers[5] else { panic!("{answers:?}") };
        assert_eq!(status.state.entries, 2);
        // Whoever follows is told in order: the old value went before the new one came.
        let key = format!("k{:04}", MANY - 2);
        let changes = test.events("state_changed").into_iter().filter(|it| it["key"] == key);
        let told: Vec<_> = changes.map(|it| it["value"].clone()).collect();
        assert_eq!(told, ["old".into(), serde_json::Value::Null, "new".into()]);
        // The rest goes in the turns that follow, each told once.
        test.bare = false;
        for _ in 0..MANY {
            test.turn(&[]);
        }
        let deleted = test.events("state_changed").into_iter().filter(|it| it["deleted"] == true);
        assert_eq!(deleted.count(), MANY);
        assert_eq!(test.mesh.store_mut().counts().state_entries, 2);
        test.mesh.check_invariants(test.now);
    }
}

#[test]
fn a_lock_that_has_expired_is_in_nobodys_way() {
    for bare in [false, true] {
        let mut test = Test::new(bare);
        let taken =
            test.turn(&(0..MANY).map(|n| lock("a", &format!("/l{n:04}"), "")).collect::<Vec<_>>());
        test.pass(60_000);
        let path = |n: usize| format!("/l{:04}", MANY - n);
        let query = r#"{"action":"query"}"#.to_owned();
        let answers = test.turn(&[
            (Endpoint::Lock, query.clone()),
            lock("b", &path(1), ""),
            lock("a", &path(2), ""),
            (
                Endpoint::Lock,
                format!(r#"{{"action":"unlock","peerId":"a","filePath":"{}"}}"#, path(3)),
            ),
            lock("b", &path(4), r#","steal":true,"reason":"mine""#),
            (Endpoint::Lock, query),
            (Endpoint::Status, String::new()),
            lock("c", "/*", ""),
        ]);
        let locks = |answer: &Result<Reply, Code>| -> Vec<LockInfo> {
            let Ok(Reply::Locks(LocksReply { locks, remaining: 0 })) = answer else {
                panic!("{answer:?}")
            };
            locks.clone()
        };
        assert_eq!(locks(&answers[0]), []);
        assert_eq!(answers[3], Err(Code::LockNotFound));
        let Ok(Reply::Locked(LockReply { stolen_from, .. })) = &answers[4] else {
            panic!("{answers:?}")
        };
        assert_eq!(stolen_from, &Vec::<Box<str>>::new(), "nobody had it");
        assert!(fence(&answers[2]) > fence(&taken[MANY - 1]), "it is another holding");
        let held = locks(&answers[5]);
        assert_eq!(held.iter().map(|it| &*it.file_path).collect::<Vec<_>>(), [4, 2, 1].map(path));
        let Ok(Reply::Status(status)) = &answers[6] else { panic!("{answers:?}") };
        assert_eq!(status.locks.active, 3);
        assert_eq!(answers[7], Err(Code::Locked), "by those that are live");
        // First it is told that it was free, then who has it.
        let told = test.events("file_unlocked").into_iter().find(|it| it["filePath"] == path(1));
        assert_eq!(told.unwrap()["reason"], "expired");
        test.bare = false;
        for _ in 0..MANY {
            test.turn(&[]);
        }
        let told = test.events("file_unlocked");
        assert_eq!(told.len(), MANY);
        assert!(told.iter().all(|it| it["reason"] == "expired"));
        test.mesh.check_invariants(test.now);
    }
}

#[test]
fn what_has_expired_takes_no_place() {
    let store = store_with_locks(LOCKS_MAX, MeshTime(WALL.0));
    let mut test = Test::over(store, true);
    fence(&test.turn(&[lock("a", "/another", "")])[0]);
}
