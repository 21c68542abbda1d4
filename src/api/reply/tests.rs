use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::*;
use crate::model::{MachineId, MachineName, Party, RepoHash, Timestamp};

fn text(reply: &Reply) -> String {
    let mut out = b"before ".to_vec();
    reply.write_to(&mut out);
    String::from_utf8(out.split_off(7)).unwrap()
}

#[test]
fn replies_begin_with_ok() {
    assert_eq!(text(&Reply::Done {}), r#"{"ok":true}"#);
    let beat = Reply::Heartbeat(HeartbeatReply { unread: 2, session_id: None });
    assert_eq!(text(&beat), r#"{"ok":true,"unread":2}"#);
    let beat = Reply::Heartbeat(HeartbeatReply { unread: 2, session_id: Some("s1".into()) });
    assert_eq!(text(&beat), r#"{"ok":true,"unread":2,"sessionId":"s1"}"#);
    let none = Reply::Entry(EntryReply { namespace: "n".into(), entry: None, in_default: false });
    assert_eq!(text(&none), r#"{"ok":true,"namespace":"n","entry":null}"#);
    let id = MessageId::new(Seq(1), [0; 16]);
    assert_eq!(
        text(&Reply::Sent(Sent::Direct {
            message_id: id,
            queued: false,
            delivered: true,
            pushed: false,
            damped: None
        })),
        format!(
            r#"{{"ok":true,"messageId":"{id}","handle":"{}","delivered":true,"pushed":false}}"#,
            id.handle()
        )
    );
    let nobody =
        Sent::Broadcast { message_id: None, recipients: 0, delivered: 0, pushed: 0, damped: None };
    assert!(text(&Reply::Sent(nobody)).contains(r#""messageIds":[]"#));
    let health = Health { version: "1".into(), uptime: 3, ..Health::default() };
    assert!(text(&Reply::Health(health)).starts_with(r#"{"status":"ok","version""#));
    let status = text(&Reply::Status(Box::default()));
    assert!(status.contains(
        r#""db":{"sizeBytes":0,"walSizeBytes":0,"recoveredFrom":null,"recovery":null,"full":null}"#
    ));
    assert!(
        !text(&Reply::Peers(PeersReply { peers: vec![], remaining: 0, elsewhere: 0 }))
            .contains("remaining")
    );
}

/// Clients read of `reply` what the broker writes.
fn is_read<T: DeserializeOwned + Clone + Debug + PartialEq>(body: &T, reply: fn(T) -> Reply) {
    let mut written = Vec::new();
    reply(body.clone()).write_to(&mut written);
    assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), *body);
}

#[test]
fn clients_read_of_messages_what_the_broker_writes() {
    let id = MessageId::new(Seq(7), [3; 16]);
    let damped = Some("too often".into());
    for (queued, delivered, damped) in [(false, true, damped), (true, false, None)] {
        let message_id = id;
        let sent = Sent::Direct { message_id, queued, delivered, pushed: false, damped };
        is_read(&sent, Reply::Sent);
    }
    for (message_id, recipients) in [(Some(id), 3), (None, 0)] {
        let (delivered, pushed, damped) = (recipients / 3, recipients / 2, None);
        let sent = Sent::Broadcast { message_id, recipients, delivered, pushed, damped };
        is_read(&sent, Reply::Sent);
    }
    assert!(serde_json::from_str::<Sent>(r#"{"delivered":1,"pushed":true}"#).is_err());
    let claimed = Claimed {
        remaining: 1,
        claim_id: Some(uuid::Uuid::from_bytes([1; 16])),
        defer_ms: Some(5),
        proven: vec![id],
        ..Claimed::default()
    };
    is_read(&claimed, Reply::Claimed);
    is_read(&EmittedReply { event_id: id, seq: Seq(7) }, Reply::Emitted);
    is_read(&HeartbeatReply { unread: 3, session_id: Some("s".into()) }, Reply::Heartbeat);
    is_read(&PeersReply { peers: vec![], remaining: 0, elsewhere: 2 }, Reply::Peers);
}

#[test]
fn clients_read_of_entries_what_the_broker_writes() {
    let entry = StateInfo {
        key: "k".into(),
        namespace: "n".into(),
        value: "v".into(),
        updated_by: Party::Cli,
        updated_at: Timestamp(1),
        version: Seq(2),
        expires_at: None,
    };
    for (entry, in_default) in [(Some(entry.clone()), false), (None, true)] {
        is_read(&EntryReply { namespace: "n".into(), entry, in_default }, Reply::Entry);
    }
    let entries = vec![entry];
    is_read(&EntriesReply { namespace: None, entries, remaining: 1 }, Reply::Entries);
    is_read(&DeletedReply { namespace: "n".into(), deleted: true }, Reply::Deleted);
    // A broker of an earlier version does not tell the namespace.
    let entry: EntryReply = serde_json::from_str(r#"{"ok":true,"entry":null}"#).unwrap();
    assert!(entry.namespace.is_empty() && entry.entry.is_none());
}

#[test]
fn clients_read_of_locks_what_the_broker_writes() {
    let lock = LockInfo {
        file_path: "/f".into(),
        locked_by: Party::Cli,
        locked_by_name: "cli".into(),
        locked_at: Timestamp(1),
        expires_at: Timestamp(2),
        reason: None,
        fence: Seq(3),
        shared: true,
        pattern: true,
        host: None,
        repo_id: Some("/r/.git".into()),
        repo_hash: Some(RepoHash([4; 32])),
        waiting: 2,
    };
    let edit = SubagentEdit { file_path: "/f".into(), subagent: "s".into(), ms_ago: 3 };
    for (stolen_from, subagents) in [(vec!["a".into()], vec![edit]), (vec![], vec![])] {
        is_read(&LockReply { lock: lock.clone(), stolen_from }, Reply::Locked);
        is_read(&LockedAllReply { locks: vec![lock.clone()], subagents }, Reply::LockedAll);
    }
    is_read(&LocksReply { locks: vec![lock], remaining: 0 }, Reply::Locks);
}

#[test]
fn clients_read_of_machines_what_the_broker_writes() {
    let machine = MachineInfo {
        name: MachineName::new("laptop").unwrap(),
        id: MachineId([1; 32]),
        address: "192.0.2.1".into(),
        since: Timestamp(1),
        last_seen: Timestamp(2),
        connected: true,
        peers: 3,
    };
    let hub = HubInfo {
        id: Some(MachineId([2; 32])),
        name: Some("desk".into()),
        own_name: Some("laptop".into()),
        address: Some("192.0.2.5:7900".into()),
        connected: false,
        since: Some(Timestamp(3)),
        problem: Some("it does not answer".into()),
        refused: true,
    };
    for hub in [None, Some(hub)] {
        let listen = hub.is_none().then(|| "0.0.0.0:7900".into());
        let machines = vec![machine.clone()];
        is_read(&MachinesReply { role: "hub".into(), machines, hub, listen }, Reply::Machines);
    }
    let invited = Invited {
        code: "c".into(),
        token: [0; 16],
        expires_at: Timestamp(5),
        addresses: vec!["192.0.2.1:7899".into()],
    };
    is_read(&invited, Reply::Invited);
}
