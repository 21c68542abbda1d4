//! Replies with several parts, as the broker writes and its clients read them.

use serde::{Deserialize, Serialize};

use super::machines::{HubInfo, MachineInfo};
use super::reply::{LockInfo, PeerInfo, StateInfo};
use super::subagent::SubagentEdit;
use crate::model::{MessageId, Seq};

/// Answer to `POST /heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatReply {
    /// Messages waiting.
    pub unread: u64,
    /// The session of the peer's agent, as it or a hook has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Box<str>>,
}

/// Answer to `POST /peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeersReply {
    /// By name.
    pub peers: Vec<PeerInfo>,
    /// Those that did not fit the answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remaining: u64,
    /// With scope `machine`: how many more there are on other machines.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub elsewhere: u64,
}

/// Answer to `POST /machines`, `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachinesReply {
    /// `broker`, `hub` or `client`.
    pub role: Box<str>,
    /// Those that have joined, by name.
    #[serde(default)]
    pub machines: Vec<MachineInfo>,
    /// Of a client: its hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubInfo>,
    /// Of a hub: the address and port at which it takes other machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<Box<str>>,
}

/// Answer to `POST /state`, `get` and `set`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryReply {
    /// That of the entry; empty from a broker of an earlier version.
    #[serde(default)]
    pub namespace: Box<str>,
    /// Null if there is none.
    pub entry: Option<StateInfo>,
    /// There is none, but one of this key in the namespace `default`.
    #[serde(default, rename = "inDefault", skip_serializing_if = "std::ops::Not::not")]
    pub in_default: bool,
}

/// Answer to `POST /state`, `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntriesReply {
    /// That of the entries, unless they are of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Box<str>>,
    /// By namespace and key.
    pub entries: Vec<StateInfo>,
    /// Those that did not fit the answer (0 or 1: 1 stands for one or more).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remaining: u64,
}

/// Answer to `POST /state`, `delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedReply {
    /// That of the entry; empty from a broker of an earlier version.
    #[serde(default)]
    pub namespace: Box<str>,
    /// Whether there was one.
    pub deleted: bool,
}

/// Answer to `POST /lock`, `lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockReply {
    /// The lock.
    pub lock: LockInfo,
    /// Names of those from whom it was taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stolen_from: Vec<Box<str>>,
}

/// Answer to `POST /lock`, `lock` with `filePaths`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedAllReply {
    /// In the order in which they were asked for, as far as they fit the answer.
    pub locks: Vec<LockInfo>,
    /// Other subagents of the peer that are at one of the files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subagents: Vec<SubagentEdit>,
}

/// Answer to `POST /lock`, `query`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocksReply {
    /// By path.
    pub locks: Vec<LockInfo>,
    /// Those that did not fit the answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remaining: u64,
}

/// Answer to `POST /events`, `emit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmittedReply {
    /// The event.
    pub event_id: MessageId,
    /// Its place in the sequence.
    pub seq: Seq,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;

    use super::super::machines::Invited;
    use super::super::reply::{Claimed, Reply};
    use super::super::sent::Sent;
    use super::*;
    use crate::model::{MachineId, MachineName, Party, RepoHash, Timestamp};

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
}
