//! One run of a hook, from its input to its exit code.
//!
//! The order matters when messages are put into the context: they are claimed, so that nothing else
//! tells the agent of them; written and flushed; and only then marked as read. If the hook dies in
//! between they stay unread, and the claim runs out.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::gate::{self, Edit, Editor, Ruling, Tree};
use super::session::{Asker, Found};
use super::{HookEvent, Kind, Verdict, auto, session, stdio, text, warning};
use crate::agent::git;
use crate::agents::{Agent, HookForm};
use crate::api::{Claim, Claimed, Code, Request};
use crate::client::{Client, ClientError, is_elsewhere, paths};
use crate::config::{Config, LOG};
use crate::limits::{
    HOOK_CLIENT_MS_DEFAULT, HOOK_EDIT_MS_DEFAULT, HOOK_INPUT_TIME_MAX, HOOK_LAST_WORD,
    HOOK_MARK_MS, HOOK_MESSAGES_MAX, HOOK_MS_DEFAULT, PATH_BYTES_MAX,
};
use crate::log;
use crate::model::{MessageId, Moment, PeerId, Timestamp, Way};
use crate::tell::{self, Composed, Item};

/// What is left to do once the answer has been written.
#[derive(Debug, Default)]
struct FollowUp {
    read: Vec<MessageId>,
    notified: Vec<MessageId>,
    /// The claim that they are under.
    claim: Option<Uuid>,
    /// The claim has further messages.
    is_left: bool,
}

/// Reads a question from the standard input and answers it in the form of `agent`, or without one of
/// whichever agent asks. `data_dir` is that of the command line. The exit code is 0, except where the
/// agent takes another one for a refusal.
#[must_use]
pub fn run(agent: Option<&'static Agent>, data_dir: Option<&OsStr>) -> ExitCode {
    // Not `io::stdin`: poll(2) does not see the bytes in its buffer.
    let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let input_by = Instant::now() + HOOK_INPUT_TIME_MAX;
    let input = stdin.ok().and_then(|stdin| stdio::read_document(stdin, input_by));
    let asked = input.and_then(|input| {
        let agent = agent.or_else(|| auto::agent(&input))?;
        let form = agent.hook_form()?;
        Some((agent.agent_type, form, form.read(&input)?))
    });
    let Some((agent, form, event)) = asked else {
        debug(&"nothing to do for this input");
        return ExitCode::SUCCESS;
    };
    let config = match Config::from_env(data_dir) {
        Ok(config) => config,
        Err(error) => return say(form, &event, &blind(&event, &error), Instant::now()).1,
    };
    log::set_level(config.log);
    // The time limit covers what follows; starting the process is not counted.
    let ms = config.hook_ms.unwrap_or_else(|| own_ms(&config, &event));
    let end = Instant::now() + Duration::from_millis(ms.into());
    let answer_by = end.checked_sub(Duration::from_millis(HOOK_MARK_MS.into())).unwrap_or(end);
    let mut client = Client::until(&config, answer_by);
    let decided = match event.kind {
        Kind::BeforeEdit => {
            edit(&mut client, &config, agent, &event).map(|verdict| (verdict, FollowUp::default()))
        }
        _ => inbox(&mut client, &config, agent, &event),
    };
    let (verdict, follow_up) =
        decided.unwrap_or_else(|error| (unanswered(&event, &error), FollowUp::default()));
    let (written, exit) = say(form, &event, &verdict, answer_by);
    // What the agent was told must not be told again, even if time is up.
    client.set_deadline(end.max(Instant::now() + HOOK_LAST_WORD));
    if let Err(error) = mark(&mut client, follow_up, written) {
        debug(&error);
    }
    exit
}

/// The time limit if none is configured, in ms.
fn own_ms(config: &Config, event: &HookEvent) -> u32 {
    match event.kind {
        Kind::BeforeEdit => HOOK_EDIT_MS_DEFAULT,
        // The answer comes from another machine.
        _ if is_elsewhere(&config.paths) => HOOK_CLIENT_MS_DEFAULT,
        _ => HOOK_MS_DEFAULT,
    }
}

/// The verdict if the broker gave no answer.
fn unanswered(event: &HookEvent, error: &ClientError) -> Verdict {
    match error {
        // Without a broker nothing is locked.
        ClientError::NoBroker => Verdict::Silent,
        error => blind(event, error),
    }
}

/// The verdict if the locks could not be checked, for this reason.
fn blind(event: &HookEvent, error: &dyn Display) -> Verdict {
    debug(error);
    match event.kind {
        Kind::BeforeEdit => Verdict::Warn(warning::blind(error)),
        Kind::Context(..) | Kind::Stop { .. } | Kind::End => Verdict::Silent,
    }
}

/// Writes the answer. Returns whether it was taken, and the exit code.
fn say(form: HookForm, event: &HookEvent, verdict: &Verdict, by: Instant) -> (bool, ExitCode) {
    let output = form.write(event, verdict);
    // A late answer is still written: agents wait longer than our own limit.
    let by = match verdict {
        Verdict::Silent if event.kind != Kind::BeforeEdit => by,
        _ => by.max(Instant::now() + HOOK_LAST_WORD),
    };
    let written = stdio::write_all(io::stdout(), &output.stdout, by)
        && stdio::write_all(io::stderr(), &output.stderr, by);
    if !written {
        debug(&"the answer could not be written");
    }
    (written, ExitCode::from(output.exit))
}

/// The peer whose session this is. If that cannot be determined, the log says so.
fn find(client: &mut Client, agent: &str, event: &HookEvent) -> Result<Found, ClientError> {
    let found = session::find(
        client,
        &Asker {
            session: event.session.as_deref(),
            agent: Some(agent),
            cwd: event.cwd.as_deref(),
            inherited: false,
            begins: event.source.is_some(),
        },
    )?;
    match &found {
        Found::One(_) => {}
        Found::Several(peers) => {
            let names: Vec<&str> = peers.iter().map(|peer| &*peer.name).collect();
            log::warn(format_args!(
                "this hook of {} may be of one of these sessions, and cannot tell whether and of \
                 which, so it does nothing for any: {}",
                agent,
                names.join(", ")
            ));
        }
        Found::Nobody(_) => debug(&"no session of this agent is in the mesh"),
    }
    Ok(found)
}

/// Whether the session of `agent` in `event` may edit these files, decided within the time limit of a
/// hook.
#[must_use]
pub fn check_edit(config: &Config, agent: &str, event: &HookEvent) -> Verdict {
    let ms = config.hook_ms.unwrap_or(HOOK_EDIT_MS_DEFAULT);
    let mut client = Client::until(config, Instant::now() + Duration::from_millis(ms.into()));
    edit(&mut client, config, agent, event).unwrap_or_else(|error| unanswered(event, &error))
}

/// Whether the files may be edited.
fn edit(
    client: &mut Client,
    config: &Config,
    agent: &str,
    event: &HookEvent,
) -> Result<Verdict, ClientError> {
    client.wait_out_rate_limits();
    let files = canonical(&event.files, event.cwd.as_deref());
    let mut remarks: Vec<String> = Vec::new();
    if event.unseen {
        remarks.push(warning::unseen());
    }
    if !files.is_empty() {
        let edit = Edit { tree: tree_of(&files), files, subagent: event.subagent.clone() };
        let mut found = find(client, agent, event)?;
        let mut subagent = match &event.subagent {
            Some(id) => session::find_named(client, id, agent)?,
            None => None,
        };
        if found.one().is_none()
            && let Some(subagent) = subagent.take()
        {
            found = Found::One(Box::new(subagent));
        }
        match rule(client, config, &edit, &found, subagent.map(|peer| peer.id))? {
            Ruling::Allowed(subagents) if subagents.is_empty() => {}
            Ruling::Allowed(subagents) => remarks.push(warning::subagents(&subagents)),
            Ruling::NotTaken(reason) => remarks.push(warning::not_taken(&reason)),
            Ruling::MaybeOwn(holder) => remarks.push(warning::maybe_own(&holder)),
            Ruling::Locked(locks) => {
                let (first, others) = (locks.first(), locks.len().saturating_sub(1));
                let reason = first.map(|lock| text::denial(lock, others, now()));
                return Ok(Verdict::Deny(reason.unwrap_or_default()));
            }
            Ruling::Behind(words) => {
                return Ok(Verdict::Deny(format!("{words}. The edit was not made.")));
            }
        }
        if matches!(found, Found::Several(_)) {
            remarks.push(warning::ambiguous());
        }
    }
    Ok(if remarks.is_empty() { Verdict::Silent } else { Verdict::Warn(remarks.join("\n")) })
}

/// The ruling about an edit by whoever was found, asked for with that peer's token if there is one.
fn rule(
    client: &mut Client,
    config: &Config,
    edit: &Edit,
    found: &Found,
    subagent: Option<PeerId>,
) -> Result<Ruling, ClientError> {
    let token = found.one().and_then(|peer| session::token(config, peer));
    if let Some(token) = &token {
        client.use_token(token);
        let ruling = gate::rule(client, edit, &Editor::of(found, subagent, config.auto_lock));
        match ruling {
            Err(error) if error.code() == Some(Code::Unauthorized) => debug(&error),
            ruling => return ruling,
        }
    }
    // The broker's token is enough to see what is locked.
    client.use_broker_token();
    gate::rule(client, edit, &Editor::of(found, subagent, false))
}

/// Claims the waiting messages.
fn inbox(
    client: &mut Client,
    config: &Config,
    agent: &str,
    event: &HookEvent,
) -> Result<(Verdict, FollowUp), ClientError> {
    let nothing = (Verdict::Silent, FollowUp::default());
    let Found::One(me) = find(client, agent, event)? else { return Ok(nothing) };
    let Some(token) = session::token(config, &me) else {
        debug(&"the session has left no token");
        return Ok(nothing);
    };
    client.use_token(&token);
    let known = me.session_id.as_deref();
    if let Some(session) = event.session.as_deref().filter(|session| Some(*session) != known)
        && (event.source.is_some() || known.is_none())
    {
        // From now on the peer is found by this session id, and not taken for another.
        let session_id = Some(session.into());
        let bind = Request::Heartbeat { peer_id: None, git_branch: None, session_id };
        if let Err(error) = client.call_bytes(&bind) {
            debug(&error);
        }
    }
    claim(client, event)
}

/// Reports where in its turn the agent is, and gets what to tell it there.
fn claim(client: &mut Client, event: &HookEvent) -> Result<(Verdict, FollowUp), ClientError> {
    let moment = event.kind.moment();
    let prompt = event.prompt.as_deref().filter(|_| moment == Some(Moment::Prompt));
    let proof = prompt.map(tell::handles).unwrap_or_default();
    let limit = Some(HOOK_MESSAGES_MAX);
    let claim = Request::Claim(Claim { limit, moment, proof, ..Claim::new(Way::Hook) });
    let Claimed { messages, remaining, claim_id, .. } = client.call(&claim)?;
    let Some(claim_id) = claim_id.filter(|_| !messages.is_empty()) else {
        return Ok((Verdict::Silent, FollowUp::default()));
    };
    let items: Vec<Item> = messages.iter().map(Item::message).collect();
    let Composed { text, whole, begun, told } = tell::compose(&items, remaining);
    let verdict = match event.kind {
        Kind::Context(..) => Verdict::Inject(text),
        Kind::Stop { again: false } => Verdict::Continue(text),
        // The agent would not read it at this point.
        Kind::Stop { again: true } | Kind::End | Kind::BeforeEdit => {
            let unused = FollowUp { claim: Some(claim_id), is_left: true, ..FollowUp::default() };
            return Ok((Verdict::Silent, unused));
        }
    };
    let is_left = told < messages.len();
    Ok((verdict, FollowUp { read: whole, notified: begun, claim: Some(claim_id), is_left }))
}

/// Marks what the agent was told, if the answer was taken, and releases the rest.
fn mark(client: &mut Client, follow_up: FollowUp, was_taken: bool) -> Result<(), ClientError> {
    let FollowUp { read, notified, claim: Some(claim_id), is_left } = follow_up else {
        return Ok(());
    };
    let (peer_id, way) = (None, Way::Hook);
    let claimed = Some(claim_id);
    if was_taken && !read.is_empty() {
        let way = Some(way);
        client.call_bytes(&Request::MarkRead { peer_id, ids: read, way, claim_id: claimed })?;
    }
    if was_taken && !notified.is_empty() {
        let (ids, claim_id) = (notified, claimed);
        client.call_bytes(&Request::MarkNotified { peer_id: None, ids, way, claim_id })?;
    }
    if is_left || !was_taken {
        client.call_bytes(&Request::ReleaseClaim { peer_id: None, claim_id })?;
    }
    Ok(())
}

/// The canonical names of `files`, without duplicates. Files that cannot be locked are left out.
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

/// The repository and the working tree of `files`, if all are in one.
fn tree_of(files: &[Box<str>]) -> Option<Tree> {
    let directory = Path::new(&**files.first()?).ancestors().skip(1).find(|it| it.is_dir())?;
    let repository = git::repository(directory)?;
    let mut paths = files.iter().map(|file| Path::new(&**file));
    let is_whole = paths.all(|path| path.starts_with(&repository.root));
    let root = repository.root.to_str().filter(|_| is_whole)?;
    Some(Tree { repo_id: repository.id.into(), repo_hash: repository.hash, root: root.into() })
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Writes to the standard error, but only at log level `debug`, since some agents show it to their
/// users.
fn debug(what: &dyn Display) {
    if std::env::var_os(LOG).is_some_and(|level| level == "debug") {
        let text = format!("slm-mesh hook: {what}\n");
        let soon = Instant::now() + Duration::from_millis(1);
        // Best effort.
        let _ = stdio::write_all(io::stderr(), &text, soon);
    }
}
