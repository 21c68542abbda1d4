//! The tables, and how they came to be what they are.

/// In the header of each database file of ours: "slmm".
pub(super) const APPLICATION_ID: i32 = 0x736c_6d6d;

/// Each makes a database of version `n + 1` from one of version `n`. What is released is never changed,
/// only appended to.
pub(super) const MIGRATIONS: [&str; 9] = [V1, V2, V3, V4, V5, V6, V7, V8, V9];

/// The version of the tables that this program knows.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// All tables, so that an opening can look whether they are there.
pub(super) const TABLES: [&str; 15] = [
    "meta",
    "parties",
    "peers",
    "messages",
    "broadcasts",
    "client_ids",
    "events",
    "time_marks",
    "times",
    "state",
    "locks",
    "recovery",
    "agents",
    "machines",
    "invitations",
];

// - Parties stand for a sender or recipient in messages and are numbered; 0 is "everyone", 1 the
//   command line. A number is never used again, since lists of broadcasts may still hold it.
//   `born` is the newest broadcast when the party came: none up to that one is to the party. None up
//   to `floor` is both to it and unread.
// - `ordinal` numbers the rows of its table without gaps, so that two rows tell how many there are.
// - A column `payload` is last, so that reading the others does not touch the pages it spills to.
// - An index ends with the row's `seq` by itself.
// - `left_seq` is the highest number given when the peer left.
// - A row of `time_marks` says that no message or event up to `seq` has a `created_at` above `latest`.
const V1: &str = "
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE parties (
    party INTEGER PRIMARY KEY AUTOINCREMENT,
    name ANY NOT NULL UNIQUE,
    born INTEGER NOT NULL,
    floor INTEGER NOT NULL
) STRICT;
INSERT INTO parties VALUES (1, 'cli', 0, 0);

CREATE TABLE peers (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    name_is_automatic INTEGER NOT NULL,
    token_hash BLOB NOT NULL,
    agent_type TEXT NOT NULL,
    pid INTEGER NOT NULL,
    project_path TEXT NOT NULL,
    git_root TEXT,
    git_branch TEXT,
    repo_id TEXT,
    uds_path TEXT,
    summary TEXT,
    host TEXT,
    reach TEXT,
    session_id TEXT,
    agent_pid INTEGER,
    private INTEGER NOT NULL,
    acks INTEGER NOT NULL,
    subscriptions TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    last_heartbeat INTEGER NOT NULL,
    left_at INTEGER,
    resumable INTEGER NOT NULL,
    left_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX peers_left ON peers (left_at);

CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    ordinal INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    recipient INTEGER NOT NULL,
    is_read INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    delivered_at INTEGER NOT NULL,
    read_at INTEGER NOT NULL,
    reply_to BLOB,
    client_id BLOB,
    sender_name TEXT NOT NULL,
    payload TEXT NOT NULL
) STRICT;
CREATE INDEX messages_inbox ON messages (recipient, is_read);
CREATE INDEX messages_pair ON messages (sender, recipient);

CREATE TABLE broadcasts (
    seq INTEGER PRIMARY KEY,
    recipients BLOB NOT NULL
) STRICT;

CREATE TABLE client_ids (
    sender INTEGER NOT NULL,
    client_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (sender, client_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    ordinal INTEGER NOT NULL,
    kind TEXT NOT NULL,
    emitted_by ANY,
    created_at INTEGER NOT NULL,
    client_id BLOB,
    payload TEXT NOT NULL
) STRICT;
CREATE INDEX events_kind ON events (kind);

CREATE TABLE time_marks (
    seq INTEGER PRIMARY KEY,
    latest INTEGER NOT NULL
) STRICT;

CREATE TABLE state (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    updated_by ANY NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER,
    value TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX state_expiry ON state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE locks (
    path TEXT PRIMARY KEY,
    holder ANY NOT NULL,
    holder_name TEXT NOT NULL,
    reason TEXT,
    locked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    fence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX locks_expiry ON locks (expires_at);
CREATE INDEX locks_holder ON locks (holder);
";

// A message can be notified, and a broadcast to each of its recipients. The table of messages is
// made anew, so that its payload stays last. "Not yet" is 2^47 - 1 for a time and 2 for a way.
//
// In the list of a broadcast, the 6 bytes of a time and the byte of a way are put between the number
// and the time of delivery (10 bytes) and the time of reading (6 bytes) of each recipient.
const V2: &str = "
ALTER TABLE messages RENAME TO messages_1;
DROP INDEX messages_inbox;
DROP INDEX messages_pair;
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    ordinal INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    recipient INTEGER NOT NULL,
    is_read INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    delivered_at INTEGER NOT NULL,
    notified_at INTEGER NOT NULL,
    notified_by INTEGER NOT NULL,
    read_at INTEGER NOT NULL,
    reply_to BLOB,
    client_id BLOB,
    sender_name TEXT NOT NULL,
    payload TEXT NOT NULL
) STRICT;
INSERT INTO messages
    SELECT seq, id, ordinal, sender, recipient, is_read, kind, created_at, delivered_at,
        140737488355327, 2, read_at, reply_to, client_id, sender_name, payload
    FROM messages_1 ORDER BY seq;
DROP TABLE messages_1;
CREATE INDEX messages_inbox ON messages (recipient, is_read);
CREATE INDEX messages_pair ON messages (sender, recipient);

UPDATE broadcasts SET recipients = (
    WITH RECURSIVE places (place) AS (
        SELECT 1 UNION ALL
        SELECT place + 16 FROM places WHERE place + 16 <= length(broadcasts.recipients)
    )
    SELECT unhex(group_concat(
        hex(substr(broadcasts.recipients, place, 10)) || '7FFFFFFFFFFF02'
            || hex(substr(broadcasts.recipients, place + 10, 6)),
        '' ORDER BY place))
    FROM places
);
";

// A lock is found by its fence, since several may be on one path: shared ones, and patterns. Which of
// them overlap is not for the database to know.
const V3: &str = "
DROP INDEX locks_expiry;
DROP INDEX locks_holder;
ALTER TABLE locks RENAME TO locks_by_path;
CREATE TABLE locks (
    fence INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    pattern INTEGER NOT NULL,
    shared INTEGER NOT NULL,
    repo_id TEXT,
    git_root TEXT,
    holder ANY NOT NULL,
    holder_name TEXT NOT NULL,
    reason TEXT,
    locked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
INSERT INTO locks
    SELECT fence, path, 0, 0, NULL, NULL, holder, holder_name, reason, locked_at, expires_at
    FROM locks_by_path;
DROP TABLE locks_by_path;
CREATE INDEX locks_expiry ON locks (expires_at);
";

// Mailboxes of names, and groups. The mailbox of the name `n` is a party called `@n`, a text that no
// label can be. `addressed` says which peer had the name of the mailbox then, or to which group a
// broadcast went. It comes after the payload, so that no row has to be written again: whoever reads it
// also reads the payload, except for events.
const V4: &str = "
ALTER TABLE messages ADD COLUMN addressed ANY;
CREATE INDEX peers_name ON peers (name) WHERE NOT name_is_automatic;
INSERT OR IGNORE INTO parties (name, born, floor)
    SELECT DISTINCT '@' || name, 0, 0 FROM peers WHERE NOT name_is_automatic;
";

// Names that differ by case only are one, and so are their mailboxes: what is in the others is moved to
// the one in lower case.
//
// How far a party has come, so that an opening need not look at all messages: no message up to
// `delivered` is both to it and undelivered; of the broadcasts up to `counted`, `unread` are both to it
// and unread.
//
// When the process of a peer's agent started, which tells it from another of the same id, and since
// when a peer is away. A session that comes back is looked for by its id.
//
// A row of `times` says that at the mesh's own time `at`, `seq` was the highest number given, and what
// else was known of the clocks (`TimeMark`). By that it is known how old rows are. Locks and entries
// expire at a time of the mesh, too; until there is a first row, that is the wall clock.
//
// `recovery` has one row at most: the database that this one has replaced, and what was saved of it.
const V5: &str = "
DROP INDEX peers_name;
CREATE INDEX peers_name ON peers (name COLLATE NOCASE) WHERE NOT name_is_automatic;
UPDATE OR IGNORE parties SET name = lower(name) WHERE typeof(name) = 'text' AND name GLOB '@*';
UPDATE messages SET recipient = (
    SELECT one.party FROM parties AS other CROSS JOIN parties AS one
    WHERE other.party = messages.recipient AND one.name = lower(other.name)
) WHERE recipient IN (
    SELECT party FROM parties
    WHERE typeof(name) = 'text' AND name GLOB '@*' AND name <> lower(name)
);

ALTER TABLE parties ADD COLUMN delivered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE parties ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE parties ADD COLUMN unread INTEGER NOT NULL DEFAULT 0;

ALTER TABLE peers ADD COLUMN agent_start TEXT;
ALTER TABLE peers ADD COLUMN away_at INTEGER;
CREATE INDEX peers_session ON peers (session_id) WHERE session_id IS NOT NULL;

CREATE TABLE times (
    at INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    boot_id BLOB,
    boot INTEGER NOT NULL,
    steady_since INTEGER NOT NULL,
    believed INTEGER NOT NULL,
    unseen_to INTEGER
) STRICT;
DROP INDEX peers_left;
CREATE INDEX peers_present ON peers (left_at) WHERE left_at IS NULL;
CREATE INDEX peers_left ON peers (left_seq) WHERE left_at IS NOT NULL;

CREATE TABLE recovery (
    moved_to TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    copied INTEGER NOT NULL,
    skipped INTEGER NOT NULL
) STRICT;
";

// The byte of a way also says how sure it is that the agent was told. A program of version 5 would take
// what is sent for not told, and tell it again.
//
// `agents` has what was last heard of each kind of agent, in the mesh's own words (JSON).
const V6: &str = "
CREATE TABLE agents (
    kind TEXT PRIMARY KEY,
    facts TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

// Other machines. `host` was what a peer said; now it is the name that its machine was given when it
// joined, and paths of peers and locks are paths on that machine. `repo_hash` is what the clones of a
// repository have in common.
//
// `invitations` has hashes of tokens; `expires_at` is a time of the mesh.
const V7: &str = "
UPDATE peers SET host = NULL;
ALTER TABLE peers ADD COLUMN repo_hash BLOB;
ALTER TABLE locks ADD COLUMN host TEXT;
ALTER TABLE locks ADD COLUMN repo_hash BLOB;

CREATE TABLE machines (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    address TEXT NOT NULL,
    joined_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    removed_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE invitations (
    token_hash BLOB PRIMARY KEY,
    name TEXT,
    made_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    owner BLOB
) STRICT, WITHOUT ROWID;
";

// The number of the journal that belongs to the database, and its last record that is in the tables. A
// program of version 7 would not see what is only in the journal.
const V8: &str = "
INSERT INTO meta VALUES ('journal', abs(random() % 9223372036854775807)), ('journal_record', 0);
";

// The counters in `meta` are written with every commit, and no longer removed before a change. A
// program of version 8 would believe what it finds beside them.
const V9: &str = "
DELETE FROM meta WHERE key IN ('pending_to', 'pending_undelivered', 'pending_unread');
";
