//! A hook from its input to its end.
//!
//! The order is what counts when messages are put into the context: claimed, so that no other hook
//! hands them out; written and flushed; and only then marked read. A hook that dies in between leaves
//! them unread, and their claim runs out.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::gate::{self, Ruling};
use super::text::{self, Packed};
use super::{Agent, HookEvent, Kind, Verdict, session, stdio};
use crate::api::{Claim, Claimant, ListPeers, Messages, PeerInfo, PeersReply, Request};
use crate::client::{Client, ClientError, paths};
use crate::config::{Config, LOG};
use crate::limits::{HOOK_INPUT_TIME_MAX, HOOK_MARK_MS, HOOK_MESSAGES_MAX, PATH_BYTES_MAX};
use crate::model::{MessageId, Party, Timestamp, Way};

/// What is left to do once the answer has been written.
#[derive(Debug, Default)]
struct Marks {
    read: Vec<MessageId>,
    notified: Vec<MessageId>,
}

/// Reads what `agent` asks from the standard input and answers it. `data_dir` is that of the command
/// line. The exit code is 0 but where the agent takes another for a no.
#[must_use]
pub fn run(agent: Agent, data_dir: Option<&OsStr>) -> ExitCode {
    // Without the buffer of `io::stdin`, in which bytes could lie that no poll tells of.
    let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let input_by = Instant::now() + HOOK_INPUT_TIME_MAX;
    let input = stdin.ok().and_then(|stdin| stdio::read_document(stdin, input_by));
    let Some(event) = input.and_then(|input| agent.read(&input)) else {
        debug(&"nothing to do for this input");
        return ExitCode::SUCCESS;
    };
    let config = match Config::from_env(data_dir) {
        Ok(config) => config,
        Err(error) => {
            debug(&error);
            return ExitCode::SUCCESS;
        }
    };
    // All of its time is spent below: what it takes to start is not measured here.
    let end = Instant::now() + Duration::from_millis(config.hook_ms.into());
    let answer_by = end.checked_sub(Duration::from_millis(HOOK_MARK_MS.into())).unwrap_or(end);
    let mut client = Client::until(&config, answer_by);
    let (verdict, marks) = match decide(&mut client, &config, agent, &event) {
        Ok(decided) => decided,
        Err(error) => {
            debug(&error);
            return ExitCode::SUCCESS;
        }
    };
    let output = agent.write(&event, &verdict);
    let written = stdio::write_all(io::stdout(), &output.stdout, answer_by)
        && stdio::write_all(io::stderr(), &output.stderr, answer_by);
    if written {
        client.set_deadline(end);
        if let Err(error) = mark(&mut client, marks) {
            debug(&error);
        }
    } else {
        debug(&"the answer could not be written");
    }
    ExitCode::from(output.exit)
}

fn decide(
    client: &mut Client,
    config: &Config,
    agent: Agent,
    event: &HookEvent,
) -> Result<(Verdict, Marks), ClientError> {
    let nothing = Ok((Verdict::Silent, Marks::default()));
    let Some(me) = session::find(client, event.session.as_deref(), Some(agent.name()))? else {
        debug(&"no session of this agent is in the mesh");
        return nothing;
    };
    let Some(token) = session::token(config, &me) else {
        debug(&"the session has left no token");
        return nothing;
    };
    if event.kind != Kind::BeforeEdit {
        return inbox(client, &token, event.kind);
    }
    let files = canonical(&event.files, event.cwd.as_deref());
    if files.is_empty() {
        return nothing;
    }
    client.use_token(&token);
    match gate::rule(client, &files, me.id, config.auto_lock)? {
        Ruling::Allowed => nothing,
        Ruling::Locked(lock, others) => {
            Ok((Verdict::Deny(text::denial(&lock, others, now())), Marks::default()))
        }
    }
}

/// What waits, under a claim.
fn inbox(client: &mut Client, token: &str, kind: Kind) -> Result<(Verdict, Marks), ClientError> {
    client.use_token(token);
    let limit = Some(HOOK_MESSAGES_MAX);
    let claim = Request::Claim(Claim { peer_id: None, claim: Claimant::Hook, limit });
    let Messages { messages, remaining } = client.call(&claim)?;
    let direct = |id: &MessageId| messages.iter().any(|m| m.id == *id && m.to_peer.is_some());
    if messages.is_empty() {
        return Ok((Verdict::Silent, Marks::default()));
    }
    let from_peers = messages.iter().any(|message| message.from_peer.peer().is_some());
    let peers = if from_peers { everyone(client) } else { Vec::new() };
    let agent_of = |party: &Party| {
        let id = party.peer()?;
        peers.iter().find(|peer| peer.id == id).map(|peer| peer.agent_type.clone())
    };
    let Packed { text, whole, begun } = text::pack(&messages, remaining, agent_of, now());
    if text.is_empty() {
        return Ok((Verdict::Silent, Marks::default()));
    }
    let verdict = match kind {
        Kind::Context(_) => Verdict::Inject(text),
        // What is written to everyone can wait until the agent goes on by itself.
        Kind::Stop if whole.iter().chain(&begun).any(direct) => Verdict::Continue(text),
        Kind::Stop | Kind::BeforeEdit => return Ok((Verdict::Silent, Marks::default())),
    };
    Ok((verdict, Marks { read: whole, notified: begun }))
}

/// Everyone who is here; nobody if that cannot be told. It is only for naming senders.
fn everyone(client: &mut Client) -> Vec<PeerInfo> {
    let ask = ListPeers { include_stale: true, ..ListPeers::default() };
    let reply: Result<PeersReply, ClientError> = client.call(&Request::Peers(ask));
    reply.map(|reply| reply.peers).unwrap_or_default()
}

fn mark(client: &mut Client, marks: Marks) -> Result<(), ClientError> {
    let (peer_id, way) = (None, Way::Hook);
    if !marks.read.is_empty() {
        let ids = marks.read;
        client.call_bytes(&Request::MarkRead { peer_id: None, ids, way: Some(way) })?;
    }
    if !marks.notified.is_empty() {
        let ids = marks.notified;
        client.call_bytes(&Request::MarkNotified { peer_id, ids, way })?;
    }
    Ok(())
}

/// The names under which files are locked, each once. What has no such name is left out.
fn canonical(files: &[PathBuf], cwd: Option<&Path>) -> Vec<Box<str>> {
    let here = || std::env::current_dir().ok();
    let base = cwd.filter(|cwd| cwd.is_absolute()).map(Path::to_owned).or_else(here);
    let base = base.unwrap_or_else(|| "/".into());
    let mut names: Vec<Box<str>> = Vec::with_capacity(files.len());
    for file in files {
        let path = paths::canonical_from(&base, file);
        if let Some(name) = path.to_str().filter(|name| name.len() <= PATH_BYTES_MAX)
            && !names.iter().any(|known| **known == *name)
        {
            names.push(name.into());
        }
    }
    names
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Says something to whoever asked for it, and to no one else: some agents show what a hook writes
/// to its standard error.
fn debug(what: &dyn Display) {
    if std::env::var_os(LOG).is_some_and(|level| level == "debug") {
        let text = format!("slm-mesh hook: {what}\n");
        let soon = Instant::now() + Duration::from_millis(1);
        // Who does not read it does not need it.
        let _ = stdio::write_all(io::stderr(), &text, soon);
    }
}
