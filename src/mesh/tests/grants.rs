//! Which answers tell the holder of a lock that it has it, so that it keeps the lock if the answer
//! that gave it is lost.

use super::*;

/// Makes bob wait for `/f`, and gives it to him: the fence.
fn granted(mesh: &mut Mesh<MemoryStore>) -> Seq {
    let now = after(0);
    let lock = r#"{"action":"lock","peerId":"script","filePath":"/f"}"#;
    ask(mesh, Endpoint::Lock, lock, now);
    let wait = r#"{"action":"lock","peerId":"bob","filePath":"/f","wait":50}"#;
    let wait = Request::decode(Endpoint::Lock, wait.as_bytes()).unwrap();
    mesh.begin_turn(now).unwrap();
    let Ok(Outcome::Hold { on, until }) = mesh.handle(Caller::Broker, &wait, now) else { panic!() };
    mesh.commit_turn().unwrap();
    let unlock = r#"{"action":"unlock","peerId":"script","filePath":"/f"}"#;
    decide(mesh, Endpoint::Lock, unlock, now);
    assert_eq!(mesh.next_waiter().map(Interest::Lock), Some(on));
    let held = AskedAgain { on, until, hung_up: false };
    let given = mesh.handle_held(Caller::Broker, &wait, held, now);
    let Ok(Outcome::Reply(Reply::Locked(LockReply { lock, .. }))) = given else {
        panic!("{given:?}")
    };
    mesh.commit_turn().unwrap();
    lock.fence
}

#[test]
fn a_list_tells_of_a_lock_whom_it_is_for() {
    let mut mesh = mesh(0);
    let carol = r#"{"pid":2,"projectPath":"/w","name":"carol"}"#;
    ask(&mut mesh, Endpoint::Register, carol, after(0));
    let peer = |name: &str| Caller::Peer(mesh.find_peer(name).unwrap().unwrap());
    let (bob, carol) = (peer("bob"), peer("carol"));
    let file = |who: &str| json!({"action": "query", "peerId": who, "filePath": "/f"});
    let files = |who: &str| json!({"action": "query", "peerId": who, "filePaths": ["/f"]});
    let all = |who: &str| json!({"action": "query", "peerId": who});
    let looks = [
        // Its own token, whatever it looks at and for whom.
        (bob, file("bob"), true),
        (bob, files("carol"), true),
        (bob, all("bob"), true),
        // In its name, with the token of those who act for many.
        (Caller::Broker, file("bob"), true),
        (Caller::Broker, files("bob"), true),
        // Others: that they ask what a path means to bob tells him nothing.
        (carol, file("carol"), false),
        (carol, file("bob"), false),
        (carol, files("bob"), false),
        (carol, all("bob"), false),
        (Caller::Broker, file("cli"), false),
        // A list of all is for the command line.
        (Caller::Broker, all("bob"), false),
    ];
    for (caller, body, is_told) in looks {
        let now = after(0);
        let fence = granted(&mut mesh);
        let look = Request::decode(Endpoint::Lock, body.to_string().as_bytes()).unwrap();
        mesh.begin_turn(now).unwrap();
        let found = mesh.handle(caller, &look, now);
        let Ok(Outcome::Reply(Reply::Locks(LocksReply { locks, .. }))) = found else {
            panic!("{found:?}")
        };
        assert_eq!(locks[0].fence, fence);
        mesh.commit_turn().unwrap();

        mesh.begin_turn(now).unwrap();
        mesh.grant_lost(fence, Lost::Unwritten, now).unwrap();
        mesh.commit_turn().unwrap();
        let is_kept = mesh.store_mut().locks().unwrap().iter().any(|lock| lock.fence == fence);
        assert_eq!(is_kept, is_told, "{caller:?} {body}");
        if is_kept {
            let unlock = r#"{"action":"unlock","peerId":"bob","filePath":"/f"}"#;
            ask(&mut mesh, Endpoint::Lock, unlock, now);
        }
    }
}
