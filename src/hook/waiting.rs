//! `slm-mesh hook claude-code --wait`: stays beside an idle Claude Code until a message comes, and ends
//! with it.
//!
//! Claude Code runs such a hook in the background (`asyncRewake`). When it exits with 2, its standard
//! error becomes the prompt of a new turn, or is added to the running one. Every start of a session and
//! every end of a turn launches another, and every exit with 2 costs a turn, so only one waits for each
//! process of Claude Code and the others exit at once. It survives `/clear`, as the process and its MCP
//! server do. It exits at once in `claude -p`, which would wait for it, and in an agent started from
//! within, which has inherited the variables.
//!
//! While it waits it sleeps in a request that the broker holds, and watches Claude Code's process.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::session::{Asker, Found};
use super::{HookEvent, session, stdio};
use crate::agent::above;
use crate::agents::{Agent, CLAUDE_CODE, HookForm};
use crate::api::{Claim, Claimed, Request};
use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::limits::{
    CALL_TIME_MAX, CLAIM_WAIT_SECONDS_MAX, HOOK_INPUT_TIME_MAX, HOOK_LAST_WORD, HOOK_MESSAGES_MAX,
    WAIT_PAUSE_MAX, WAIT_PAUSE_MIN, WAIT_TRIES_MAX,
};
use crate::log;
use crate::model::{SentStatus, Way};
use crate::platform::{self, BrokerLock, ProcessWatch, poll_readable};
use crate::tell::{self, Composed, Item};

/// The variable with the process id of the Claude Code that runs the hook.
const CLAUDE_PID: &str = "CLAUDE_PID";
/// The variable that says how Claude Code was started, and its value in a terminal.
const ENTRYPOINT: (&str, &str) = ("CLAUDE_CODE_ENTRYPOINT", "cli");
/// The exit code that wakes Claude Code.
const WAKES: u8 = 2;

/// Waits for a message, and ends with it. `data_dir` is that of the command line.
#[must_use]
pub fn wait(agent: Option<&'static Agent>, data_dir: Option<&OsStr>) -> ExitCode {
    let told = agent
        .is_none_or(|agent| agent.has_way(Way::WaitHook))
        .then(terminal_claude)
        .flatten()
        .and_then(|claude| wait_beside(claude, data_dir));
    ExitCode::from(if told.is_some() { WAKES } else { 0 })
}

/// The process of the Claude Code in a terminal whose hook this is.
fn terminal_claude() -> Option<u32> {
    if std::env::var_os(ENTRYPOINT.0)? != ENTRYPOINT.1 {
        return None;
    }
    let pid: u32 = std::env::var(CLAUDE_PID).ok()?.parse().ok()?;
    let above = above::above(std::process::id());
    let is_own = match above.nearest {
        Some(nearest) => nearest.pid == pid,
        None => above.below.contains(&pid),
    };
    is_own.then_some(pid)
}

/// Waits beside `claude` unless another hook does. `Some` if the agent is being told of a message.
fn wait_beside(claude: u32, data_dir: Option<&OsStr>) -> Option<()> {
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let input = stdio::read_document(stdin, Instant::now() + HOOK_INPUT_TIME_MAX)?;
    let event = HookForm::ClaudeCode.read(&input)?;
    // It may contain a long answer of the model.
    drop(input);
    let config = Config::from_env(data_dir).ok()?;
    log::set_level(config.log);
    let _lock = lock(&config.paths.waiting(), claude).ok()??;
    end_with(claude).ok()?;
    let mut tries = 0;
    while tries < WAIT_TRIES_MAX && platform::is_alive(claude) {
        let asked = Instant::now();
        let pause = (WAIT_PAUSE_MIN * 2_u32.saturating_pow(tries)).min(WAIT_PAUSE_MAX);
        let mut client = Client::until(&config, asked + CALL_TIME_MAX);
        client.wait_out_rate_limits();
        match next(&mut client, &config, &event) {
            Ok(Some(Claimed { messages, defer_ms, .. })) if messages.is_empty() => {
                // A broker that answers at once every time is asked no more often than an absent one.
                let held = asked.elapsed() >= WAIT_PAUSE_MAX || defer_ms.is_some();
                tries = if held { 0 } else { tries + 1 };
                thread::sleep(defer_ms.map_or(pause, Duration::from_millis).max(WAIT_PAUSE_MIN));
            }
            Ok(Some(claimed)) => return tell(&mut client, claimed),
            // The MCP server starts after the first hook, and registers again with a new broker.
            Ok(None) | Err(_) => {
                tries += 1;
                thread::sleep(pause);
            }
        }
    }
    None
}

/// Takes the lock of the hook that waits beside `claude`; `None` if another one holds it. Removes the
/// lock files of processes that are gone.
fn lock(dir: &Path, claude: u32) -> io::Result<Option<BrokerLock>> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let pid: Option<u32> = name.to_str().and_then(|name| name.parse().ok());
        if pid.is_some_and(|pid| pid != claude && !platform::is_alive(pid)) {
            // Another hook may have removed it first.
            let _ = fs::remove_file(entry.path());
        }
    }
    BrokerLock::try_acquire(&dir.join(claude.to_string()))
}

/// Makes this process exit when `claude` does, where the system can tell.
fn end_with(claude: u32) -> io::Result<()> {
    let watch = match ProcessWatch::open(claude) {
        Ok(Some(watch)) => watch,
        Ok(None) => return Err(io::ErrorKind::NotFound.into()),
        Err(_) => return Ok(()),
    };
    let builder = thread::Builder::new().stack_size(64 * 1024);
    let wait = move || {
        while !watch.has_ended() {
            let _ = poll_readable(&watch, None);
        }
        std::process::exit(0);
    };
    builder.spawn(wait).map(drop)
}

/// Claims what there is to tell, as soon as there is something or the time is over. `None` if the
/// session is not in the mesh.
fn next(
    client: &mut Client,
    config: &Config,
    event: &HookEvent,
) -> Result<Option<Claimed>, ClientError> {
    client.use_broker_token();
    let asker = Asker {
        session: event.session.as_deref(),
        agent: Some(CLAUDE_CODE.agent_type),
        cwd: event.cwd.as_deref(),
        ..Asker::default()
    };
    let Found::One(me) = session::find(client, &asker)? else { return Ok(None) };
    let Some(token) = session::token(config, &me) else { return Ok(None) };
    client.use_token(&token);
    let wait = CLAIM_WAIT_SECONDS_MAX;
    client.set_deadline(Instant::now() + Duration::from_secs(wait) + CALL_TIME_MAX);
    let limit = Some(HOOK_MESSAGES_MAX);
    client.call(&Request::Claim(Claim { limit, wait, ..Claim::new(Way::WaitHook) })).map(Some)
}

/// Tells the agent, and then the broker. Until the agent's prompt hook has seen the text, the message
/// counts as sent only.
fn tell(client: &mut Client, claimed: Claimed) -> Option<()> {
    client.set_deadline(Instant::now() + CALL_TIME_MAX);
    let Claimed { messages, remaining, claim_id, .. } = claimed;
    let items: Vec<Item> = messages.iter().map(Item::message).collect();
    let Composed { text, whole, begun, told } = tell::compose(&items, remaining);
    let by = Instant::now() + HOOK_LAST_WORD;
    let written = stdio::write_all(io::stderr(), &text, by);
    for (ids, whole) in [(whole, true), (begun, false)] {
        if written && !ids.is_empty() {
            let (way, status) = (Way::WaitHook, SentStatus::Sent);
            let sent = Request::MarkSent { peer_id: None, ids, way, status, whole, claim_id };
            // If this fails the message may be told twice.
            let _ = client.call_bytes(&sent);
        }
    }
    if let Some(claim_id) = claim_id.filter(|_| !written || told < messages.len()) {
        let _ = client.call_bytes(&Request::ReleaseClaim { peer_id: None, claim_id });
    }
    written.then_some(())
}
