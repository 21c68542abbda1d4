//! Requests: what may be asked of the broker, and how a client writes it. `decode.rs` is the way back.

use serde::Serialize;
use uuid::Uuid;

use super::endpoint::Endpoint;
use crate::model::{
    Handle, MachineName, MessageId, MessageKind, MessageRef, Moment, PeerId, RepoHash, SentStatus,
    Seq, Timestamp, Way,
};

/// Comes in or comes back: `POST /register`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// For display only.
    pub pid: u32,
    /// Absolute path of the project.
    pub project_path: Box<str>,
    /// Wished name; none or `auto` for one made by the mesh. If it is taken, it gets a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// The form of a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<Box<str>>,
    /// Root of the git work tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_root: Option<Box<str>>,
    /// Branch checked out there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_branch: Option<Box<str>>,
    /// The git common directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_id: Option<Box<str>>,
    /// What that repository has in common with its clones elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_hash: Option<RepoHash>,
    /// Socket on which it takes pushes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uds_path: Option<Box<str>>,
    /// What it works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Box<str>>,
    /// How its agent can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reach: Option<Box<str>>,
    /// The agent's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Box<str>>,
    /// The agent's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_pid: Option<u32>,
    /// Only its own token speaks for it.
    pub private: bool,
    /// It confirms message frames.
    pub acks: bool,
    /// Refused if the name is taken, rather than given another with a number.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// The id to come back under; needs that peer's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<Box<str>>,
    /// What the broker has found out; never on the wire.
    #[serde(skip)]
    pub facts: Facts,
}

/// What a broker finds out of the processes of a peer that registers, since what a peer says of
/// itself proves nothing. Whatever could not be told is not so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// When the agent's process that it names started.
    pub agent_start: Option<Box<str>>,
    /// The process behind its socket descends from that process.
    pub descends: bool,
    /// The server of the peer that it might continue is gone.
    pub former_gone: bool,
    /// The agent's process of that peer has ended.
    pub former_ended: bool,
}

/// Which peers are meant: `scope` of `POST /peers`, with what it compares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "scope", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Scope {
    /// All on the caller's machine.
    #[default]
    Machine,
    /// All on all machines.
    Mesh,
    /// Those of one project directory on the caller's machine.
    Directory {
        /// That directory.
        project_path: Box<str>,
    },
    /// Those of one repository, wherever it is cloned; at least one of the three is given.
    Repo {
        /// Root of a work tree.
        #[serde(skip_serializing_if = "Option::is_none")]
        git_root: Option<Box<str>>,
        /// The git common directory.
        #[serde(skip_serializing_if = "Option::is_none")]
        repo_id: Option<Box<str>>,
        /// What it has in common with its clones elsewhere.
        #[serde(skip_serializing_if = "Option::is_none")]
        repo_hash: Option<RepoHash>,
    },
}

/// Asks who is here: `POST /peers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "one for each field of the request")]
pub struct ListPeers {
    /// Among whom.
    #[serde(flatten)]
    pub scope: Scope,
    /// All but this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_id: Option<Box<str>>,
    /// Stale ones too.
    pub include_stale: bool,
    /// Only that of this agent session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Box<str>>,
    /// Only those of one of these agent processes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agent_pids: Vec<u32>,
    /// With what is known of their agents, as it is told to who asks for one of these.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub agents: bool,
    /// Those with these ids, whether they are here or have left, and no others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<PeerId>,
    /// Those that have left, too, as far as they are known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_departed: bool,
    /// With how many messages each has not read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
}

/// Sends a message: `POST /send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessage {
    /// Who sends it; with a peer token that peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_peer: Option<Box<str>>,
    /// To whom: a peer, `cli`, or a group (`all`, `repo`, `directory`, `#topic`).
    pub to_peer: Box<str>,
    /// The text, 1 byte to 64 KiB.
    pub payload: Box<str>,
    /// What kind of text.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageRef>,
    /// The client's own id of this sending: sending it again returns the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Where the sender is, for a message to its directory or repository. Of a peer it is known.
    #[serde(flatten)]
    pub place: Place,
}

/// Where someone is who is no peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Absolute path of the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_path: Option<Box<str>>,
    /// Root of the git work tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_root: Option<Box<str>>,
    /// The git common directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_id: Option<Box<str>>,
    /// What that repository has in common with its clones elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_hash: Option<RepoHash>,
}

/// Which messages are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The oldest that were not read.
    #[default]
    Unread,
    /// The newest, read or not.
    All,
    /// The newest that were sent.
    Sent,
}

/// Fetches messages: `POST /messages`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fetch {
    /// Whose; with a peer token that peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<Box<str>>,
    /// Which.
    pub filter: Filter,
    /// Only those from (with `sent`: to) this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Box<str>>,
    /// 1 to 1,000; default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Do not mark read.
    pub peek: bool,
    /// Only those before this sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Seq>,
    /// Only those after this sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Seq>,
    /// Hold the answer until there is something, at most so many seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait: u64,
}

impl Fetch {
    /// Rows when the request does not say.
    pub const DEFAULT_LIMIT: u32 = 20;
}

/// Reads messages of anyone to anyone, the newest first: `POST /history`, for the person. A request
/// looks at a part of all messages; its answer says where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Only those from or to this one, by its name then or its id; of broadcasts to it those that
    /// it got while it is here, or the group of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<Box<str>>,
    /// Only those with this text, in upper or lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Box<str>>,
    /// Only these, and those that answer one of them, directly or through others; with `after`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thread: Vec<MessageId>,
    /// Only those stored after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only those before this sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Seq>,
    /// Only those after this sequence number, the oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Seq>,
    /// 1 to 1,000; default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl History {
    /// Messages when the request does not say.
    pub const DEFAULT_LIMIT: u32 = 50;
}

/// Fetches unread messages to tell the agent of, by one way: `POST /messages` with `claim`. They are
/// given to no other way for [`crate::limits::CLAIM_TIME`], unless the claim is renewed, or until they
/// are marked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Whose messages; with a peer token that peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<Box<str>>,
    /// How the agent will be told.
    #[serde(rename = "claim")]
    pub by: Way,
    /// 1 to 1,000; default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Hold the answer until something may be told, at most so many seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait: u64,
    /// Where in the agent's turn it is asked, by a hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
    /// With a prompt: the messages that it is made of, which have come to the agent by that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proof: Vec<Handle>,
}

impl Claim {
    /// For this way, with nothing more to say.
    #[must_use]
    pub fn new(by: Way) -> Self {
        Self { peer_id: None, by, limit: None, wait: 0, moment: None, proof: Vec::new() }
    }
}

/// Sets a state entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetState {
    /// Who; with a peer token that peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<Box<str>>,
    /// Default `default`.
    pub namespace: Box<str>,
    /// The key.
    pub key: Box<str>,
    /// The value, at most 64 KiB.
    pub value: Box<str>,
    /// Only if the entry has this version (0: only if there is none).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_version: Option<Seq>,
    /// It goes away after so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// Which files a lock is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockPath {
    /// A file, a directory (`src/`), a pattern (`src/**`), or one of these relative to the repository
    /// (`repo:src/a.rs`).
    pub file_path: Box<str>,
    /// It is a file, whatever characters it has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    /// The repository it is in; that of the peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_id: Option<Box<str>>,
    /// What that repository has in common with its clones elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_hash: Option<RepoHash>,
    /// The root of the working tree it is in; that of the peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_root: Option<Box<str>>,
}

impl LockPath {
    /// What `text` says, with no more about it.
    #[must_use]
    pub fn of(text: impl Into<Box<str>>) -> Self {
        Self { file_path: text.into(), ..Self::default() }
    }
}

/// Takes or renews a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockFile {
    /// Who; with a peer token that peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<Box<str>>,
    /// Which files.
    #[serde(flatten)]
    pub path: LockPath,
    /// To read only: others may share it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
    /// For how long, 1 to 1,440.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_minutes: Option<u32>,
    /// Take it from whoever has it; needs a reason.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub steal: bool,
    /// Stand in the queue for it, at most so many seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait: u64,
    /// The client's own id of its place in the queue: asking again with it within
    /// [`crate::limits::LOCK_PLACE_KEPT`] after the time was over keeps the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Uuid>,
}

/// Several paths, each read as [`LockPath`] reads one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockPaths {
    /// 1 to [`crate::limits::LOCK_FILES_MAX`].
    pub file_paths: Vec<Box<str>>,
    /// They are files, whatever characters they have.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    /// The repository they are in; that of the peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_id: Option<Box<str>>,
    /// What that repository has in common with its clones elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_hash: Option<RepoHash>,
    /// The root of the working tree they are in; that of the peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_root: Option<Box<str>>,
}

impl LockPaths {
    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = LockPath> {
        self.file_paths.iter().map(|path| LockPath {
            file_path: path.clone(),
            exact: self.exact,
            repo_id: self.repo_id.clone(),
            repo_hash: self.repo_hash,
            git_root: self.git_root.clone(),
        })
    }
}

/// Takes or renews the locks of all files of an edit, or of none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockFiles {
    /// Who; with a peer token that peer by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<Box<str>>,
    /// Which files.
    #[serde(flatten)]
    pub paths: LockPaths,
    /// To read only: others may share them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Box<str>>,
    /// For how long, 1 to 1,440.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_minutes: Option<u32>,
    /// Which of the peer's subagents is about to edit them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subagent: Option<Box<str>>,
}

/// Reads events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadEvents {
    /// Only these types, or `prefix.*`; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<Box<str>>,
    /// Only those created after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only those after this sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Seq>,
    /// 1 to 1,000; default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Hold the answer until there is something, at most so many seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait: u64,
}

impl ReadEvents {
    /// Rows when the request does not say.
    pub const DEFAULT_LIMIT: u32 = 50;
}

/// A request, decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Request {
    /// `GET /health`
    #[serde(serialize_with = "nothing")]
    Health,
    /// `GET /status`
    #[serde(serialize_with = "nothing")]
    Status,
    /// `POST /register`
    Register(Box<Register>),
    /// `POST /unregister`
    Unregister {
        /// Who; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// The session may go on without it and come back: away, if its agent's process lives.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        away: bool,
    },
    /// `POST /heartbeat`
    Heartbeat {
        /// Who; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// The branch checked out now.
        #[serde(skip_serializing_if = "Option::is_none")]
        git_branch: Option<Box<str>>,
        /// The session that the agent is in now: it may have begun another, or gone back to one.
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<Box<str>>,
    },
    /// `POST /peers`
    Peers(ListPeers),
    /// `POST /summary`
    Summary {
        /// Who; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// What it works on; empty to clear.
        summary: Box<str>,
    },
    /// `POST /rename`
    Rename {
        /// Who; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// What it is called from now on.
        name: Box<str>,
    },
    /// `POST /send`
    Send(SendMessage),
    /// `POST /history`
    History(History),
    /// `POST /history` with `message`: one message, with those that it answers.
    FindMessage {
        /// Which.
        message: MessageRef,
    },
    /// `POST /messages`
    Fetch(Fetch),
    /// `POST /messages` with `markRead`
    MarkRead {
        /// Whose; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// At most 1,000.
        #[serde(rename = "markRead")]
        ids: Vec<MessageId>,
        /// How the agent got them: its notification, too, where there was none.
        #[serde(skip_serializing_if = "Option::is_none")]
        way: Option<Way>,
        /// Only those under this claim, which ends with that.
        #[serde(skip_serializing_if = "Option::is_none")]
        claim_id: Option<Uuid>,
    },
    /// `POST /messages` with `markNotified`
    MarkNotified {
        /// Whose; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// At most 1,000.
        #[serde(rename = "markNotified")]
        ids: Vec<MessageId>,
        /// How the agent was told.
        way: Way,
        /// Only those under this claim, which ends with that.
        #[serde(skip_serializing_if = "Option::is_none")]
        claim_id: Option<Uuid>,
    },
    /// `POST /messages` with `markSent`
    MarkSent {
        /// Whose; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// At most 1,000.
        #[serde(rename = "markSent")]
        ids: Vec<MessageId>,
        /// To which queue they were handed.
        way: Way,
        /// What became of them there.
        status: SentStatus,
        /// The whole text of each is in there.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        whole: bool,
        /// Only those under this claim, which ends with that.
        #[serde(skip_serializing_if = "Option::is_none")]
        claim_id: Option<Uuid>,
    },
    /// `POST /messages` with `claim`
    Claim(Claim),
    /// `POST /messages` with `renew`
    RenewClaim {
        /// Whose; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// Which claim.
        #[serde(rename = "renew")]
        claim_id: Uuid,
    },
    /// `POST /messages` with `release`
    ReleaseClaim {
        /// Whose; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// Which claim.
        #[serde(rename = "release")]
        claim_id: Uuid,
    },
    /// `POST /state`, `get`
    GetState {
        /// Default `default`.
        namespace: Box<str>,
        /// The key.
        key: Box<str>,
    },
    /// `POST /state`, `list`
    ListState {
        /// Default `default`; none for all of them, in order.
        #[serde(flatten, serialize_with = "or_all_namespaces")]
        namespace: Option<Box<str>>,
        /// Only keys that begin so.
        #[serde(skip_serializing_if = "Option::is_none")]
        prefix: Option<Box<str>>,
        /// With all namespaces: only entries after this one, by its namespace and its key.
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<[Box<str>; 2]>,
        /// 1 to 1,000; without it 1,000, as far as they fit an answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    /// `POST /state`, `set`
    SetState(SetState),
    /// `POST /state`, `delete`
    DeleteState {
        /// Who; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// Default `default`.
        namespace: Box<str>,
        /// The key.
        key: Box<str>,
        /// Only if the entry has this version.
        #[serde(skip_serializing_if = "Option::is_none")]
        if_version: Option<Seq>,
    },
    /// `POST /lock`, `lock`
    Lock(LockFile),
    /// `POST /lock`, `lock` with `filePaths`
    LockFiles(LockFiles),
    /// `POST /lock`, `unlock`
    Unlock {
        /// Who; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// Which files, as they were locked.
        #[serde(flatten)]
        path: LockPath,
        /// Anyone's lock; broker token only.
        force: bool,
    },
    /// `POST /lock`, `query`
    QueryLocks {
        /// To which project a relative path belongs.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// Those that overlap with this, or all.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        path: Option<LockPath>,
    },
    /// `POST /lock`, `query` with `filePaths`
    QueryFiles {
        /// To which project relative paths belong.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// Those that overlap with any of these.
        #[serde(flatten)]
        paths: LockPaths,
    },
    /// `POST /events`, `read`
    ReadEvents(ReadEvents),
    /// `POST /events`, `subscribe`
    Subscribe {
        /// Who; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// Types, `prefix.*` or `*`.
        types: Vec<Box<str>>,
    },
    /// `POST /events`, `unsubscribe`
    Unsubscribe {
        /// Who; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
    },
    /// `POST /events`, `emit`
    Emit {
        /// Who; with a peer token that peer by default.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer_id: Option<Box<str>>,
        /// A name that is none of the mesh's own types.
        #[serde(rename = "type")]
        kind: Box<str>,
        /// A JSON document.
        #[serde(serialize_with = "as_json")]
        payload: Box<str>,
        /// The client's own id of this event: emitting it again returns the first answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Uuid>,
    },
    /// `POST /machines`, `list`
    #[serde(serialize_with = "nothing")]
    ListMachines,
    /// `POST /machines`, `invite`: lets one more machine join.
    Invite {
        /// What it will be called; none for what it calls itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<MachineName>,
        /// For how long, 1 to 1,440; default 15.
        #[serde(skip_serializing_if = "Option::is_none")]
        minutes: Option<u32>,
    },
    /// `POST /machines`, `remove`: ends the peers of a machine and never lets it in again.
    RemoveMachine {
        /// Which.
        name: MachineName,
    },
    /// `POST /machines`, `leave`: what serves this machine is to be a broker of its own again.
    LeaveHub {},
    /// `POST /shutdown`
    #[serde(serialize_with = "nothing")]
    Shutdown,
}

impl Request {
    /// Where it is sent to.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::Health => Endpoint::Health,
            Self::Status => Endpoint::Status,
            Self::Register(_) => Endpoint::Register,
            Self::Unregister { .. } => Endpoint::Unregister,
            Self::Heartbeat { .. } => Endpoint::Heartbeat,
            Self::Peers(_) => Endpoint::Peers,
            Self::Summary { .. } => Endpoint::Summary,
            Self::Rename { .. } => Endpoint::Rename,
            Self::Send(_) => Endpoint::Send,
            Self::History(_) | Self::FindMessage { .. } => Endpoint::History,
            Self::Fetch(_)
            | Self::MarkRead { .. }
            | Self::MarkNotified { .. }
            | Self::MarkSent { .. }
            | Self::Claim(_)
            | Self::RenewClaim { .. }
            | Self::ReleaseClaim { .. } => Endpoint::Messages,
            Self::GetState { .. }
            | Self::ListState { .. }
            | Self::SetState(_)
            | Self::DeleteState { .. } => Endpoint::State,
            Self::Lock(_)
            | Self::LockFiles(_)
            | Self::Unlock { .. }
            | Self::QueryLocks { .. }
            | Self::QueryFiles { .. } => Endpoint::Lock,
            Self::ReadEvents(_)
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Emit { .. } => Endpoint::Events,
            Self::ListMachines
            | Self::Invite { .. }
            | Self::RemoveMachine { .. }
            | Self::LeaveHub {} => Endpoint::Machines,
            Self::Shutdown => Endpoint::Shutdown,
        }
    }

    /// The `action` of an endpoint that has several.
    fn action(&self) -> Option<&'static str> {
        Some(match self {
            Self::GetState { .. } => "get",
            Self::ListState { .. } | Self::ListMachines => "list",
            Self::SetState(_) => "set",
            Self::DeleteState { .. } => "delete",
            Self::Lock(_) | Self::LockFiles(_) => "lock",
            Self::Unlock { .. } => "unlock",
            Self::QueryLocks { .. } | Self::QueryFiles { .. } => "query",
            Self::ReadEvents(_) => "read",
            Self::Subscribe { .. } => "subscribe",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Emit { .. } => "emit",
            Self::Invite { .. } => "invite",
            Self::RemoveMachine { .. } => "remove",
            Self::LeaveHub {} => "leave",
            _ => return None,
        })
    }

    /// The body that [`Request::decode`] reads back, for clients.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        if let Some(action) = self.action() {
            out.extend_from_slice(b"{\"action\":\"");
            out.extend_from_slice(action.as_bytes());
            out.push(b'"');
        }
        super::append_object(&mut out, self);
        out
    }
}

/// A request that is its endpoint and no more.
fn nothing<S: serde::Serializer>(serializer: S) -> std::result::Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    serializer.serialize_map(Some(0))?.end()
}

/// The namespace of a list, or that all are meant.
#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn or_all_namespaces<S: serde::Serializer>(
    namespace: &Option<Box<str>>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = serializer.serialize_map(Some(1))?;
    match namespace {
        Some(namespace) => map.serialize_entry("namespace", namespace)?,
        None => map.serialize_entry("allNamespaces", &true)?,
    }
    map.end()
}

/// Writes a JSON document that is kept as text.
fn as_json<S: serde::Serializer>(
    text: &str,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serde_json::from_str::<&serde_json::value::RawValue>(text)
        .map_err(serde::ser::Error::custom)?
        .serialize(serializer)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
