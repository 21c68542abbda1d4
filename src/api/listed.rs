//! The things that stand in the lists of replies: peers, messages, state entries, locks, events.

use serde::{Deserialize, Serialize};

use crate::model::{
    Event, Handle, Lock, MachineName, Message, MessageId, MessageKind, Party, PeerId, PeerRecord,
    RepoHash, SentStatus, Seq, Stage, StateEntry, Timestamp, Way,
};

/// How a listed peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerStatus {
    /// Its heartbeats come.
    Active,
    /// They do not come any more; it can still be written to.
    Stale,
    /// Its server is gone while its agent goes on; what is sent to it waits.
    Away,
    /// It has left.
    Left,
}

/// A peer as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerInfo {
    /// Its id.
    pub id: PeerId,
    /// Its name.
    pub name: Box<str>,
    /// Its process, as it says.
    pub pid: u32,
    /// Its project.
    pub project_path: Box<str>,
    /// Root of its git work tree.
    pub git_root: Option<Box<str>>,
    /// Branch checked out there.
    pub git_branch: Option<Box<str>>,
    /// Which agent it is.
    pub agent_type: Box<str>,
    /// What it works on.
    pub summary: Option<Box<str>>,
    /// Where it takes pushes.
    pub uds_path: Option<Box<str>>,
    /// When it came.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub last_heartbeat: Timestamp,
    /// Whether that is fresh.
    pub status: PeerStatus,
    /// The machine that it runs on, as soon as there is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<MachineName>,
    /// Locks it holds.
    #[serde(default)]
    pub locks: u64,
    /// How it can be told.
    pub reach: Box<str>,
    /// When it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_at: Option<Timestamp>,
    /// Messages that it has not read; told to who asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<u64>,
    /// Whether its agent is in a turn, as far as hooks tell: none if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<bool>,
    /// The agent's process; told to who asks by session or process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_pid: Option<u32>,
    /// The agent's session; told to who asks by session or process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Box<str>>,
}

impl PeerInfo {
    /// `record` with what only the running mesh knows.
    #[must_use]
    pub fn new(
        record: &PeerRecord,
        status: PeerStatus,
        last_heartbeat: Timestamp,
        locks: u64,
        reach: &str,
    ) -> Self {
        Self {
            id: record.id,
            name: record.name.clone(),
            pid: record.pid,
            project_path: record.project_path.clone(),
            git_root: record.git_root.clone(),
            git_branch: record.git_branch.clone(),
            agent_type: record.agent_type.clone(),
            summary: record.summary.clone(),
            uds_path: record.uds_path.clone(),
            started_at: record.started_at,
            last_heartbeat,
            status,
            host: record.host,
            locks,
            reach: reach.into(),
            left_at: record.left_at,
            unread: None,
            busy: None,
            agent_pid: None,
            session_id: None,
        }
    }

    /// As it is shown on other machines: where its socket is means nothing there.
    #[must_use]
    pub fn from_afar(self) -> Self {
        Self { uds_path: None, agent_pid: None, session_id: None, ..self }
    }

    /// With the agent's process and session.
    #[must_use]
    pub fn with_agent(self, record: &PeerRecord) -> Self {
        let (agent_pid, session_id) = (record.agent_pid, record.session_id.clone());
        Self { agent_pid, session_id, ..self }
    }
}

/// A message as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageInfo {
    /// Its id.
    pub id: MessageId,
    /// Its short name.
    pub handle: Handle,
    /// Who sent it.
    pub from_peer: Party,
    /// The sender's name then.
    pub from_name: Box<str>,
    /// Which agent the sender is, as long as it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_agent: Option<Box<str>>,
    /// To whom; null for a broadcast.
    pub to_peer: Option<Party>,
    /// The name in whose mailbox it is: it is for whoever has that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_name: Option<Box<str>>,
    /// The group that it was sent to, if it is a broadcast but not to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_group: Option<Box<str>>,
    /// What kind of text.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// The text.
    pub payload: Box<str>,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Whether it was confirmed (a broadcast in `sent`: by everyone).
    pub delivered: bool,
    /// When it was confirmed.
    #[serde(default)]
    pub delivered_at: Option<Timestamp>,
    /// When it was handed to a queue of the agent's own, unless more is known since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// The way by which it was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_by: Option<Way>,
    /// What has become of it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_status: Option<SentStatus>,
    /// When the agent was told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notified_at: Option<Timestamp>,
    /// The way by which it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notified_by: Option<Way>,
    /// When it was fetched.
    pub read_at: Option<Timestamp>,
    /// In `sent`, unless it is a broadcast: how far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// In `sent`: since when it is known that nobody will read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undeliverable_at: Option<Timestamp>,
    /// In `sent`, for a broadcast: to how many it went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u32>,
    /// In `sent`, for a broadcast: how many have confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_count: Option<u32>,
    /// In `sent`, for a broadcast: with how many it stands in a queue of the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_count: Option<u32>,
    /// In `sent`, for a broadcast: to how many agents it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notified_count: Option<u32>,
    /// In `sent`, for a broadcast: how many have fetched it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_count: Option<u32>,
    /// Its place in the sequence.
    pub seq: Seq,
}

impl MessageInfo {
    /// As it stands in its sender's list.
    #[must_use]
    pub fn sent(message: Message) -> Self {
        let stage = message.reached.is_none().then(|| message.stage());
        Self { stage, ..message.into() }
    }

    /// The same, if it is known since `at` that its recipient is gone for good.
    #[must_use]
    pub fn undeliverable(self, at: Timestamp) -> Self {
        Self { stage: Some(Stage::Undeliverable), undeliverable_at: Some(at), ..self }
    }
}

impl From<Message> for MessageInfo {
    fn from(message: Message) -> Self {
        let reached = message.reached;
        let proven = message.told.filter(|told| told.is_proven());
        // What is read needs no queue any more.
        let sent = message.told.filter(|told| !told.is_proven() && message.read_at.is_none());
        Self {
            id: message.id,
            handle: message.id.handle(),
            from_peer: message.from,
            from_name: message.from_name,
            from_agent: None,
            to_peer: message.to,
            to_name: message.to_name,
            to_group: message.to_group,
            kind: message.kind,
            payload: message.payload,
            reply_to: message.reply_to,
            created_at: message.created_at,
            delivered: match reached {
                Some(reached) => reached.delivered == reached.recipients,
                None => message.delivered_at.is_some(),
            },
            delivered_at: message.delivered_at,
            sent_at: sent.map(|sent| sent.at),
            sent_by: sent.map(|sent| sent.by),
            sent_status: sent.and_then(|sent| sent.how.status()),
            notified_at: proven.map(|told| told.at),
            notified_by: proven.map(|told| told.by),
            read_at: message.read_at,
            stage: None,
            undeliverable_at: None,
            recipients: reached.map(|reached| reached.recipients),
            delivered_count: reached.map(|reached| reached.delivered),
            sent_count: reached.map(|reached| reached.sent),
            notified_count: reached.map(|reached| reached.notified),
            read_count: reached.map(|reached| reached.read),
            seq: message.seq,
        }
    }
}

/// A state entry as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateInfo {
    /// Its key.
    pub key: Box<str>,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its value.
    pub value: Box<str>,
    /// Who set it.
    pub updated_by: Party,
    /// When.
    pub updated_at: Timestamp,
    /// For `ifVersion`.
    pub version: Seq,
    /// When it goes away by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl StateInfo {
    /// The entry, which goes away by itself at that time.
    pub(crate) fn new(entry: StateEntry, expires_at: Option<Timestamp>) -> Self {
        Self {
            key: entry.key,
            namespace: entry.namespace,
            value: entry.value,
            updated_by: entry.updated_by,
            updated_at: entry.updated_at,
            version: entry.version,
            expires_at,
        }
    }
}

/// A lock as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockInfo {
    /// The file.
    pub file_path: Box<str>,
    /// Who holds it.
    pub locked_by: Party,
    /// The holder's name.
    pub locked_by_name: Box<str>,
    /// Since when.
    pub locked_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// Why.
    pub reason: Option<Box<str>>,
    /// Grows with each holder.
    pub fence: Seq,
    /// Whether others may hold it, too, as long as they share it.
    #[serde(default)]
    pub shared: bool,
    /// Whether `filePath` is a pattern.
    #[serde(default)]
    pub pattern: bool,
    /// The machine that the path is on, as soon as there is more than one; not for a path with `repo:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<MachineName>,
    /// The repository whose working trees are all meant; only for a path with `repo:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_id: Option<Box<str>>,
    /// What that repository has in common with its clones elsewhere, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_hash: Option<RepoHash>,
    /// How many requests stand in the queue that this lock is in the way of.
    #[serde(default)]
    pub waiting: u64,
}

impl LockInfo {
    /// Whether it is for all working trees of its repository.
    #[must_use]
    pub fn is_repo_wide(&self) -> bool {
        self.repo_id.is_some() || self.repo_hash.is_some()
    }

    /// The lock, which is held until then and for which so many wait.
    pub(crate) fn new(lock: Lock, expires_at: Timestamp, waiting: u64) -> Self {
        let (repo_id, repo_hash) =
            if lock.is_repo_wide() { (lock.repo_id, lock.repo_hash) } else { (None, None) };
        Self {
            file_path: lock.path,
            locked_by: lock.holder,
            locked_by_name: lock.holder_name,
            locked_at: lock.locked_at,
            expires_at,
            reason: lock.reason,
            fence: lock.fence,
            shared: lock.shared,
            pattern: lock.pattern,
            host: None,
            repo_id,
            repo_hash,
            waiting,
        }
    }
}

/// An event as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventInfo {
    /// Its id.
    pub id: MessageId,
    /// Built in, or a custom one.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// A JSON document, as a string.
    pub payload: Box<str>,
    /// Who caused it.
    pub emitted_by: Option<Party>,
    /// When.
    pub created_at: Timestamp,
    /// Its place in the sequence.
    pub seq: Seq,
}

impl From<Event> for EventInfo {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            kind: event.kind,
            payload: event.payload,
            emitted_by: event.emitted_by,
            created_at: event.created_at,
            seq: event.seq,
        }
    }
}

/// A subagent that has said that it edits a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubagentEdit {
    /// Which file.
    pub file_path: Box<str>,
    /// The agent's id of it.
    pub subagent: Box<str>,
    /// How long ago it said so, ms.
    pub ms_ago: u64,
}
