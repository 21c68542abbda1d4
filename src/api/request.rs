//! Requests: what may be asked of the broker. Each field is declared here, once: its name on the wire,
//! and its rule, by which the broker reads it and clients write it. What no field can say by itself is
//! in `decode.rs`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::declare::{
    Flat, FlatIf, IfAny, Need, Object, Or, Part, Rule, Unsaid, action, parts, requests, wire_name,
};
use super::decode::{Action, Document, EntryAfter, OrAllNamespaces};
use super::endpoint::Endpoint;
use super::fields::{Fields, Flag, Kind};
use super::kinds::{
    AGENT_PIDS, CLAIM_WAIT, EVENT_TYPE, FILE_PATHS, FILTER, ID, KEY, KIND, LIMIT, MACHINE,
    MARK_IDS, MESSAGE, MINUTES, MOMENT, NAMESPACE, PATH, PAYLOAD, PEER_IDS, PID, PREFIX, PROOF,
    REASON, REPO_HASH, SENT_STATUS, SEQ, SINCE, SUBSCRIBED, SUMMARY, TAG, THREAD, TIME, TO,
    TTL_MINUTES, TTL_SECONDS, TYPES, VALUE, WAIT, WAY, WHO,
};
use super::refusal::Refusal;
use crate::model::{
    Handle, MachineName, MessageId, MessageKind, MessageRef, Moment, PeerId, RepoHash, SentStatus,
    Seq, Timestamp, Way, words,
};

parts! {
    /// Comes in or comes back: `POST /register`.
    #[derive(Default)]
    pub struct Register {
        /// For display only.
        pid: u32 = Need(PID),
        /// Absolute path of the project.
        project_path "projectPath": Box<str> = Need(PATH),
        /// Wished name; none or `auto` for one made by the mesh. If it is taken, it gets a number.
        name: Option<Box<str>> = WHO,
        /// The form of a name.
        agent_type "agentType": Option<Box<str>> = WHO,
        /// Root of the git work tree.
        git_root "gitRoot": Option<Box<str>> = PATH,
        /// Branch checked out there.
        git_branch "gitBranch": Option<Box<str>> = TAG,
        /// The git common directory.
        repo_id "repoId": Option<Box<str>> = PATH,
        /// What that repository has in common with its clones elsewhere.
        repo_hash "repoHash": Option<RepoHash> = REPO_HASH,
        /// Socket on which it takes pushes.
        uds_path "udsPath": Option<Box<str>> = PATH,
        /// What it works on.
        summary: Option<Box<str>> = SUMMARY,
        /// How its agent can be told.
        reach: Option<Box<str>> = WHO,
        /// The agent's session.
        session_id "sessionId": Option<Box<str>> = TAG,
        /// The agent's process.
        agent_pid "agentPid": Option<u32> = PID,
        /// Only its own token speaks for it.
        private: bool = Or(Flag, bool::default),
        /// It confirms message frames.
        acks: bool = Or(Flag, bool::default),
        /// Refused if the name is taken, rather than given another with a number.
        exclusive: bool = IfAny(Flag),
        /// The id to come back under; needs that peer's token.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// What the broker has found out; never on the wire.
        facts: ProcessFacts = Unsaid,
    }

    /// Asks who is here: `POST /peers`.
    #[derive(Default)]
    pub struct ListPeers {
        /// Among whom.
        scope: Scope = Flat,
        /// All but this one.
        exclude_id "excludeId": Option<Box<str>> = WHO,
        /// Stale ones too.
        include_stale "includeStale": bool = Or(Flag, bool::default),
        /// Only that of this agent session.
        session_id "sessionId": Option<Box<str>> = TAG,
        /// Only those of one of these agent processes.
        agent_pids "agentPids": Vec<u32> = IfAny(AGENT_PIDS),
        /// With what is known of their agents, as it is told to who asks for one of these.
        agents: bool = IfAny(Flag),
        /// Those with these ids, whether they are here or have left, and no others.
        ids: Vec<PeerId> = IfAny(PEER_IDS),
        /// Those that have left, too, as far as they are known.
        include_departed "includeDeparted": bool = IfAny(Flag),
        /// With how many messages each has not read.
        unread: bool = IfAny(Flag),
    }

    /// Sends a message: `POST /send`.
    #[derive(Default)]
    pub struct SendMessage {
        /// Who sends it; with a peer token that peer by default.
        from_peer "fromPeer": Option<Box<str>> = WHO,
        /// To whom: a peer, `cli`, or a group (`all`, `repo`, `directory`, `#topic`).
        to_peer "toPeer": Box<str> = Need(TO),
        /// The text, 1 byte to 64 KiB.
        payload: Box<str> = Need(PAYLOAD),
        /// What kind of text.
        kind "type": MessageKind = Or(KIND, MessageKind::default),
        /// The message it answers.
        reply_to "replyTo": Option<MessageRef> = MESSAGE,
        /// The client's own id of this sending: sending it again returns the first answer.
        id: Option<Uuid> = ID,
        /// Where the sender is, for a message to its directory or repository. Of a peer it is known.
        place: Place = Flat,
    }

    /// Where a sender is that is no peer.
    #[derive(Default)]
    pub struct Place {
        /// Absolute path of the project.
        project_path "projectPath": Option<Box<str>> = PATH,
        /// The repository.
        git: GitPlace = Flat,
    }

    /// A repository, as whoever works in it names it.
    #[derive(Default)]
    pub struct GitPlace {
        /// Root of the git work tree.
        git_root "gitRoot": Option<Box<str>> = PATH,
        /// The git common directory.
        repo_id "repoId": Option<Box<str>> = PATH,
        /// What that repository has in common with its clones elsewhere.
        repo_hash "repoHash": Option<RepoHash> = REPO_HASH,
    }

    /// Fetches messages: `POST /messages`.
    #[derive(Default)]
    pub struct Fetch {
        /// Whose; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// Which.
        filter: Filter = Or(FILTER, Filter::default),
        /// Only those from (with `sent`: to) this one.
        from: Option<Box<str>> = WHO,
        /// 1 to 1,000; default 20.
        limit: Option<u32> = LIMIT,
        /// Do not mark read.
        peek: bool = Or(Flag, bool::default),
        /// Only those before this sequence number.
        before: Option<Seq> = SEQ,
        /// Only those after this sequence number.
        after: Option<Seq> = SEQ,
        /// Hold the answer until there is something, at most so many seconds.
        wait: u64 = IfAny(WAIT),
    }

    /// Reads messages of anyone to anyone, the newest first: `POST /history`, for the person. A request
    /// looks at a part of all messages; its answer says where to go on.
    #[derive(Default)]
    pub struct History {
        /// Only those from or to this one, by its name then or its id; of broadcasts to it those that
        /// it got while it is here, or the group of this name.
        with: Option<Box<str>> = TO,
        /// Only those with this text, in upper or lower case.
        text: Option<Box<str>> = PAYLOAD,
        /// Only these, and those that answer one of them, directly or through others; with `after`.
        thread: Vec<MessageId> = IfAny(THREAD),
        /// Only those stored after this time.
        since: Option<Timestamp> = TIME,
        /// Only those before this sequence number.
        before: Option<Seq> = SEQ,
        /// Only those after this sequence number, the oldest first.
        after: Option<Seq> = SEQ,
        /// 1 to 1,000; default 50.
        limit: Option<u32> = LIMIT,
    }

    /// Fetches unread messages to tell the agent of, by one way: `POST /messages` with `claim`.
    /// They are given to no other way for [`crate::limits::CLAIM_TIME`], unless the claim is
    /// renewed, or until they are marked.
    pub struct Claim {
        /// Whose messages; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// How the agent will be told.
        by "claim": Way = Need(WAY),
        /// 1 to 1,000; default 20.
        limit: Option<u32> = LIMIT,
        /// Hold the answer until something may be told, at most so many seconds.
        wait: u64 = IfAny(CLAIM_WAIT),
        /// Where in the agent's turn it is asked, by a hook.
        moment: Option<Moment> = MOMENT,
        /// With a prompt: the messages that it is made of, and that have thereby come to the agent.
        proof: Vec<Handle> = IfAny(PROOF),
    }

    /// Sets a state entry.
    pub struct SetState {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// Default `default`.
        namespace: Box<str> = NAMESPACE,
        /// The key.
        key: Box<str> = Need(KEY),
        /// The value, at most 64 KiB.
        value: Box<str> = Need(VALUE),
        /// Only if the entry has this version (0: only if there is none).
        if_version "ifVersion": Option<Seq> = SEQ,
        /// It goes away after so many seconds.
        ttl_seconds "ttlSeconds": Option<u64> = TTL_SECONDS,
    }

    /// Which files a lock is about.
    #[derive(Default)]
    pub struct LockPath {
        /// A file, a directory (`src/`), a pattern (`src/**`), or one of these relative to the repository
        /// (`repo:src/a.rs`).
        file_path "filePath": Box<str> = Need(PATH),
        /// It is a file, whatever characters it has.
        exact: bool = IfAny(Flag),
        /// The repository it is in; that of the peer by default.
        git: GitPlace = Flat,
    }

    /// Takes or renews a lock.
    #[derive(Default)]
    pub struct LockFile {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// Which files.
        path: LockPath = Flat,
        /// To read only: others may share it.
        shared: bool = IfAny(Flag),
        /// Why.
        reason: Option<Box<str>> = REASON,
        /// For how long, 1 to 1,440.
        ttl_minutes "ttlMinutes": Option<u32> = TTL_MINUTES,
        /// Take it from whoever has it; needs a reason.
        steal: bool = IfAny(Flag),
        /// Stand in the queue for it, at most so many seconds.
        wait: u64 = IfAny(WAIT),
        /// The client's own id of its place in the queue: asking again with it within
        /// [`crate::limits::LOCK_PLACE_KEPT`] after the time was over keeps the place.
        place: Option<Uuid> = ID,
    }

    /// Several paths, each read as [`LockPath`] reads one.
    #[derive(Default)]
    pub struct LockPaths {
        /// 1 to [`crate::limits::LOCK_FILES_MAX`].
        file_paths "filePaths": Vec<Box<str>> = Need(FILE_PATHS),
        /// They are files, whatever characters they have.
        exact: bool = IfAny(Flag),
        /// The repository they are in; that of the peer by default.
        git: GitPlace = Flat,
    }

    /// Takes or renews the locks of all files of an edit, or of none.
    #[derive(Default)]
    pub struct LockFiles {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// Which files.
        paths: LockPaths = Flat,
        /// To read only: others may share them.
        shared: bool = IfAny(Flag),
        /// Why.
        reason: Option<Box<str>> = REASON,
        /// For how long, 1 to 1,440.
        ttl_minutes "ttlMinutes": Option<u32> = TTL_MINUTES,
        /// Which of the peer's subagents is about to edit them.
        subagent: Option<Box<str>> = TAG,
    }

    /// Reads events.
    #[derive(Default)]
    pub struct ReadEvents {
        /// Only these types, or `prefix.*`; empty for all.
        types: Vec<Box<str>> = IfAny(TYPES),
        /// Only those created after this time.
        since: Option<Timestamp> = SINCE,
        /// Only those after this sequence number.
        after: Option<Seq> = SEQ,
        /// 1 to 1,000; default 50.
        limit: Option<u32> = LIMIT,
        /// Hold the answer until there is something, at most so many seconds.
        wait: u64 = IfAny(WAIT),
    }
}

requests! {
    /// `GET /health`
    Health => Health;

    /// `GET /status`
    Status => Status;

    /// `POST /register`
    Register(peer: Box<Register>) => Register;

    /// `POST /unregister`
    Unregister {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// The session may go on without it and come back: away, if its agent's process lives.
        away: bool = IfAny(Flag),
    } => Unregister;

    /// `POST /heartbeat`
    Heartbeat {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// The branch checked out now.
        git_branch "gitBranch": Option<Box<str>> = TAG,
        /// The session that the agent is in now: it may have begun another, or gone back to one.
        session_id "sessionId": Option<Box<str>> = TAG,
    } => Heartbeat;

    /// `POST /peers`
    Peers(list: ListPeers) => Peers;

    /// `POST /summary`
    Summary {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// What it works on; empty to clear.
        summary: Box<str> = Need(SUMMARY),
    } => Summary;

    /// `POST /rename`
    Rename {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// What it is called from now on.
        name: Box<str> = Need(WHO),
    } => Rename;

    /// `POST /send`
    Send(message: SendMessage) => Send;

    /// `POST /history` with `message`: one message, with those that it answers.
    FindMessage {
        /// The message.
        message: MessageRef = Need(MESSAGE),
    } => History with "message";

    /// `POST /history`
    History(history: History) => History;

    /// `POST /messages` with `markRead`
    MarkRead {
        /// Whose; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// At most 1,000.
        ids "markRead": Vec<MessageId> = Need(MARK_IDS),
        /// How the agent got them: its notification, too, where there was none.
        way: Option<Way> = WAY,
        /// Only those under this claim, which ends with that.
        claim_id "claimId": Option<Uuid> = ID,
    } => Messages with "markRead";

    /// `POST /messages` with `markNotified`
    MarkNotified {
        /// Whose; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// At most 1,000.
        ids "markNotified": Vec<MessageId> = Need(MARK_IDS),
        /// How the agent was told.
        way: Way = Need(WAY),
        /// Only those under this claim, which ends with that.
        claim_id "claimId": Option<Uuid> = ID,
    } => Messages with "markNotified";

    /// `POST /messages` with `markSent`
    MarkSent {
        /// Whose; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// At most 1,000.
        ids "markSent": Vec<MessageId> = Need(MARK_IDS),
        /// To which queue they were handed.
        way: Way = Need(WAY),
        /// What became of them there.
        status: SentStatus = Need(SENT_STATUS),
        /// The whole text of each is in there.
        whole: bool = IfAny(Flag),
        /// Only those under this claim, which ends with that.
        claim_id "claimId": Option<Uuid> = ID,
    } => Messages with "markSent";

    /// `POST /messages` with `claim`
    Claim(claim: Claim) => Messages with "claim";

    /// `POST /messages` with `renew`
    RenewClaim {
        /// Whose; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// The claim.
        claim_id "renew": Uuid = Need(ID),
    } => Messages with "renew";

    /// `POST /messages` with `release`
    ReleaseClaim {
        /// Whose; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// The claim.
        claim_id "release": Uuid = Need(ID),
    } => Messages with "release";

    /// `POST /messages`
    Fetch(fetch: Fetch) => Messages;

    /// `POST /state`, `get`
    GetState {
        /// Default `default`.
        namespace: Box<str> = NAMESPACE,
        /// The key.
        key: Box<str> = Need(KEY),
    } => State "get";

    /// `POST /state`, `set`
    SetState(entry: SetState) => State "set";

    /// `POST /state`, `list`
    ListState {
        /// Default `default`; none for all of them, in order.
        namespace: Option<Box<str>> = OrAllNamespaces,
        /// Only keys that begin so.
        prefix: Option<Box<str>> = PREFIX,
        /// With all namespaces: only entries after this one, by its namespace and its key.
        after: Option<[Box<str>; 2]> = EntryAfter,
        /// 1 to 1,000; without it 1,000, as far as they fit an answer.
        limit: Option<u32> = LIMIT,
    } => State "list";

    /// `POST /state`, `delete`
    DeleteState {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// Default `default`.
        namespace: Box<str> = NAMESPACE,
        /// The key.
        key: Box<str> = Need(KEY),
        /// Only if the entry has this version.
        if_version "ifVersion": Option<Seq> = SEQ,
    } => State "delete";

    /// `POST /lock`, `lock` with `filePaths`
    LockFiles(lock: LockFiles) => Lock "lock" with "filePaths";

    /// `POST /lock`, `lock`
    Lock(lock: LockFile) => Lock "lock";

    /// `POST /lock`, `unlock`
    Unlock {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// Which files, as they were locked.
        path: LockPath = Flat,
        /// Anyone's lock; broker token only.
        force: bool = Or(Flag, bool::default),
    } => Lock "unlock";

    /// `POST /lock`, `query` with `filePaths`
    QueryFiles {
        /// To which project relative paths belong.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// Those that overlap with any of these.
        paths: LockPaths = Flat,
    } => Lock "query" with "filePaths";

    /// `POST /lock`, `query`
    QueryLocks {
        /// To which project a relative path belongs.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// Those that overlap with this, or all.
        path: Option<LockPath> = FlatIf("filePath"),
    } => Lock "query";

    /// `POST /events`, `read`
    ReadEvents(read: ReadEvents) => Events "read";

    /// `POST /events`, `subscribe`
    Subscribe {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// Types, `prefix.*` or `*`.
        types: Vec<Box<str>> = Or(SUBSCRIBED, Vec::new),
    } => Events "subscribe";

    /// `POST /events`, `unsubscribe`
    Unsubscribe {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
    } => Events "unsubscribe";

    /// `POST /events`, `emit`
    Emit {
        /// Who; with a peer token that peer by default.
        peer_id "peerId": Option<Box<str>> = WHO,
        /// A name that is none of the mesh's own types.
        kind "type": Box<str> = Need(EVENT_TYPE),
        /// A JSON document.
        payload: Box<str> = Document,
        /// The client's own id of this event: emitting it again returns the first answer.
        id: Option<Uuid> = ID,
    } => Events "emit";

    /// `POST /machines`, `list`
    ListMachines => Machines "list";

    /// `POST /machines`, `invite`: lets one more machine join.
    Invite {
        /// What it will be called; none for what it calls itself.
        name: Option<MachineName> = MACHINE,
        /// For how long, 1 to 1,440; default 15.
        minutes: Option<u32> = MINUTES,
    } => Machines "invite";

    /// `POST /machines`, `remove`: ends the peers of a machine and never lets it in again.
    RemoveMachine {
        /// The machine.
        name: MachineName = Need(MACHINE),
    } => Machines "remove";

    /// `POST /machines`, `leave`: what serves this machine is to be a broker of its own again.
    LeaveHub {} => Machines "leave";

    /// `POST /page`: a new token for the page; the one before ends.
    OpenPage => Page;

    /// `POST /reload`: what is stored in the data directory of helpers is looked at anew.
    Reload => Reload;

    /// `POST /shutdown`
    Shutdown => Shutdown;
}

/// What a broker finds out of the processes of a peer that registers, since what a peer says of
/// itself proves nothing. Whatever could not be told is not so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessFacts {
    /// When the agent's process that it names started.
    #[serde(skip)]
    pub agent_start: Option<Box<str>>,
    /// The process behind its socket descends from that process.
    pub descends: bool,
    /// The server of the peer that it might continue is gone.
    pub former_gone: bool,
    /// The agent's process of that peer has ended.
    pub former_ended: bool,
}

/// Which peers are meant: `scope` of `POST /peers`, with what it compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Those of one repository, wherever it is cloned; something of it is given.
    Repo(GitPlace),
}

words! {
    /// Which messages are meant.
    #[derive(Default)]
    Filter {
        /// The oldest that were not read.
        #[default]
        Unread = "unread",
        /// The newest, read or not.
        All = "all",
        /// The newest that were sent.
        Sent = "sent",
    }
}

impl Fetch {
    /// Rows when the request does not say.
    pub const DEFAULT_LIMIT: u32 = 20;
}

impl History {
    /// Messages when the request does not say.
    pub const DEFAULT_LIMIT: u32 = 50;
}

impl Claim {
    /// A claim for this way, with defaults for everything else.
    #[must_use]
    pub fn new(by: Way) -> Self {
        Self { peer_id: None, by, limit: None, wait: 0, moment: None, proof: Vec::new() }
    }
}

impl LockPath {
    /// Only the path `text`.
    #[must_use]
    pub fn of(text: impl Into<Box<str>>) -> Self {
        Self { file_path: text.into(), ..Self::default() }
    }
}

impl LockPaths {
    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = LockPath> {
        self.file_paths.iter().map(|path| LockPath {
            file_path: path.clone(),
            exact: self.exact,
            git: self.git.clone(),
        })
    }
}

impl ReadEvents {
    /// Rows when the request does not say.
    pub const DEFAULT_LIMIT: u32 = 50;
}
