//! Replies as clients read them: the forms that [`super::Reply`] writes as parts of its own.

use serde::Deserialize;

use super::machines::{HubInfo, MachineInfo};
use super::reply::{LockInfo, PeerInfo, StateInfo};
use super::subagent::SubagentEdit;
use crate::model::{MessageId, Seq};

/// Answer to `POST /peers`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PeersReply {
    /// By name.
    pub peers: Vec<PeerInfo>,
    /// Those that did not fit the answer.
    #[serde(default)]
    pub remaining: u64,
    /// With scope `machine`: how many more there are on other machines.
    #[serde(default)]
    pub elsewhere: u64,
}

/// Answer to `POST /machines`, `list`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MachinesReply {
    /// `broker`, `hub` or `client`.
    pub role: Box<str>,
    /// Those that have joined, by name.
    #[serde(default)]
    pub machines: Vec<MachineInfo>,
    /// Of a client: its hub.
    #[serde(default)]
    pub hub: Option<HubInfo>,
    /// Of a hub: the address and port at which it takes other machines.
    #[serde(default)]
    pub listen: Option<Box<str>>,
}

/// Answer to `POST /messages` with `renew` or `release`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ClaimReply {
    /// How many messages are, or were, under it; 0 if it has ended.
    pub claimed: u64,
}

/// Answer to `POST /messages` with `markRead`, `markNotified` or `markSent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct MarkedReply {
    /// How many were not marked before.
    pub marked: u64,
}

/// Answer to `POST /state`, `get` and `set`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EntryReply {
    /// None if there is none.
    pub entry: Option<StateInfo>,
    /// There is none, but one of this key in the namespace `default`.
    #[serde(default, rename = "inDefault")]
    pub in_default: bool,
}

/// Answer to `POST /state`, `list`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EntriesReply {
    /// By namespace and key.
    pub entries: Vec<StateInfo>,
    /// Whether some did not fit the answer.
    #[serde(default)]
    pub remaining: u64,
}

/// Answer to `POST /state`, `delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct DeletedReply {
    /// Whether there was one.
    pub deleted: bool,
}

/// Answer to `POST /lock`, `lock`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LockReply {
    /// The lock.
    pub lock: LockInfo,
    /// Names of those from whom it was taken.
    #[serde(default, rename = "stolenFrom")]
    pub stolen_from: Vec<Box<str>>,
}

/// Answer to `POST /lock`, `lock` with `filePaths`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LockedAllReply {
    /// In the order in which they were asked for.
    pub locks: Vec<LockInfo>,
    /// Other subagents of the peer that are at one of the files.
    #[serde(default)]
    pub subagents: Vec<SubagentEdit>,
}

/// Answer to `POST /lock`, `query`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LocksReply {
    /// By path.
    pub locks: Vec<LockInfo>,
    /// Those that did not fit the answer.
    #[serde(default)]
    pub remaining: u64,
}

/// Answer to `POST /events`, `emit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmittedReply {
    /// The event.
    pub event_id: MessageId,
    /// Its place in the sequence.
    pub seq: Seq,
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::super::machines::Invited;
    use super::super::reply::{Claimed, Reply};
    use super::super::sent::Sent;
    use super::*;
    use crate::model::{MachineId, MachineName, Party, RepoHash, Timestamp};

    fn read<T: DeserializeOwned>(reply: &Reply) -> T {
        let mut body = Vec::new();
        reply.write_to(&mut body);
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn clients_read_what_the_broker_writes() {
        let id = MessageId::new(Seq(7), [3; 16]);
        for sent in [
            Sent::Direct {
                message_id: id,
                queued: false,
                delivered: true,
                pushed: false,
                damped: Some("too often".into()),
            },
            Sent::Direct {
                message_id: id,
                queued: true,
                delivered: false,
                pushed: false,
                damped: None,
            },
            Sent::Broadcast {
                message_id: Some(id),
                recipients: 3,
                delivered: 1,
                pushed: 2,
                damped: None,
            },
            Sent::Broadcast {
                message_id: None,
                recipients: 0,
                delivered: 0,
                pushed: 0,
                damped: None,
            },
        ] {
            assert_eq!(read::<Sent>(&Reply::Sent(sent.clone())), sent);
        }
        assert!(serde_json::from_str::<Sent>(r#"{"delivered":1,"pushed":true}"#).is_err());

        let entry = StateInfo {
            key: "k".into(),
            namespace: "n".into(),
            value: "v".into(),
            updated_by: Party::Cli,
            updated_at: Timestamp(1),
            version: Seq(2),
            expires_at: None,
        };
        let found = |entry| Reply::Entry { namespace: "n".into(), entry, in_default: false };
        let reply = found(Some(entry.clone()));
        assert_eq!(read::<EntryReply>(&reply).entry.as_ref(), Some(&entry));
        assert_eq!(read::<EntryReply>(&found(None)).entry, None);
        let reply = Reply::Entries { namespace: None, entries: vec![entry.clone()], remaining: 1 };
        assert_eq!(
            read::<EntriesReply>(&reply),
            EntriesReply { entries: vec![entry], remaining: 1 }
        );
        assert_eq!(read::<MarkedReply>(&Reply::Marked { marked: 3 }), MarkedReply { marked: 3 });
        assert_eq!(read::<ClaimReply>(&Reply::Claim { claimed: 2 }), ClaimReply { claimed: 2 });
        let claimed = Claimed {
            remaining: 1,
            claim_id: Some(uuid::Uuid::from_bytes([1; 16])),
            defer_ms: Some(5),
            proven: vec![id],
            ..Claimed::default()
        };
        assert_eq!(read::<Claimed>(&Reply::Claimed(claimed.clone())), claimed);
        let deleted = Reply::Deleted { namespace: "n".into(), deleted: true };
        assert!(read::<DeletedReply>(&deleted).deleted);

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
        let reply = LockReply { lock: lock.clone(), stolen_from: vec!["a".into()] };
        let (lock_again, stolen_from) = (lock.clone(), reply.stolen_from.clone());
        assert_eq!(read::<LockReply>(&Reply::Locked { lock: lock_again, stolen_from }), reply);
        let edit = SubagentEdit { file_path: "/f".into(), subagent: "s".into(), ms_ago: 3 };
        let (locks, subagents) = (vec![lock.clone()], vec![edit]);
        let reply = Reply::LockedAll { locks: locks.clone(), subagents: subagents.clone() };
        assert_eq!(read::<LockedAllReply>(&reply), LockedAllReply { locks, subagents });
        let reply = Reply::Locks { locks: vec![lock.clone()], remaining: 0 };
        assert_eq!(read::<LocksReply>(&reply), LocksReply { locks: vec![lock], remaining: 0 });
        let reply = Reply::Peers { peers: vec![], remaining: 0, elsewhere: 2 };
        let peers = PeersReply { peers: vec![], remaining: 0, elsewhere: 2 };
        assert_eq!(read::<PeersReply>(&reply), peers);
        let reply = Reply::Emitted { event_id: id, seq: Seq(7) };
        assert_eq!(read::<EmittedReply>(&reply), EmittedReply { event_id: id, seq: Seq(7) });
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
        let (role, machines): (Box<str>, _) = ("hub".into(), vec![machine]);
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
            let (role, machines) = (role.clone(), machines.clone());
            let listen = hub.is_none().then(|| "0.0.0.0:7900".into());
            let reply = Reply::Machines {
                role: role.clone(),
                machines: machines.clone(),
                hub: hub.clone(),
                listen: listen.clone(),
            };
            let read = read::<MachinesReply>(&reply);
            assert_eq!(read, MachinesReply { role, machines, hub, listen });
        }
        let invited = Invited {
            code: "c".into(),
            token: [0; 16],
            expires_at: Timestamp(5),
            addresses: vec!["192.0.2.1:7899".into()],
        };
        assert_eq!(read::<Invited>(&Reply::Invited(invited.clone())), invited);
    }
}
