//! Random actions, valid and invalid, made from what the clients of a mesh would know.

use std::collections::VecDeque;

use serde_json::{Value, json};
use slm_mesh::api::Endpoint;
use slm_mesh::model::{MachineId, MachineName, PeerId};

use crate::rng::Rng;
use crate::world::{Action, End, Home, Input, Token};

/// A peer as its own process knows it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: PeerId,
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) home: Home,
    pub(crate) register: Value,
}

/// What clients know.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Peers that are, or were, here.
    pub(crate) clients: Vec<Client>,
    pub(crate) messages: Vec<String>,
    /// Claims that were made, the last ones, and a handle of each.
    pub(crate) claims: VecDeque<(String, String)>,
    pub(crate) versions: Vec<u64>,
    pub(crate) last_seq: u64,
    pub(crate) since: String,
    /// Machines that have joined, and those of them that were removed.
    pub(crate) machines: Vec<MachineName>,
    pub(crate) removed: Vec<MachineName>,
    /// The last requests that would wait for a lock.
    pub(crate) lock_waits: VecDeque<(Token, Value)>,
}

impl Known {
    /// The machine of a peer.
    pub(crate) fn home_of(&self, peer: PeerId) -> Option<Home> {
        self.clients.iter().find(|client| client.id == peer).map(|client| client.home)
    }

    /// The machine of the person whom somebody on the machine `home` calls so.
    pub(crate) fn person(&self, text: &str, home: Home) -> Option<Home> {
        match text.strip_prefix("cli@") {
            None => (text == "cli").then_some(home),
            Some("hub") => Some(None),
            Some(name) => {
                self.machines.iter().find(|machine| machine.as_str() == name).copied().map(Some)
            }
        }
    }

    pub(crate) fn remove(&mut self, machine: MachineName) {
        if !self.is_removed(machine) {
            self.machines.retain(|other| *other != machine);
            self.removed.push(machine);
        }
    }

    pub(crate) fn is_removed(&self, machine: MachineName) -> bool {
        self.removed.contains(&machine)
    }

    /// All machines there ever were.
    pub(crate) fn homes(&self) -> impl Iterator<Item = Home> {
        let others = self.machines.iter().chain(&self.removed).copied();
        [None].into_iter().chain(others.map(Some))
    }
}

const PATHS: [&str; 24] = [
    "/w/a.rs",
    "/w/b.rs",
    "/w/a.rs",
    "/w/b.rs",
    "c.rs",
    "./src/../c.rs",
    "/w//a.rs",
    "/x/sp ace/ü.rs",
    "d.rs",
    "/w/",
    "/w/*.rs",
    "*.rs",
    "src/",
    "/**/?.rs",
    "/w/[a].rs",
    "/w/src/**/x",
    "src/x",
    "repo:a.rs",
    "repo:*.rs",
    "repo:src/",
    "repo:/a",
    "../../../..",
    "a**",
    "a\\*",
];
/// What clones of one repository have in common.
const CLONE: &str = "abababababababababababababababababababababababababababababababab";
const OTHER_CLONE: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const HASHES: [&str; 5] = [CLONE, CLONE, CLONE, CLONE, OTHER_CLONE];
const HOUR_MS: u64 = 3_600_000;
const KEYS: [&str; 4] = ["k", "key two", "ü", "build/status"];
const WAYS: [&str; 8] = [
    "inbox-socket",
    "channel",
    "queue",
    "hook",
    "tool-result",
    "wait-hook",
    "plugin",
    "carrier pigeon",
];
const STATUSES: [&str; 7] =
    ["sent", "sent", "held", "refused", "not-running", "dropped", "forgotten"];
const MOMENTS: [&str; 6] = ["start", "prompt", "prompt", "tool", "stop", "end"];
const REACHES: [&str; 6] = ["wakes", "next-turn", "next-call", "none", "by-mail", "no word"];
const TYPES: [&str; 10] = [
    "message_undeliverable",
    "*",
    "peer_joined",
    "state_changed",
    "message_received",
    "message_read",
    "file_locked",
    "build.*",
    "build.done",
    "no.such",
];
const TOPICS: [&str; 4] = ["#build", "#deploy", "#build", "#no topic"];
const GROUPS: [&str; 6] = ["all", "repo", "directory", "#build", "#deploy", "#"];
const NAMES: [&str; 5] = ["alice", "bob", "auto", "cli", "not a name"];
const PROJECTS: [&str; 6] = ["/w", "/w/./", "/w", "/x/Web App", "/w/sub", "/"];
const ROOTS: [&str; 5] = ["/w", "/w/", "/w", "/x", "/w/sub"];
const REPOS: [&str; 4] = ["/w/.git", "/w/.git", "/x/.git/", "/w/sub/.git"];
const PAYLOADS: [&str; 4] = ["hello", "[1,2]", "line\nbreak \u{1b}[31m \"q\"", "{"];

pub(crate) fn action(
    rng: &mut Rng,
    known: &Known,
    wanted: &[PeerId],
    connected: &[PeerId],
) -> Action {
    match rng.below(100) {
        0..10 => Action::Time { ms: small_time(rng), jump_ms: 0 },
        10..12 => Action::Time { ms: rng.next() % 120_000, jump_ms: 0 },
        12 => Action::Time { ms: 0, jump_ms: jump(rng) },
        // Rarely a day: retention.
        13 if rng.chance(5) => Action::Time { ms: 26 * HOUR_MS, jump_ms: 0 },
        13 if rng.chance(30) => Action::Sleep { ms: rng.next() % (9 * HOUR_MS) },
        14 => Action::Maintain,
        15 if rng.chance(60) => {
            let reboot = rng.chance(30);
            let off = [0, 5_000, 600_000, 9 * HOUR_MS, 30 * HOUR_MS][rng.below(5)];
            let jump_ms = if rng.chance(30) { jump(rng) } else { 0 };
            Action::Restart { ms: if rng.chance(50) { off } else { 0 }, reboot, jump_ms }
        }
        _ => {
            let inputs = (0..=rng.below(5).saturating_sub(1).pow(2).min(6))
                .map(|_| input(rng, known, wanted, connected))
                .collect();
            let end = match rng.below(100) {
                0 => End::KilledBefore,
                1 => End::KilledAfter,
                2..5 => End::Abort,
                _ => End::Commit,
            };
            if rng.chance(3) { Action::BareTurn(inputs, end) } else { Action::Turn(inputs, end) }
        }
    }
}

/// What the wall clock does by itself: a correction, an hour, or years.
fn jump(rng: &mut Rng) -> i64 {
    let most = [100, 60_000, HOUR_MS, 30 * HOUR_MS, 10_000 * HOUR_MS][rng.below(5)];
    (rng.next() % (2 * most)) as i64 - most as i64
}

fn small_time(rng: &mut Rng) -> u64 {
    rng.next() % [5, 500, 5_000, 20_000][rng.below(4)]
}

fn input(rng: &mut Rng, known: &Known, wanted: &[PeerId], connected: &[PeerId]) -> Input {
    match rng.below(22) {
        0 => match rng.pick(wanted) {
            Some(peer) => Input::Listen(*peer),
            None => Input::Tick,
        },
        1 => match rng.pick(&known.clients) {
            Some(client) => heartbeat(client),
            None => Input::Tick,
        },
        2 if rng.chance(5) => match rng.pick(&known.clients) {
            Some(client) => Input::NamedEnded(client.id),
            None => Input::Tick,
        },
        3 if rng.chance(30) => match rng.pick(connected) {
            Some(peer) => Input::HangUpLink(*peer),
            None => Input::Tick,
        },
        4 if rng.chance(15) => match rng.pick(connected) {
            Some(peer) => Input::ProcessEnded(*peer),
            None => Input::Tick,
        },
        5..8 => match rng.pick(connected) {
            Some(peer) => Input::Read { peer: *peer, frames: rng.below(12) },
            None => Input::Tick,
        },
        8 if rng.chance(60) => Input::AnswerLost { nth: rng.below(8), written: rng.chance(60) },
        8 if rng.chance(10) => match rng.pick(&known.clients) {
            Some(client) => Input::AgentEnded(client.id),
            None => Input::Tick,
        },
        8 if rng.chance(20) => Input::HangUp(rng.below(8)),
        8 => Input::Tick,
        // Two at a time, and now and then one that was removed.
        20..22 => Input::Dial(MachineId([1 + rng.below(2 + known.removed.len()) as u8; 32])),
        9 if rng.chance(10) => match rng.pick(&known.machines) {
            Some(machine) => Input::CutOff(*machine),
            None => Input::Tick,
        },
        _ => request(rng, known),
    }
}

/// What the server of a client says from time to time.
pub(crate) fn heartbeat(client: &Client) -> Input {
    let token = Token::Peer(client.token.clone(), client.home);
    let body = json!({"peerId": client.id, "gitBranch": "main"}).to_string();
    Input::Request { token, endpoint: Endpoint::Heartbeat, body }
}

/// The hub's own machine, or another.
fn home(rng: &mut Rng, known: &Known) -> Home {
    let elsewhere = rng.pick(&known.machines).copied();
    elsewhere.filter(|_| rng.chance(40))
}

/// A peer, by any way of naming one, or somebody else.
fn who(rng: &mut Rng, known: &Known) -> Value {
    let Some(client) = rng.pick(&known.clients).cloned() else { return json!("cli") };
    match rng.below(16) {
        0 => json!("cli"),
        1 => json!("script-1"),
        2 => json!("00000000-0000-4000-8000-000000000000"),
        3 if rng.chance(50) => json!("no such peer"),
        3 => match home(rng, known) {
            Some(machine) => json!(format!("cli@{machine}")),
            None => json!("cli@hub"),
        },
        4 => json!(client.id.to_string()[..4]),
        5 => json!(client.id.to_string()[..13]),
        6..10 => json!(client.name),
        _ => json!(client.id),
    }
}

fn token_and_me(rng: &mut Rng, known: &Known) -> (Token, Value) {
    let (broker, other) = (rng.chance(35), rng.chance(8));
    let home = home(rng, known);
    match rng.pick(&known.clients) {
        None if rng.chance(90) => (Token::Person(home), json!("cli")),
        None => (Token::Peer("x".into(), home), json!("cli")),
        Some(_) if broker => (Token::Person(home), who(rng, known)),
        Some(client) => {
            let from = if rng.chance(4) { home } else { client.home };
            let token = Token::Peer(client.token.clone(), from);
            let me = json!(client.id);
            (token, if other { who(rng, known) } else { me })
        }
    }
}

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    rng.pick(of).copied().unwrap()
}

/// Adds a field in so many of a hundred cases. The value is made in any case.
macro_rules! maybe {
    ($rng:expr, $percent:expr, $body:expr, $key:expr, $value:expr) => {{
        let value: Value = $value;
        if $rng.chance($percent) {
            $body[$key] = value;
        }
    }};
}

fn request(rng: &mut Rng, known: &Known) -> Input {
    let (token, me) = token_and_me(rng, known);
    if rng.chance(2) {
        let endpoint = Endpoint::ALL[rng.below(Endpoint::ALL.len())];
        let body = ["{", "[]", "{\"peerId\":5}", "null", ""][rng.below(5)].to_owned();
        let endpoint = if endpoint == Endpoint::Shutdown { Endpoint::Send } else { endpoint };
        return Input::Request { token, endpoint, body };
    }
    let (endpoint, body) = match rng.below(30) {
        0..3 => return register(rng, known),
        3 if rng.chance(40) => {
            let mut body = json!({"peerId": me});
            maybe!(rng, 60, body, "away", json!(true));
            (Endpoint::Unregister, body)
        }
        4 | 5 => {
            let mut body = json!({"peerId": me, "gitBranch": "main"});
            maybe!(rng, 10, body, "sessionId", json!(pick(rng, &["s", "t"])));
            (Endpoint::Heartbeat, body)
        }
        6 => (Endpoint::Peers, peers(rng, known)),
        7 if rng.chance(40) => (Endpoint::Rename, json!({"peerId": me, "name": pick(rng, &NAMES)})),
        7 => (Endpoint::Summary, json!({"peerId": me, "summary": pick(rng, &["", "refactoring"])})),
        8..14 => (Endpoint::Send, send(rng, known, &me)),
        14..18 => (Endpoint::Messages, messages(rng, known, &me)),
        18..21 => (Endpoint::State, state(rng, known, &me)),
        // Someone who waits asks again, on another connection.
        21..25 if !known.lock_waits.is_empty() && rng.chance(40) => {
            let (token, mut body) = known.lock_waits[rng.below(known.lock_waits.len())].clone();
            if rng.chance(50) {
                body["wait"] = json!(0);
            }
            return Input::Request { token, endpoint: Endpoint::Lock, body: body.to_string() };
        }
        21..25 => (Endpoint::Lock, lock(rng, &me)),
        25..28 => (Endpoint::Events, events(rng, known, &me)),
        29 if rng.chance(60) => (Endpoint::History, history(rng, known)),
        28 if rng.chance(30) => (Endpoint::Shutdown, json!({})),
        28 if rng.chance(30) => {
            let mut body = json!({"action": pick(rng, &["list", "invite", "leave", "remove"])});
            let name = rng.pick(&known.machines).map_or("m9", MachineName::as_str).to_owned();
            maybe!(rng, 70, body, "name", json!(name));
            (Endpoint::Machines, body)
        }
        _ => (Endpoint::Status, json!({})),
    };
    Input::Request { token, endpoint, body: body.to_string() }
}

fn register(rng: &mut Rng, known: &Known) -> Input {
    let back = rng.pick(&known.clients).filter(|_| rng.clone().chance(50)).cloned();
    if let Some(client) = back {
        let mut body = client.register.clone();
        body["peerId"] = json!(client.id);
        maybe!(rng, 5, body, "name", json!(pick(rng, &NAMES)));
        // Without its socket, with another, and with that again.
        maybe!(rng, 8, body, "udsPath", json!(format!("/d/peers/{}.sock", client.id)));
        if rng.chance(8) {
            body.as_object_mut().unwrap().remove("udsPath");
        }
        let token = match rng.below(12) {
            0 => Token::Person(client.home),
            1 => Token::Peer("not a token".into(), home(rng, known)),
            2 => Token::Peer(known.clients[0].token.clone(), client.home),
            3 => Token::Peer(client.token, home(rng, known)),
            _ => Token::Peer(client.token, client.home),
        };
        return Input::Request { token, endpoint: Endpoint::Register, body: body.to_string() };
    }
    let n = rng.below(10_000);
    let mut body = json!({"pid": 1 + n, "projectPath": pick(rng, &PROJECTS)});
    maybe!(rng, 30, body, "name", json!(pick(rng, &NAMES)));
    maybe!(rng, 30, body, "exclusive", json!(true));
    maybe!(rng, 60, body, "agentType", json!(pick(rng, &["claude-code", "codex", "b ad"])));
    maybe!(rng, 70, body, "udsPath", json!(format!("/d/peers/{n}.sock")));
    maybe!(rng, 50, body, "acks", json!(true));
    maybe!(rng, 30, body, "private", json!(true));
    maybe!(rng, 30, body, "gitRoot", json!(pick(rng, &ROOTS)));
    maybe!(rng, 30, body, "repoId", json!(pick(rng, &REPOS)));
    maybe!(rng, 60, body, "repoHash", json!(pick(rng, &HASHES)));
    maybe!(rng, 50, body, "agentPid", json!(pick(rng, &["7", "7", "8"]).parse::<u32>().unwrap()));
    maybe!(rng, 50, body, "sessionId", json!(pick(rng, &["s", "s", "t"])));
    // What the kernel would say; no broker reads it.
    let mut facts = json!({"start": pick(rng, &["then", "then", "later"])});
    for fact in ["descends", "gone", "ended"] {
        maybe!(rng, 70, facts, fact, json!(true));
    }
    body["facts"] = facts;
    maybe!(rng, 50, body, "reach", json!(pick(rng, &REACHES)));
    let token = match rng.pick(&known.clients) {
        Some(client) if rng.clone().chance(5) => Token::Peer(client.token.clone(), client.home),
        // A mesh with a dozen peers is large enough; some of them may come back.
        Some(_) if known.clients.len() > 12 && rng.clone().chance(70) => {
            Token::Peer("full".into(), None)
        }
        _ => Token::Person(home(rng, known)),
    };
    Input::Request { token, endpoint: Endpoint::Register, body: body.to_string() }
}

fn peers(rng: &mut Rng, known: &Known) -> Value {
    let mut body = json!({"scope": pick(rng, &["machine", "directory", "repo", "mesh"])});
    maybe!(rng, 80, body, "projectPath", json!(pick(rng, &PROJECTS)));
    maybe!(rng, 80, body, "gitRoot", json!(pick(rng, &ROOTS)));
    maybe!(rng, 30, body, "repoId", json!(pick(rng, &REPOS)));
    maybe!(rng, 30, body, "repoHash", json!(pick(rng, &HASHES)));
    maybe!(rng, 50, body, "includeStale", json!(true));
    maybe!(rng, 10, body, "agentPids", json!([7, 8]));
    let someone = who(rng, known);
    maybe!(rng, 30, body, "excludeId", someone);
    let ids: Vec<_> = (0..=rng.below(4)).filter_map(|_| rng.pick(&known.clients)).collect();
    let ids: Vec<_> = ids.into_iter().map(|client| client.id).collect();
    maybe!(rng, 15, body, "ids", json!(ids));
    maybe!(rng, 15, body, "includeDeparted", json!(true));
    maybe!(rng, 15, body, "unread", json!(true));
    maybe!(rng, 10, body, "sessionId", json!(pick(rng, &["s", "t"])));
    body
}

/// A number that was given, mostly; more often a late one.
fn seq(rng: &mut Rng, known: &Known) -> u64 {
    // Numbers may have been left out between early and late ones.
    if rng.chance(50) {
        known.last_seq.saturating_sub(rng.next() % 200)
    } else {
        rng.next() % (known.last_seq + 2)
    }
}

fn history(rng: &mut Rng, known: &Known) -> Value {
    let message = rng.pick(&known.messages).cloned().unwrap_or_default();
    let handle = known.claims.front().map_or("k7q2", |(_, handle)| handle).to_owned();
    if rng.chance(30) {
        return json!({"message": if rng.chance(70) { message } else { handle }});
    }
    let mut body = json!({});
    let someone = who(rng, known);
    maybe!(rng, 25, body, "with", someone);
    maybe!(rng, 25, body, "text", json!(pick(rng, &["HELLO", "break", "no such text"])));
    let after = seq(rng, known);
    maybe!(rng, 20, body, "after", json!(after));
    if rng.chance(15) {
        body["thread"] = json!([message]);
        maybe!(rng, 90, body, "after", json!(0));
    }
    let before = seq(rng, known);
    maybe!(rng, 20, body, "before", json!(before));
    maybe!(rng, 15, body, "since", json!(known.since));
    let limit = 1 + rng.below(40);
    maybe!(rng, 30, body, "limit", json!(limit));
    maybe!(rng, 40, body, "limit", json!(1000));
    body
}

fn client_id(rng: &mut Rng) -> Value {
    json!(format!("00000000-0000-4000-8000-{:012}", rng.below(30)))
}

fn send(rng: &mut Rng, known: &Known, me: &Value) -> Value {
    let to = match rng.below(100) {
        0..10 => json!("all"),
        10..20 => json!(pick(rng, &GROUPS)),
        20..28 => json!(pick(rng, &["alice", "bob"])),
        _ => who(rng, known),
    };
    let mut body = json!({"fromPeer": me, "toPeer": to, "payload": pick(rng, &PAYLOADS)});
    maybe!(rng, 30, body, "type", json!(pick(rng, &["text", "json", "alert", "shout"])));
    let id = client_id(rng);
    maybe!(rng, 30, body, "id", id);
    maybe!(rng, 30, body, "projectPath", json!(pick(rng, &PROJECTS)));
    maybe!(rng, 30, body, "repoId", json!(pick(rng, &REPOS)));
    if let Some(first) = rng.pick(&known.messages) {
        maybe!(rng, 20, body, "replyTo", json!(first));
    }
    body
}

fn messages(rng: &mut Rng, known: &Known, me: &Value) -> Value {
    let mut body = json!({"peerId": me});
    let form = rng.below(100);
    if form < 40 {
        let ids: Vec<_> = (0..rng.below(4)).filter_map(|_| rng.pick(&known.messages)).collect();
        let (name, way) = match form {
            0..10 => ("markRead", 40),
            10..20 => ("markNotified", 95),
            _ => ("markSent", 95),
        };
        body[name] = json!(ids);
        if let Some((claim, _)) = rng.pick(known.claims.as_slices().0) {
            maybe!(rng, 30, body, "claimId", json!(claim));
        }
        maybe!(rng, 95, body, "status", json!(pick(rng, &STATUSES)));
        maybe!(rng, 40, body, "whole", json!(true));
        maybe!(rng, way, body, "way", json!(pick(rng, &WAYS)));
        maybe!(rng, 3, body, "claim", json!("hook"));
        return body;
    }
    if form < 65 {
        if let Some((claim, _)) = rng.pick(known.claims.as_slices().0)
            && rng.chance(25)
        {
            body[pick(rng, &["renew", "release"])] = json!(claim);
            return body;
        }
        body["claim"] = json!(if rng.chance(40) { "hook" } else { pick(rng, &WAYS) });
        let limit = 1 + rng.below(4);
        maybe!(rng, 70, body, "limit", json!(limit));
        maybe!(rng, 30, body, "moment", json!(pick(rng, &MOMENTS)));
        maybe!(rng, 25, body, "wait", json!(60));
        let handles: Vec<_> = known.claims.iter().map(|(_, handle)| handle).collect();
        if !handles.is_empty() {
            maybe!(rng, 40, body, "proof", json!(handles));
        }
        return body;
    }
    maybe!(rng, 70, body, "filter", json!(pick(rng, &["unread", "all", "sent"])));
    let someone = who(rng, known);
    maybe!(rng, 20, body, "from", someone);
    let limit = 1 + rng.below(6);
    maybe!(rng, 50, body, "limit", json!(limit));
    maybe!(rng, 40, body, "peek", json!(true));
    let (before, after) = (seq(rng, known), seq(rng, known));
    maybe!(rng, 15, body, "before", json!(before));
    maybe!(rng, 15, body, "after", json!(after));
    maybe!(rng, 20, body, "wait", json!(20));
    body
}

fn state(rng: &mut Rng, known: &Known, me: &Value) -> Value {
    let action = pick(rng, &["get", "list", "set", "set", "delete"]);
    let mut body =
        json!({"action": action, "key": pick(rng, &KEYS), "value": pick(rng, &PAYLOADS)});
    maybe!(rng, 90, body, "peerId", me.clone());
    maybe!(rng, 30, body, "namespace", json!("other"));
    maybe!(rng, 30, body, "prefix", json!("k"));
    maybe!(rng, 20, body, "limit", json!(1));
    let version = rng.pick(&known.versions).copied().unwrap_or(0);
    let version = if rng.chance(40) { 0 } else { version };
    maybe!(rng, 40, body, "ifVersion", json!(version));
    let seconds = 1 + rng.below(60);
    maybe!(rng, 30, body, "ttlSeconds", json!(seconds));
    body
}

fn lock(rng: &mut Rng, me: &Value) -> Value {
    if rng.chance(12) {
        let files: Vec<_> = (0..=rng.below(3)).map(|_| pick(rng, &PATHS)).collect();
        let action = pick(rng, &["lock", "lock", "query"]);
        let mut body = json!({"action": action, "peerId": me, "filePaths": files});
        maybe!(rng, 30, body, "shared", json!(true));
        let subagent = pick(rng, &["s1", "s2"]);
        maybe!(rng, 50, body, "subagent", json!(subagent));
        return body;
    }
    let action = pick(rng, &["lock", "lock", "unlock", "query"]);
    let mut body = json!({"action": action});
    // Mostly one of two files, so that somebody is in the way; or the same in all clones.
    let file = match rng.below(10) {
        0..4 => pick(rng, &PATHS[..2]),
        4 | 5 => pick(rng, &["repo:a.rs", "repo:*.rs"]),
        _ => pick(rng, &PATHS),
    };
    maybe!(rng, 95, body, "filePath", json!(file));
    maybe!(rng, 95, body, "peerId", me.clone());
    maybe!(rng, 40, body, "reason", json!("because"));
    let minutes = 1 + rng.below(30);
    maybe!(rng, 30, body, "ttlMinutes", json!(minutes));
    maybe!(rng, 10, body, "force", json!(true));
    maybe!(rng, 30, body, "shared", json!(true));
    let seconds = rng.below(56);
    maybe!(rng, 60, body, "wait", json!(seconds));
    maybe!(rng, 8, body, "steal", json!(true));
    maybe!(rng, 8, body, "exact", json!(true));
    let place = client_id(rng);
    maybe!(rng, 20, body, "place", place);
    if rng.chance(20) {
        body["repoId"] = json!("/w/.git");
        body["gitRoot"] = json!(pick(rng, &["/w", "/x"]));
        maybe!(rng, 50, body, "repoHash", json!(CLONE));
    }
    body
}

fn events(rng: &mut Rng, known: &Known, me: &Value) -> Value {
    let mut body = match rng.below(10) {
        0 => {
            let topics = [pick(rng, &TOPICS), pick(rng, &TYPES)];
            return json!({"action": "subscribe", "peerId": me, "types": topics});
        }
        1 => json!({"action": "unsubscribe", "peerId": me}),
        2..5 => {
            let kind = pick(rng, &["build.done", "build.failed", "deploy.x", "deployed", "mesh.x"]);
            let mut body =
                json!({"action": "emit", "peerId": me, "type": kind, "payload": {"n": 1}});
            let id = client_id(rng);
            maybe!(rng, 30, body, "id", id);
            return body;
        }
        _ => json!({"action": "read"}),
    };
    let types: Vec<_> = (0..=rng.below(3)).map(|_| pick(rng, &TYPES)).collect();
    maybe!(rng, 60, body, "types", json!(types));
    let limit = 1 + rng.below(9);
    maybe!(rng, 60, body, "limit", json!(limit));
    let after = seq(rng, known);
    maybe!(rng, 40, body, "after", json!(after));
    maybe!(rng, 30, body, "after", json!(known.last_seq));
    maybe!(rng, 20, body, "since", json!(known.since));
    maybe!(rng, 20, body, "wait", json!(10));
    body
}
