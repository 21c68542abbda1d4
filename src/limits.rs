//! Every cap of the mesh in one place, with the relations between them asserted at compile time.
//!
//! A limit that a client can run into has an error of its own (see [`crate::api::Code`]).

use std::time::Duration;

/// One kibibyte.
const KIB: usize = 1024;
/// One mebibyte.
const MIB: usize = 1024 * KIB;

// --- HTTP ---------------------------------------------------------------------------------------

/// Longest request body, bytes.
pub const BODY_BYTES_MAX: usize = MIB;
/// Longest request to register, with its head, that is read from someone with an unknown token, bytes.
pub const REGISTER_BYTES_MAX: usize = 64 * KIB;
/// Longest request head (request line and headers), bytes.
pub const HEAD_BYTES_MAX: usize = 16 * KIB;
/// Most headers of one request.
pub const HEADERS_MAX: usize = 64;
/// Most empty lines before a request line.
pub const LEADING_BLANK_LINES_MAX: usize = 2;
/// Most of a request that waits to be complete, bytes: an in-buffer of this size holds any of them.
pub const REQUEST_BYTES_MAX: usize = 2 * LEADING_BLANK_LINES_MAX + HEAD_BYTES_MAX + BODY_BYTES_MAX;
/// Most interim (1xx) responses a client skips before the final one.
pub const INTERIM_RESPONSES_MAX: usize = 8;
/// Most bytes taken from a stream in one read.
pub const READ_BYTES_MAX: usize = 64 * KIB;
/// Memory of what all HTTP connections have buffered, MiB, when nothing else is set.
pub const CONNECTION_MIB_DEFAULT: u32 = 64;
/// Least that may be set: the longest answer must fit.
pub const CONNECTION_MIB_MIN: u32 = 16;
/// Most that may be set.
pub const CONNECTION_MIB_MAX: u32 = 4096;
/// Most HTTP connections at once, before what the descriptor limit leaves is counted.
pub const CONNECTIONS_MAX: usize = 1024;
/// Time a client has to send one request, from its first byte.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Time a connection may stay open without a request.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(300);
/// Time a client has to take its answer before the connection is dropped.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(10);
/// Time a client has to close after an answer behind which it still sends: closing at once could
/// destroy that answer on its way.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(1);
/// Answers waiting in one connection's out-buffer before no further request of it is read, bytes.
pub const RESPONSE_BACKLOG_BYTES: usize = 256 * KIB;
/// A list answer stops before it grows beyond this, bytes; `remaining` says what is left.
pub const REPLY_BYTES_MAX: usize = 4 * MIB;
/// Largest answer with a list for another machine: it takes its time on the way, and others wait behind
/// it.
pub const MACHINE_REPLY_BYTES_MAX: usize = 256 * KIB;

// --- Machines -----------------------------------------------------------------------------------

/// Most that is read of another machine before its connection is open, bytes: TLS and the head of the
/// upgrade together. A relay of this version sends some 1,000.
pub const MACHINE_HEAD_BYTES_MAX: usize = 8 * KIB;
/// Longest text between machines, bytes, however many fragments it comes in.
pub const MACHINE_TEXT_BYTES_MAX: usize = 8 * MIB;
/// Most bytes that are decrypted at once.
pub const MACHINE_READ_BYTES: usize = 8 * KIB;
/// Most bytes read from a machine before others have their turn.
pub const MACHINE_TURN_BYTES: usize = 256 * KIB;
/// Bytes waiting to be sent to a machine above which nothing more is read from it.
pub const MACHINE_OUT_BYTES_MAX: usize = MIB;
/// Most that the kernel takes of a connection between machines before it has sent it, bytes.
pub const MACHINE_NOT_SENT_BYTES: u32 = 64 * 1024;
/// How often a hub that announces itself looks whether its addresses are still the same.
pub const ADDRESSES_LOOK_EVERY: Duration = Duration::from_secs(30);
/// Handshakes with machines that have begun and are not done.
pub const HANDSHAKES_MAX: usize = 32;
/// Those with one network: an IPv4 address, or the first 64 bits of an IPv6 address.
pub const HANDSHAKES_PER_NETWORK_MAX: usize = 8;
/// Time a machine has for its handshake, the upgrade included.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// Handshakes begun in a second.
pub const HANDSHAKES_PER_SECOND: u32 = 50;
/// Networks from which joined machines last came that are remembered.
pub const MACHINE_NETWORKS_MAX: usize = 256;
/// Addresses in an invitation.
pub const INVITATION_ADDRESSES_MAX: usize = 16;
/// Longest code of an invitation, characters.
pub const INVITATION_CHARS_MAX: usize = 1000;
/// Longest file of a machine key, bytes.
pub const MACHINE_KEY_BYTES_MAX: usize = 4 * KIB;

// --- Configuration ------------------------------------------------------------------------------

/// Ports tried after `SLM_MESH_PORT` when that one is busy.
pub const PORTS_AFTER: u16 = 10;
/// Shortest interval that may be set (`SLM_MESH_HEARTBEAT_MS` and its like), ms.
pub const INTERVAL_MS_MIN: u32 = 10;
/// Longest interval that may be set (a day), ms.
pub const INTERVAL_MS_MAX: u32 = 24 * 3600 * 1000;
/// Highest `SLM_MESH_RATE_LIMIT`, requests per [`RATE_WINDOW`].
pub const RATE_LIMIT_MAX: u32 = 1_000_000;
/// Fewest hexadecimal digits of a shared secret: 128 bits.
pub const SHARED_SECRET_HEX_MIN: usize = 32;
/// Fewest characters of one in base64url: 256 bits, so that no word that a person made up is one.
pub const SHARED_SECRET_BASE64_MIN: usize = 43;
/// Longest shared secret, characters.
pub const SHARED_SECRET_CHARS_MAX: usize = 512;
/// Longest name of a host, characters (RFC 1035 section 2.3.4).
pub const HOST_NAME_CHARS_MAX: usize = 253;
/// Longest file `machines` of a data directory that is read, bytes.
pub const MACHINES_FILE_BYTES_MAX: usize = 16 * KIB;
/// Most addresses of a hub that are kept.
pub const HUB_ADDRESSES_MAX: usize = 16;
/// Most hubs that a search by mDNS believes in.
pub const HUBS_HEARD_MAX: usize = 8;
/// Most news of a search that wait to be looked at.
pub const HUBS_WAITING_MAX: usize = 64;
/// How long `hubs` listens.
pub const DISCOVERY_TIME: Duration = Duration::from_secs(2);
/// How long the end of a hub may wait until its goodbye is out.
pub const DISCOVERY_GOODBYE: Duration = Duration::from_millis(200);
/// Names that are looked up at once.
pub const RESOLVING_MAX: usize = 4;
/// A value is shown in an error up to this length, characters.
pub const SHOWN_VALUE_CHARS_MAX: usize = 80;

// --- The turn -----------------------------------------------------------------------------------

/// Most requests applied in one turn of the reactor, so in one store transaction.
pub const TURN_REQUESTS_MAX: usize = 128;
/// Longest time a turn collects requests.
pub const TURN_TIME_MAX: Duration = Duration::from_millis(5);
/// Longest time a request may be held (`wait`), seconds.
pub const WAIT_SECONDS_MAX: u64 = 55;
/// The same for a claim, by something that only waits beside an agent.
pub const CLAIM_WAIT_SECONDS_MAX: u64 = 3600;

/// Answers of one turn after which it takes no more requests, bytes.
pub const TURN_ANSWERS_BYTES: usize = 2 * REPLY_BYTES_MAX;
/// Events taken from the system at once.
pub const EVENTS_PER_TURN_MAX: usize = 256;
/// Reads of one connection in one turn, so that one that never stops does not keep others waiting.
pub const READS_PER_TURN_MAX: u32 = 16;
/// Connections accepted in one turn.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;

// --- Descriptors --------------------------------------------------------------------------------

/// Descriptors that are neither HTTP connections nor ways to peers: standard streams, lock, log,
/// poll, listener, signals, database, and files opened for a moment.
pub const DESCRIPTORS_RESERVED: usize = 32;
/// HTTP connections that are served however few descriptors there are.
pub const CONNECTIONS_MIN: usize = 4;
/// HTTP connections over the limit that are kept until their clients have read that there are too
/// many. With more, the first has had its time.
pub const CONNECTIONS_REFUSED_MAX: usize = 16;
/// Connections that wait to be accepted, before the system turns clients away.
pub const LISTEN_BACKLOG: i32 = 1024;
/// How long to wait for someone else to free a descriptor before accepting again.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// --- What peers write ---------------------------------------------------------------------------

/// Longest message, state value or event payload, bytes of UTF-8.
pub const PAYLOAD_BYTES_MAX: usize = 64 * KIB;
/// Longest summary of a peer, characters.
pub const SUMMARY_CHARS_MAX: usize = 500;
/// Longest reason of a lock, characters.
pub const REASON_CHARS_MAX: usize = 500;
/// Longest path, bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Most wildcards of a pattern (`*`, `?`, `**`).
pub const PATTERN_WILDCARDS_MAX: usize = 32;
/// Most segments of a pattern.
pub const PATTERN_SEGMENTS_MAX: usize = 128;
/// Longest name of a peer, label or agent, characters.
pub const NAME_CHARS_MAX: usize = 64;
/// Longest name made by the mesh itself, characters: it leaves room for a suffix such as `-2000`.
pub const AUTO_NAME_CHARS_MAX: usize = 56;
/// Longest word for the agent within such a name, characters.
pub const AGENT_WORD_CHARS_MAX: usize = 24;
/// Longest branch, host, repository or session name, characters.
pub const TAG_CHARS_MAX: usize = 256;
/// Longest state key, characters.
pub const KEY_CHARS_MAX: usize = 256;
/// Longest state namespace, characters.
pub const NAMESPACE_CHARS_MAX: usize = 128;
/// Most characters of a project's folder in the namespace of its state.
pub const NAMESPACE_FOLDER_CHARS_MAX: usize = 40;
/// Longest type of an event, characters.
pub const EVENT_TYPE_CHARS_MAX: usize = 128;
/// Shortest prefix of an id that names a peer, characters.
pub const ID_PREFIX_CHARS_MIN: usize = 4;
/// Most rows of one list request (`limit`).
pub const LIST_LIMIT_MAX: u32 = 1000;
/// Most ids in one `markRead`, `markNotified` or `markSent`.
pub const MARK_IDS_MAX: usize = 1000;
/// Most messages that one event, or all events of one departure, report as undeliverable: the
/// oldest. The senders' lists show it of all.
pub const UNDELIVERABLE_IDS_MAX: u32 = LIST_LIMIT_MAX;
/// Most messages of one peer that are under a claim at once.
pub const CLAIMED_MAX: u32 = LIST_LIMIT_MAX;
/// Most claims of one peer that are held at once.
pub const CLAIMS_HELD_MAX: usize = 8;
/// Most messages of one peer that are remembered to be in its agent's queue; if there are more, the
/// oldest are taken to stay there.
pub const UNPROVEN_MAX: usize = 256;
/// Prompts without a message after which it is taken to be dropped out of a queue of the agent.
pub const UNPROVEN_PROMPTS: u8 = 2;
/// Most handles that a claim brings as proof.
pub const PROOF_HANDLES_MAX: usize = 64;
/// Most ids in one `/peers` request.
pub const PEER_IDS_MAX: usize = LIST_LIMIT_MAX as usize;
/// Most messages of a thread whose answers are looked for in one request.
pub const THREAD_MESSAGES_MAX: usize = LIST_LIMIT_MAX as usize;
/// Messages that one `/history` request looks at.
pub const HISTORY_ROWS: u32 = 2000;
/// The same limit in bytes of text.
pub const HISTORY_BYTES: usize = MIB;
/// How far back it is followed what a message answers.
pub const ANSWERED_MAX: usize = 100;
/// Most entries of `agentPids` in one `/peers` request.
pub const AGENT_PIDS_MAX: usize = 64;

// --- Tables -------------------------------------------------------------------------------------

/// Most peers present at once.
pub const PEERS_MAX: usize = 2000;
/// Most of them of one other machine.
pub const MACHINE_PEERS_MAX: usize = 500;
/// Most machines that have joined a hub.
pub const MACHINES_MAX: usize = 512;
/// Most machines whose ids a hub keeps, including those that were removed and stay shut out.
pub const MACHINES_KNOWN_MAX: usize = 4096;
/// Most invitations that are open at one time.
pub const INVITATIONS_MAX: usize = 64;
/// Longest lifetime of an invitation, minutes.
pub const INVITATION_MINUTES_MAX: u32 = 1440;
/// How long a token of the page is good.
pub const PAGE_TOKEN_TIME: Duration = Duration::from_secs(12 * 3600);
/// Most live locks.
pub const LOCKS_MAX: u64 = 10_000;
/// Most requests that wait for locks at once.
pub const LOCK_WAITERS_MAX: usize = 4096;
/// Most of them whose files overlap.
pub const LOCK_WAITERS_PER_LOCK_MAX: usize = 1000;
/// Most work of a request in comparing files of locks, in steps of some nanoseconds (see
/// [`crate::patterns::Steps`]): a request that would need more is refused. Enough for a pattern that
/// overlaps with each of [`LOCKS_MAX`] locks on ordinary paths.
pub const LOCK_STEPS_MAX: u32 = 1_000_000;
/// What each lock costs beside its comparison, in those steps.
pub const LOCK_CANDIDATE_STEPS: usize = 32;
/// Most locks that one request can steal.
pub const LOCKS_STOLEN_MAX: usize = 100;
/// Most files of one request for locks, which gets all of them or none.
pub const LOCK_FILES_MAX: usize = 256;
/// Most files, for each peer, at which a subagent is remembered to be.
pub const SUBAGENT_EDITS_MAX: usize = 1000;
/// Most state entries.
pub const STATE_ENTRIES_MAX: u64 = 100_000;
/// Most event types (or patterns) one peer subscribes to, or one read asks for.
pub const EVENT_TYPES_MAX: usize = 64;
/// Largest database, bytes; beyond it writes are refused with `storage_full`.
pub const DATABASE_BYTES_MAX: u64 = 4 * 1024 * MIB as u64;

// --- Times --------------------------------------------------------------------------------------

/// How long a message is kept, ms.
pub const MESSAGE_RETENTION_MS: i64 = 24 * 3600 * 1000;
/// How long an event is kept, ms.
pub const EVENT_RETENTION_MS: i64 = 48 * 3600 * 1000;
/// How long an automatic name stays reserved after its peer has gone, ms.
pub const AUTO_NAME_RESERVED_MS: i64 = 10 * 60 * 1000;
/// How long messages stay under a claim.
pub const CLAIM_TIME: Duration = Duration::from_secs(5);
/// How long a turn of an agent is taken to go on after its hooks were last heard.
pub const TURN_SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long broadcasts wait for more of them before they wake anyone.
pub const DIGEST_TIME: Duration = Duration::from_secs(10);
/// How long something that has waited for messages is taken to be still there.
pub const CLAIMANT_KEPT: Duration = Duration::from_secs(60);
/// Longest lock time, minutes.
pub const LOCK_TTL_MINUTES_MAX: u32 = 1440;
/// How long a place in the queue for a lock is kept for a client that asks again.
pub const LOCK_PLACE_KEPT: Duration = Duration::from_secs(5);
/// An answer whose connection is reset within this time after it was written may have gone unread:
/// the lock it gave is freed. Later it counts as read.
pub const UNREAD_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest life of a state entry, seconds (a year).
pub const STATE_TTL_SECONDS_MAX: u64 = 365 * 24 * 3600;
/// How long the wall clock has to keep step after a restart of the machine before it is asked how
/// much time has passed; until then nothing is removed for its age.
pub const CLOCK_STEADY_TIME: Duration = Duration::from_secs(3600);
/// Rows removed in one step of retention, so that no turn waits long for it.
pub const PURGE_ROWS_MAX: u32 = 500;

// --- Rates --------------------------------------------------------------------------------------

/// The time over which a full bucket refills.
pub const RATE_WINDOW: Duration = Duration::from_secs(10);
/// How long a session that comes back waits for the end of the server that it had before.
pub const SERVER_END_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the locks of a peer stay whose server has gone while its agent goes on.
pub const AWAY_LOCKS_MAX: Duration = Duration::from_secs(30);
/// How long such a peer is away before it has left. Its session may still be continued later.
pub const AWAY_TIME_MAX: Duration = Duration::from_secs(600);

/// Registrations with tokens that are not known here, from one other machine, in [`RATE_WINDOW`]: of
/// its peers that come back.
pub const STRANGERS_PER_WINDOW: u32 = 10;
/// Heartbeats a peer may send in [`RATE_WINDOW`], counted apart from its other requests.
pub const HEARTBEATS_PER_WINDOW: u32 = 20;
/// Registrations in [`RATE_WINDOW`], for all callers together.
pub const REGISTRATIONS_PER_WINDOW: u32 = 2000;
/// Requests of a peer's hooks, and others by which its agent is told of messages, in [`RATE_WINDOW`],
/// counted apart from its other ones: 200 a second, each with up to three.
pub const HOOK_REQUESTS_PER_WINDOW: u32 = 6000;
/// Questions after the peer of a session in [`RATE_WINDOW`], for all callers together: each hook of
/// each agent asks one or two.
pub const SESSION_LOOKUPS_PER_WINDOW: u32 = 20_000;
/// Failed authentications in [`RATE_WINDOW`], for all callers together.
pub const AUTH_FAILURES_PER_WINDOW: u32 = 100;

// --- Loops --------------------------------------------------------------------------------------

/// The time in which wakes are counted, and after which a silent conversation is forgotten.
pub const WAKE_WINDOW: Duration = Duration::from_secs(600);
/// How often an agent is woken by a conversation that is damped.
pub const WAKE_DAMPED_EVERY: Duration = Duration::from_secs(120);
/// Highest `SLM_MESH_WAKE_LIMIT`: each wake that is counted is remembered.
pub const WAKE_LIMIT_MAX: u32 = 200;
/// Most conversations whose wakes are counted, beside those of [`PEERS_MAX`] agents.
pub const CONVERSATIONS_MAX: usize = 4096;
/// Most messages that are remembered as written by the mesh itself.
pub const MESH_ALERTS_MAX: usize = 1000;
/// Most kinds of agents of which the last news is remembered.
pub const AGENT_KINDS_MAX: usize = 64;
/// How often that is stored, where nothing else has come of a wake.
pub const HEARD_EVERY: Duration = Duration::from_secs(60);
/// Most damped conversations that `GET /status` names.
pub const DAMPED_SHOWN_MAX: usize = 64;

// --- Push ---------------------------------------------------------------------------------------

/// Most message frames to one peer that it has not confirmed.
pub const WINDOW_FRAMES_MAX: usize = 64;
/// Most bytes of message frames to one peer that it has not confirmed.
pub const WINDOW_BYTES_MAX: usize = MIB;
/// Bytes waiting to one peer above which events and updates to it are dropped.
pub const UPDATES_BACKLOG_BYTES: usize = 256 * KIB;
/// Longest line a peer may send back on its push socket, bytes.
pub const ACK_LINE_BYTES_MAX: usize = 4 * KIB;
/// Most that is read of one push socket in one turn, bytes: more than the acknowledgements of a whole
/// window.
pub const PUSH_READ_BYTES_MAX: usize = 16 * KIB;
/// Most that is read of all push sockets in one turn, bytes.
pub const PUSH_READ_BYTES_PER_TURN: usize = 256 * KIB;
/// Most that is read of a push socket once its process has ended, bytes: what a socket holds.
pub const LAST_WORDS_BYTES_MAX: usize = 256 * KIB;
/// First pause before a push socket is connected to again.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest such pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Attempts after which only a heartbeat starts new ones.
pub const CONNECT_ATTEMPTS_MAX: u32 = 10;

/// Most frames of one write to a push socket.
pub const FRAMES_PER_WRITE_MAX: usize = 32;

// --- Between machines ---------------------------------------------------------------------------

/// Longest frame between a hub and a relay, bytes: the longest answer, and what stands around it.
pub const MACHINE_FRAME_BYTES_MAX: usize = 8 * MIB;
/// Longest token in such a frame, bytes.
pub const FRAME_TOKEN_BYTES_MAX: usize = 256;
/// Longest method in such a frame, bytes.
pub const METHOD_BYTES_MAX: usize = 32;
/// Longest path of a request in such a frame, bytes.
pub const FRAME_PATH_BYTES_MAX: usize = 256;
/// Most peers in one frame.
pub const FRAME_PEERS_MAX: usize = 1000;
/// Confirmed messages of each peer that a relay remembers, to name them again after a cut.
pub const CONFIRMED_KEPT_MAX: usize = WINDOW_FRAMES_MAX;
/// Messages that the way to a peer was given, of which a relay remembers which they were.
pub const RELAY_PUSHED_KEPT_MAX: usize = 2 * WINDOW_FRAMES_MAX;
/// Tokens of peers that a relay knows to be given out by its hub.
pub const RELAY_TOKENS_MAX: usize = PEERS_MAX;
/// Registrations with other tokens that a relay forwards in [`RATE_WINDOW`].
pub const RELAY_UNKNOWN_TOKENS_PER_WINDOW: usize = 10;
/// Requests of one machine that are not answered.
pub const UPLINK_REQUESTS_MAX: usize = CONNECTIONS_MAX;
/// Bytes that wait to be sent to the other end of a connection between machines, above which no more
/// is taken that makes more of them.
pub const UPLINK_QUEUE_BYTES_MAX: usize = MIB;
/// Answers that may hold a lock, of which it is remembered whether they can be lost.
pub const UPLINK_GRANTS_MAX: usize = CONNECTIONS_MAX;
/// First pause before a hub is tried again, before jitter.
pub const UPLINK_BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest such pause.
pub const UPLINK_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long a connection must have stood for the pauses to begin again with the shortest.
pub const UPLINK_LASTS: Duration = Duration::from_secs(5);
/// How long a connection to a hub may take, its first frame included.
pub const UPLINK_DIAL_TIME_MAX: Duration = Duration::from_secs(10);
/// How long requests wait for a connection that is made for the first time.
pub const UPLINK_FIRST_DIAL_WAIT: Duration = Duration::from_secs(2);
/// Pause after a hub has said no, before it is asked again: it would say it again.
pub const UPLINK_REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// How long one address of a hub is tried alone before the next is tried beside it (RFC 8305).
pub const HUB_CONNECT_LEAD: Duration = Duration::from_millis(250);
/// Addresses of a hub that are tried at once.
pub const HUB_CONNECTS_MAX: usize = 8;
/// How long a connection to a hub may take to be there.
pub const HUB_CONNECT_TIME_MAX: Duration = Duration::from_secs(4);
/// How long a hub may take to let a machine in, from there.
pub const HUB_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(4);
/// How long the name of a hub may take to be looked up.
pub const HUB_RESOLVE_TIME_MAX: Duration = Duration::from_secs(4);
/// How long the known addresses of a hub are tried before it is looked for by mDNS, too.
pub const HUB_SEARCH_AFTER: Duration = Duration::from_secs(2);
/// How often it is looked for at most.
pub const HUB_SEARCH_EVERY: Duration = Duration::from_secs(30);
/// How long all of it may take. Less than [`UPLINK_DIAL_TIME_MAX`], so that what was tried can be told.
pub const HUB_TRY_TIME_MAX: Duration = Duration::from_secs(9);
/// How long they wait for one that was in vain the last time. Short of what a hook may take.
pub const UPLINK_NEXT_DIAL_WAIT: Duration = Duration::from_millis(250);
/// How long a request may be without an answer before a ping is sent.
pub const UPLINK_PING_AFTER: Duration = Duration::from_secs(1);
/// How long nothing may come after a ping before the connection is ended.
pub const UPLINK_SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long nothing may be heard on a connection before a ping is sent.
pub const UPLINK_PING_EVERY: Duration = Duration::from_secs(15);
/// Peers of a machine whose former process it has not said to be gone.
pub const MACHINE_FENCED_MAX: usize = 2 * PEERS_MAX;
/// How long nothing may be heard of a machine, three pings, before it counts as disconnected.
pub const MACHINE_SILENCE_MAX: Duration = Duration::from_secs(45);

// --- Start and end of the broker ----------------------------------------------------------------

/// How long a predecessor may take to give its lock back.
pub const LOCK_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the last frames and answers may take on their way out.
pub const LAST_FRAMES_TIME_MAX: Duration = Duration::from_millis(500);

// --- MCP ----------------------------------------------------------------------------------------

/// Longest JSON-RPC line, bytes.
pub const RPC_LINE_BYTES_MAX: usize = 8 * MIB;
/// Longest id of a JSON-RPC request, bytes of its JSON text.
pub const RPC_ID_BYTES_MAX: usize = KIB;
/// Longest push frame an MCP server accepts, bytes: a payload in which each byte is escaped.
pub const FRAME_BYTES_MAX: usize = MIB;
/// Largest list of tools, bytes of JSON: each agent pays for it with context. With what stands around
/// it, the answer to `tools/list` has at most 4,200.
pub const TOOLS_BYTES_MAX: usize = 3_980;
/// Longest instructions for the agent, bytes.
pub const INSTRUCTIONS_BYTES_MAX: usize = 900;
/// Most tool calls and reads of resources at once, waiting ones included.
pub const RPC_CALLS_MAX: usize = 64;
/// Most subscriptions (`subscriptions/listen`) at once.
pub const RPC_LISTENS_MAX: usize = 16;
/// Most bytes that wait for the agent to read them; an answer that does not fit is replaced by an
/// error.
pub const RPC_OUT_BYTES_MAX: usize = 4 * REPLY_BYTES_MAX;
/// Bytes waiting for the agent above which no further request of it is read.
pub const RPC_OUT_PAUSE_BYTES: usize = 256 * KIB;
/// Most bytes written to the standard output at once: what is left to others, and what a pipe that
/// is writable takes without blocking (`PIPE_BUF` of pipe(7); POSIX asks for 512).
pub const RPC_WRITE_BYTES_MAX: usize = if cfg!(target_os = "linux") { 4 * KIB } else { 512 };
/// Most messages an agent gets at once.
pub const INBOX_LIMIT_MAX: u32 = 100;
/// Longest answer of a tool with a list in it, bytes: some 10,000 tokens. Clients refuse or put aside
/// what is over 25,000. One item that is larger is given all the same.
pub const ANSWER_BYTES_MAX: usize = 40_000;
/// Longest part of a message that does not fit into an answer, bytes of JSON.
pub const PART_BYTES_MAX: usize = 37_000;
/// How much the keys of entries that have no room in a list may take, bytes.
pub const REMAINING_KEYS_BYTES_MAX: usize = 8_000;
/// How much is shown of a message of one's own, characters.
pub const SENT_CHARS_MAX: usize = 1_000;
/// An answer that comes later than this after its call may have found nobody: no client is known to
/// give up sooner.
pub const ANSWER_PROMPT: Duration = Duration::from_secs(2);
/// How long a sending of unknown outcome is known again when it is repeated.
pub const REPEAT_TIME: Duration = Duration::from_secs(60);
/// Most of those.
pub const REPEATS_MAX: usize = 16;
/// Events a notice tells of; beyond that they are counted without their type.
pub const NOTICE_EVENTS_MAX: usize = LIST_LIMIT_MAX as usize;
/// Longest line about events in a notice, characters.
pub const NOTICE_EVENTS_CHARS_MAX: usize = 200;
/// Most unread messages whose beginnings stand in a notice.
pub const NOTICE_MESSAGES_MAX: usize = 3;
/// How long a result waits for what is to be said behind it.
pub const NOTICE_TIME_MAX: Duration = Duration::from_secs(1);
/// Pushed messages that are known again when they are pushed once more: those that the broker may
/// have in its window, and as many again.
pub const KNOWN_MESSAGES_MAX: usize = 4 * WINDOW_FRAMES_MAX;
/// Bytes of acknowledgements that wait to be written before the push connection is given up.
pub const ACKS_BYTES_MAX: usize = 64 * KIB;
/// Longest text that an agent is told at once, characters: it is put into its context unasked.
pub const TELL_CHARS_MAX: usize = 4_000;
/// Room beside its head for one of several messages that cannot all be told in full, characters.
pub const TELL_BEGUN_CHARS_MIN: usize = 200;
/// Messages that are claimed at once: more than a text has room for.
pub const WAKE_CLAIM_MAX: u32 = 32;
/// Events that wait to be told to an agent. Beyond that they are left to the notice on tool results.
pub const WAKE_EVENTS_MAX: usize = 256;
/// How often a claim is renewed as long as a way is at it: well within [`CLAIM_TIME`].
pub const CLAIM_RENEW_EVERY: Duration = Duration::from_secs(3);
/// The longest that messages are not claimed because the broker has said so.
pub const CLAIM_DEFER_MAX: Duration = Duration::from_secs(600);
/// Most requests that wait to be sent to the broker.
pub const ERRANDS_MAX: usize = 256;
/// Broadcasts and events are put together: at most one notice of them in this time.
pub const WAKE_DIGEST_EVERY: Duration = Duration::from_secs(10);
/// How long the next notice waits behind one for an agent that makes a turn of each: what comes
/// meanwhile is put together.
pub const WAKE_TURN_PAUSE: Duration = Duration::from_millis(250);
/// After this a message is given again to an agent whose user has kept one back.
pub const HELD_RETRY_AFTER: Duration = Duration::from_secs(600);
/// An agent's inbox socket has to take a notice within this.
pub const INBOX_SOCKET_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a notice that an inbox socket has taken may still turn out to be thrown away unread.
pub const INBOX_SOCKET_DOUBT: Duration = Duration::from_millis(50);
/// The longest pause between looks for an inbox socket that is missing. After that only a sign of life of
/// its agent causes another look.
pub const INBOX_SOCKET_LOOK_MAX: Duration = Duration::from_secs(16);
/// Most notices whose fate may still be heard of.
pub const NOTICES_KNOWN_MAX: usize = 256;
/// Connections of an agent's session to our own socket at once.
pub const OWN_SOCKET_CONNECTIONS_MAX: usize = 8;
/// `codex queue` has to end within this.
pub const CODEX_QUEUE_TIME_MAX: Duration = Duration::from_secs(5);
/// Time an agent's process has to say good-bye to the broker.
pub const GOODBYE_TIME_MAX: Duration = Duration::from_millis(300);
/// A call of the broker, starting it included, fails after this.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(5);
/// Largest reply a client accepts, bytes.
pub const CLIENT_REPLY_BYTES_MAX: usize = 2 * REPLY_BYTES_MAX;

// --- Hooks --------------------------------------------------------------------------------------

/// How long a hook takes at most once it has its input, when nothing else is set, ms. With the start
/// and the end of the process it stays below 50.
pub const HOOK_MS_DEFAULT: u32 = 45;
/// The same where the hub is another machine, whose answers come over the network.
pub const HOOK_CLIENT_MS_DEFAULT: u32 = 400;
/// The same of a hook before an edit, where there is a broker: a gate that has not looked is no gate.
/// Agents give it 5 s.
pub const HOOK_EDIT_MS_DEFAULT: u32 = 2000;
/// Longest time that may be set for it (`SLM_MESH_HOOK_MS`), ms.
pub const HOOK_MS_MAX: u32 = 60_000;
/// The last part of that time, kept for marking read what has been written out, ms.
pub const HOOK_MARK_MS: u32 = 8;
/// How long a hook has at its end, however late that is, to say what it has found out and to mark what
/// it has told.
pub const HOOK_LAST_WORD: Duration = Duration::from_millis(500);
/// How long a hook waits for its agent to write the input.
pub const HOOK_INPUT_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest input of a hook, bytes: it has the text of a file, or the output of a tool, inside.
pub const HOOK_INPUT_BYTES_MAX: usize = 16 * MIB;
/// Most messages in a text of a hook.
pub const HOOK_MESSAGES_MAX: u32 = 20;
/// How long the hook that waits beside an agent waits before it looks for its session again: this at
/// first, and twice as long each time.
pub const WAIT_PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest of these pauses.
pub const WAIT_PAUSE_MAX: Duration = Duration::from_secs(60);
/// After how many looks in vain, some five minutes, it ends. The agent's next turn starts another.
pub const WAIT_TRIES_MAX: u32 = 12;
/// How long the gate takes a file for, minutes.
pub const HOOK_LOCK_MINUTES: u32 = 2;
/// How long a subagent counts as being at a file that it has said it edits.
pub const SUBAGENT_EDIT_TIME: Duration = Duration::from_secs(120);

// --- Plugins ------------------------------------------------------------------------------------

/// Longest line of a plugin, bytes: of a prompt, its beginning is enough.
pub const SESSION_LINE_BYTES_MAX: usize = 256 * KIB;
/// Most that waits for a plugin to read it, bytes.
pub const SESSION_OUT_BYTES_MAX: usize = 512 * KIB;
/// Bytes waiting for a plugin above which no line of it is taken.
pub const SESSION_OUT_PAUSE_BYTES: usize = 128 * KIB;
/// Most edits of a plugin that are looked at at once.
pub const SESSION_EDITS_MAX: usize = 16;
/// Most files of one.
pub const SESSION_FILES_MAX: usize = 1000;
/// Stack of a thread that does it, bytes.
pub const SESSION_STACK_BYTES: usize = 512 * KIB;
/// First pause after something has failed, and the longest: it doubles.
pub const SESSION_PAUSE_MIN: Duration = Duration::from_millis(50);
/// See [`SESSION_PAUSE_MIN`].
pub const SESSION_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a claim is renewed while its text is with the plugin.
pub const SESSION_RENEW_EVERY: Duration = Duration::from_secs(3);
/// How long a plugin has for a word about a text.
pub const SESSION_TELL_TIME_MAX: Duration = Duration::from_secs(30);
/// Most marks that are kept for a broker that is away.
pub const SESSION_UNMARKED_MAX: usize = 64;

// --- Files --------------------------------------------------------------------------------------

/// Longest path of a Unix socket, bytes: `sun_path` less its final zero, 108 in unix(7) on Linux
/// and 104 in unix(4) on macOS and the BSDs.
pub const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// Size at which the broker's log is rotated, bytes.
pub const LOG_BYTES_MAX: u64 = 5 * MIB as u64;
/// Longest line of the log, bytes: a pipe that is writable takes so much without blocking
/// (`PIPE_BUF` of pipe(7)).
pub const LOG_LINE_BYTES_MAX: usize = 4 * KIB;
/// Longest file of git that is read (`HEAD`, `.git`, `commondir`), bytes.
pub const GIT_FILE_BYTES_MAX: usize = 8 * KIB;
/// Longest `config` of a repository that is read, bytes; it has some lines for each branch.
pub const GIT_CONFIG_BYTES_MAX: usize = MIB;
/// Most that is read about a process (its command line above all), bytes.
pub const PROCESS_BYTES_MAX: usize = 64 * KIB;
/// Longest file of an agent that `setup` reads and changes, bytes. Some keep histories in theirs.
pub const SETUP_FILE_BYTES_MAX: usize = 32 * MIB;
/// Longest manifest of an agent's package that is read, bytes.
pub const AGENT_PACKAGE_BYTES_MAX: usize = MIB;
/// Most that an agent's program may say when it is asked for its version, bytes.
pub const AGENT_VERSION_BYTES_MAX: usize = 4 * KIB;
/// How long it may take for that, milliseconds.
pub const AGENT_VERSION_MS_MAX: u64 = 5_000;
/// Longest record of what `setup` has changed, bytes.
pub const SETUP_RECORD_BYTES_MAX: usize = 4 * MIB;
/// Most ancestors of a process that are looked at.
pub const ANCESTORS_MAX: usize = AGENT_PIDS_MAX;

// --- Helpers ------------------------------------------------------------------------------------

/// Longest of a helper's files, bytes.
pub const HELPER_FILE_BYTES_MAX: usize = 64 * KIB;
/// How long a helper that has died rests at first, and at most. One that has run for as long as that
/// begins with the first again.
pub const HELPER_PAUSE_MIN: Duration = Duration::from_secs(1);
/// See [`HELPER_PAUSE_MIN`].
pub const HELPER_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Longest answer of a memory or of a program that a helper runs, bytes.
pub const MEMORY_ANSWER_BYTES_MAX: usize = 4 * MIB;
/// Most of a text that `SuperLocalMemory` is given, characters: it refuses longer ones.
pub const MEMORY_TEXT_CHARS_MAX: usize = 20_000;
/// How long a memory that is away is left alone at most.
pub const MEMORY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// The same for one that is busy and says for how long.
pub const MEMORY_BUSY_MAX: Duration = Duration::from_secs(300);
/// How often a memory that fails is given the same: for about an hour. A full disk is soon mended; one
/// thing that it can never take must not keep it from the rest for longer.
pub const MEMORY_ATTEMPTS_MAX: u32 = 360;
/// Messages in [`NOTIFICATION_WINDOW`] that are shown one by one; of more there is one notification.
pub const NOTIFICATIONS_MAX: u32 = 3;
/// See [`NOTIFICATIONS_MAX`].
pub const NOTIFICATION_WINDOW: Duration = Duration::from_secs(5);
/// Most of a message in a notification, characters.
pub const NOTIFICATION_CHARS_MAX: usize = 280;
/// How long a program that shows a notification may take.
pub const NOTIFICATION_TIME_MAX: Duration = Duration::from_secs(10);

const _: () = {
    // The largest payload, each byte escaped as \u00XX, fits a request, a frame and a reply.
    assert!(6 * PAYLOAD_BYTES_MAX + 16 * KIB <= BODY_BYTES_MAX);
    assert!(6 * PAYLOAD_BYTES_MAX + 16 * KIB <= FRAME_BYTES_MAX);
    assert!(FRAME_BYTES_MAX <= WINDOW_BYTES_MAX);
    assert!(BODY_BYTES_MAX <= REPLY_BYTES_MAX);
    // A part, with names, ids and times, fits an answer.
    assert!(PART_BYTES_MAX + 2 * KIB <= ANSWER_BYTES_MAX);
    assert!(REPLY_BYTES_MAX < CLIENT_REPLY_BYTES_MAX);
    assert!(MESSAGE_RETENTION_MS <= EVENT_RETENTION_MS);
    assert!(HEAD_BYTES_MAX < BODY_BYTES_MAX);
    // A request and an answer fit a text between machines.
    assert!(BODY_BYTES_MAX + 16 * KIB < MACHINE_TEXT_BYTES_MAX);
    assert!(REPLY_BYTES_MAX + 16 * KIB < MACHINE_TEXT_BYTES_MAX);
    assert!(REPLY_BYTES_MAX <= RPC_LINE_BYTES_MAX);
    // A made name with the highest suffix there can be (`-2000`) is still a name.
    assert!(PEERS_MAX < 10_000 && AUTO_NAME_CHARS_MAX + "-9999".len() <= NAME_CHARS_MAX);
    assert!(HOOK_MARK_MS < INTERVAL_MS_MIN && INTERVAL_MS_MIN <= HOOK_MS_DEFAULT);
    assert!(SESSION_RENEW_EVERY.as_millis() < CLAIM_TIME.as_millis());
    assert!(SESSION_LINE_BYTES_MAX + SESSION_OUT_BYTES_MAX < 2 * MIB);
    assert!(4 * TELL_BEGUN_CHARS_MIN < TELL_CHARS_MAX);
    assert!(2 * AGENT_WORD_CHARS_MAX < AUTO_NAME_CHARS_MAX);
};
