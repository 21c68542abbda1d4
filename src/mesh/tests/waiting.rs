//! Requests that wait for locks while something else changes.

use super::*;

fn lock(path: &str, who: &str, wait: u64) -> Request {
    let body = json!({"action": "lock", "peerId": who, "filePath": path, "wait": wait});
    Request::decode(Endpoint::Lock, body.to_string().as_bytes()).unwrap()
}

#[test]
fn whoever_works_elsewhere_by_now_gets_what_it_has_waited_for() {
    let mut mesh = mesh(0);
    let now = after(0);
    let ann = r#"{"pid":1,"projectPath":"/w","name":"ann"}"#;
    ask(&mut mesh, Endpoint::Register, ann, now);
    let peer = mesh.find_peer("ann").unwrap().unwrap();
    let token = Caller::Peer(peer);
    for path in ["/w/a.rs", "/x/a.rs"] {
        let body = json!({"action": "lock", "peerId": "script", "filePath": path});
        ask(&mut mesh, Endpoint::Lock, &body.to_string(), now);
    }
    let wait = lock("a.rs", "ann", 50);
    mesh.begin_turn(now).unwrap();
    let Ok(Outcome::Hold { on, until }) = mesh.handle(token, &wait, now) else { panic!() };
    mesh.commit_turn().unwrap();

    let moved = json!({"pid": 1, "projectPath": "/x", "name": "ann", "peerId": peer});
    let moved = moved.to_string();
    let moved = Request::decode(Endpoint::Register, moved.as_bytes()).unwrap();
    mesh.begin_turn(now).unwrap();
    let again = mesh.handle(token, &moved, now);
    assert!(again.is_ok(), "{again:?}");
    mesh.commit_turn().unwrap();

    let body = json!({"action": "unlock", "peerId": "script", "filePath": "/w/a.rs"});
    decide(&mut mesh, Endpoint::Lock, &body.to_string(), now);
    assert_eq!(mesh.next_waiter().map(Interest::Lock), Some(on));
    let held = AskedAgain { on, until, hung_up: false };
    let given = mesh.handle_held(token, &wait, held, now);
    let Ok(Outcome::Reply(Reply::Locked(LockReply { lock, .. }))) = given else {
        panic!("{given:?}")
    };
    assert_eq!(&*lock.file_path, "/w/a.rs");
    mesh.commit_turn().unwrap();
    mesh.check_invariants(now);
}
