//! Replies: what the broker answers when it says yes, and the things listed in them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::bodies::{
    DeletedReply, EmittedReply, EntriesReply, EntryReply, HeartbeatReply, LockReply,
    LockedAllReply, LocksReply, MachinesReply, PeersReply,
};
use super::heard::{AgentInfo, DampedInfo};
use super::machines::{HubInfo, Invited};
use super::page::PageOpened;
use super::recovery::Recovery;
use super::sent::Sent;
use crate::model::{
    Event, Handle, Lock, MachineName, Message, MessageId, MessageKind, Party, PeerId, PeerRecord,
    RepoHash, SentStatus, Seq, Stage, StateEntry, Timestamp, Way,
};

/// Answer to `GET /health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Version of the broker.
    pub version: Box<str>,
    /// Seconds since its start.
    pub uptime: u64,
    /// Random id of its data dir: whose broker it is. Other products have none.
    #[serde(default)]
    pub mesh: Option<Box<str>>,
    /// As what it serves: `broker`, `hub`, or `client` for the way to another machine's hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Box<str>>,
    /// Of a client: whether its hub is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<bool>,
}

/// Peers in `GET /status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerCounts {
    /// With a fresh heartbeat.
    pub active: u64,
    /// Present without one.
    pub stale: u64,
    /// Both.
    pub total: u64,
}

/// Messages in `GET /status`; a broadcast counts as one, and as undelivered or unread for as long
/// as one recipient has not got or read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageCounts {
    /// Stored.
    pub total: u64,
    /// Not confirmed.
    pub undelivered: u64,
    /// Not fetched.
    pub unread: u64,
}

/// The database in `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// Size of the database file, bytes.
    pub size_bytes: u64,
    /// Size of its write-ahead log and its journal, bytes.
    pub wal_size_bytes: u64,
    /// Where a damaged or foreign database was moved to, and why. Null once that file is removed.
    pub recovered_from: Option<Box<str>>,
    /// The same, part by part.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// What was full when something was to be written last; null once something could be.
    #[serde(default)]
    pub full: Option<Full>,
}

/// What is full, in `GET /status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Full {
    /// The disk.
    Disk,
    /// The database: it may not grow beyond [`crate::limits::DATABASE_BYTES_MAX`].
    Limit,
}

/// A number under one key, as `GET /status` has several.
macro_rules! count {
    ($(#[$doc:meta])* $name:ident, $(#[$field_doc:meta])* $field:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $(#[$field_doc])*
            pub $field: u64,
        }
    };
}
count!(/// Locks in `GET /status`.
    ActiveCount, /// Live ones.
    active);
count!(/// State in `GET /status`.
    EntryCount, /// Entries of all namespaces.
    entries);
count!(/// Events in `GET /status`.
    TotalCount, /// Kept ones.
    total);
count!(/// Push in `GET /status`.
    ConnectedCount, /// Live push connections.
    connected);

/// Answer to `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the broker.
    pub version: Box<str>,
    /// Seconds since its start.
    pub uptime: u64,
    /// Its process.
    pub pid: u32,
    /// Its HTTP port.
    pub port: u16,
    /// `broker`, `hub`, or `client` for the way to another machine's hub.
    pub role: Box<str>,
    /// What this machine is called in the mesh, as soon as there is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<MachineName>,
    /// Of a client: that hub. What follows is of its mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubInfo>,
    /// Peers.
    pub peers: PeerCounts,
    /// Messages.
    pub messages: MessageCounts,
    /// Locks.
    pub locks: ActiveCount,
    /// State.
    pub state: EntryCount,
    /// Events.
    pub events: TotalCount,
    /// Push connections.
    pub push: ConnectedCount,
    /// The database.
    pub db: DatabaseStatus,
    /// What was last heard of each kind of agent, by name.
    #[serde(default)]
    pub agents: Vec<AgentInfo>,
    /// Conversations that are damped; of very many some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damped: Vec<DampedInfo>,
}

/// Answer to `POST /register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The peer's id.
    pub peer_id: PeerId,
    /// The name it got.
    pub name: Box<str>,
    /// Its token. Left empty by the core when the caller came with it (a resume): only a hash of it
    /// is kept, so the shell puts back what it was given.
    pub peer_token: Box<str>,
    /// How often it should send a heartbeat, ms.
    pub heartbeat_ms: u64,
    /// It is a former peer again, because it is the same session of the same agent: with all that
    /// was that peer's, and with a new token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
}

/// Whether a peer's heartbeat is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerStatus {
    /// It is.
    Active,
    /// It is not, but the peer can still be written to.
    Stale,
    /// Its server is gone while its agent goes on; what is sent to it waits.
    Away,
    /// It is here no more.
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

    /// With which agent of the machine it is.
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
    /// When.
    #[serde(default)]
    pub delivered_at: Option<Timestamp>,
    /// When it was handed to a queue of the agent's own, unless more is known since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// To which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_by: Option<Way>,
    /// What has become of it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_status: Option<SentStatus>,
    /// When the agent was told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notified_at: Option<Timestamp>,
    /// How.
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

/// Answer to `POST /history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Oldest first, each as its sender is shown it.
    pub messages: Vec<MessageInfo>,
    /// Where to go on, as `before` or `after`; none at the end.
    #[serde(default)]
    pub next: Option<Seq>,
}

/// Answer to a claim of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claimed {
    /// Those to be told now, oldest first.
    pub messages: Vec<MessageInfo>,
    /// How many more unread and untold ones there are, counted to 100.
    pub remaining: u64,
    /// The claim under which they are; none without messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_id: Option<Uuid>,
    /// In how many ms it is worth asking again, if it is known that something may be told then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defer_ms: Option<u64>,
    /// Those that the proof has proven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proven: Vec<MessageId>,
}

/// Answer to a fetch of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// Oldest first.
    pub messages: Vec<MessageInfo>,
    /// How many more there are. Exact for `unread` without `from`; otherwise counted to 100.
    pub remaining: u64,
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

/// Answer to a read of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Oldest first.
    pub events: Vec<EventInfo>,
    /// The highest sequence number examined: where to go on.
    pub last_seq: Seq,
    /// The lowest one kept: a cursor before it has missed some.
    pub first_seq: Seq,
}

/// A yes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Reply {
    /// `GET /health`
    Health(Health),
    /// `GET /status`
    Status(Box<Status>),
    /// `POST /register`
    Registered(Registered),
    /// Done; there is nothing to tell.
    Done {},
    /// `POST /heartbeat`
    Heartbeat(HeartbeatReply),
    /// `POST /peers`
    Peers(PeersReply),
    /// `POST /send`
    Sent(Sent),
    /// `POST /messages`
    Messages(Messages),
    /// `POST /history`
    History(HistoryPage),
    /// `POST /messages` with `claim`
    Claimed(Claimed),
    /// `POST /messages` with `renew` or `release`
    Claim {
        /// How many messages are, or were, under it; 0 if it has ended.
        claimed: u64,
    },
    /// `POST /messages` with `markRead`, `markNotified` or `markSent`
    Marked {
        /// How many were not marked before.
        marked: u64,
    },
    /// `POST /state`, `get` and `set`
    Entry(EntryReply),
    /// `POST /state`, `list`
    Entries(EntriesReply),
    /// `POST /state`, `delete`
    Deleted(DeletedReply),
    /// `POST /lock`, `lock`
    Locked(LockReply),
    /// `POST /lock`, `lock` with `filePaths`
    LockedAll(LockedAllReply),
    /// `POST /lock`, `query`
    Locks(LocksReply),
    /// `POST /machines`, `list`
    Machines(MachinesReply),
    /// `POST /machines`, `invite`
    Invited(Invited),
    /// `POST /page`
    Page(PageOpened),
    /// `POST /events`, `read`
    Events(Events),
    /// `POST /events`, `subscribe` and `unsubscribe`
    Subscribed {
        /// The set that holds now.
        subscribed: Vec<Box<str>>,
    },
    /// `POST /events`, `emit`
    Emitted(EmittedReply),
}

impl Reply {
    /// Appends the body: `{"ok":true,...}`, or `{"status":"ok",...}` for health and status.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let start: &[u8] = match self {
            Self::Health(_) | Self::Status(_) => b"{\"status\":\"ok\"",
            _ => b"{\"ok\":true",
        };
        out.extend_from_slice(start);
        super::append_object(out, self);
    }
}

/// As many of a list as stay within an answer of so many bytes with their JSON.
pub(crate) fn fit<T: Serialize>(items: impl Iterator<Item = T>, bytes: usize) -> Vec<T> {
    let mut left = Budget::of(bytes);
    let mut scratch = Vec::new();
    let mut fits = |item: &T| {
        scratch.clear();
        serde_json::to_writer(&mut scratch, item).is_ok() && left.admits(scratch.len())
    };
    items.take_while(|item| fits(item)).collect()
}

/// What is left of an answer's size.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
}

impl Budget {
    /// That of an answer of so many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        // A kibibyte for what stands around the list.
        Self { bytes: bytes.saturating_sub(1024) }
    }

    /// Whether an item of so many bytes of JSON still fits; if so, they are taken off, and if not,
    /// nothing fits any more.
    pub(crate) fn admits(&mut self, size: usize) -> bool {
        let left = self.bytes.checked_sub(size + 1);
        self.bytes = left.unwrap_or(0);
        left.is_some()
    }
}

/// The most that a message takes in a list, bytes: its payload, and names, ids and times.
pub(crate) fn message_size(message: &Message) -> usize {
    json_len(&message.payload) + 1024
}

/// The most that a state entry takes in a list, bytes.
pub(crate) fn entry_size(entry: &StateEntry) -> usize {
    json_len(&entry.value) + json_len(&entry.key) + json_len(&entry.namespace) + 512
}

/// The most that an event takes in a list, bytes.
pub(crate) fn event_size(event: &Event) -> usize {
    json_len(&event.payload) + json_len(&event.kind) + 512
}

/// The length of a text as a JSON string, quotes included, as `serde_json` writes it (RFC 8259, 7).
fn json_len(text: &str) -> usize {
    let escaped: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
            0..0x20 => 5,
            _ => 0,
        })
        .sum();
    text.len() + escaped + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::REPLY_BYTES_MAX;

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
        let none =
            Reply::Entry(EntryReply { namespace: "n".into(), entry: None, in_default: false });
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
        let nobody = Sent::Broadcast {
            message_id: None,
            recipients: 0,
            delivered: 0,
            pushed: 0,
            damped: None,
        };
        assert!(text(&Reply::Sent(nobody)).contains(r#""messageIds":[]"#));
        let health = Health { version: "1".into(), uptime: 3, ..Health::default() };
        assert!(text(&Reply::Health(health)).starts_with(r#"{"status":"ok","version""#));
        let status = text(&Reply::Status(Box::default()));
        assert!(status.contains(r#""db":{"sizeBytes":0,"walSizeBytes":0,"recoveredFrom":null,"recovery":null,"full":null}"#));
        assert!(
            !text(&Reply::Peers(PeersReply { peers: vec![], remaining: 0, elsewhere: 0 }))
                .contains("remaining")
        );
    }

    #[test]
    fn lists_stop_at_the_size_of_an_answer() {
        let item = "\u{1}".repeat(100_000); // six bytes each, escaped
        let items = fit(std::iter::repeat_n(item, 10), REPLY_BYTES_MAX);
        assert_eq!(items.len(), 6);
        assert!(serde_json::to_vec(&items).unwrap().len() <= REPLY_BYTES_MAX);
        assert_eq!(fit(["a"; 3].into_iter(), REPLY_BYTES_MAX).len(), 3);
    }

    #[test]
    fn the_length_of_a_text_as_json_is_known_without_writing_it() {
        let all: String = (0..0x80u8).map(char::from).chain("é…🦀".chars()).collect();
        assert_eq!(json_len(&all), serde_json::to_string(&all).unwrap().len());
    }
}
