//! `slm-mesh start`: starting and ending the process that serves a data directory.
//!
//! The broker itself is elsewhere. Started in the background, it writes one line to its standard output,
//! `ready <port>` or `error <text>`, and then closes its standard descriptors.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::command::{Command, Context, Entry, Group, Task};
use super::out::write_object;
use super::words::{self, Words};
use super::{Failure, Result};
use crate::client::launch::broker_environment;
use crate::client::locate::locate;
use crate::client::{Broker, Client, ClientError, Located, StartPolicy};
use crate::config::Config;
use crate::platform::{self, LockHolder, own_executable};
use crate::role;
use crate::role::stored::{self, Stored};
use crate::{api, data_dir, files};

/// How long a broker may take to start. Clients wait for less.
pub(super) const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How long to wait for another broker that holds the lock.
const OTHER_TIME_MAX: Duration = Duration::from_secs(4);
/// How long a broker may take to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait for the last output of a broker that has ended.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);
/// How often the lock is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Most bytes that are read of a broker's output.
const SAID_BYTES_MAX: usize = 8192;

pub(super) const ENTRY: Entry = Entry {
    name: "start",
    group: Group::Broker,
    summary: "run the broker, or start it in the background",
    usage: &["start [--detached]"],
    about: &[
        "Agents and most commands start the broker by themselves; there is one for each data \
         directory. In the foreground it logs to the standard error and ends with Ctrl-C; in \
         the background it logs to broker.log in the data directory.",
        "With --detached, a broker that runs already is fine.",
    ],
    options: &[("--detached", "in the background; returns once it serves")],
    examples: &[("start --detached", ""), ("start", "in the foreground")],
    parse,
};

fn parse(words: &mut Words) -> words::Result<Task> {
    let (detached, in_background) = (words.flag("--detached"), words.flag("--background"));
    if detached && in_background {
        return Err(words.error("`--detached` and `--background` exclude each other"));
    }
    words.end()?;
    Ok(if detached { Task::command(Detached) } else { Task::Broker { in_background } })
}

/// Starts a broker in the background, unless one serves already, and returns once it serves.
#[derive(Debug)]
struct Detached;

impl Command for Detached {
    fn run(&self, context: &mut Context) -> Result<()> {
        let config = &context.config;
        role::of(config).map_err(ClientError::from)?;
        data_dir::prepare(&config.paths)?;
        // Of several starts at the same time, the others wait for the first and find its broker. If the
        // directory cannot be locked, the broker's own lock decides.
        let turn = platform::lock_dir(config.paths.dir()).ok().flatten();
        let broker = match locate(config)? {
            Located::Serving(broker) => broker,
            Located::NotReady(_) | Located::Absent => start(config)?,
        };
        drop(turn);
        let out = &mut context.out;
        let port = broker.address.port();
        if out.json {
            write_object!(out, "ok" => true, "port" => port, "pid" => broker.pid)
        } else if out.is_terminal {
            writeln!(out, "The broker is running on port {port}.")
        } else {
            writeln!(out, "ready {port}")
        }
    }
}

fn start(config: &Config) -> Result<Broker> {
    let mut child = spawn(config)
        .map_err(|error| start_failed(format!("the broker cannot be run: {error}")))?;
    let output = child
        .stdout
        .as_mut()
        .map(|stdout| read_until(stdout, START_TIME_MAX, |read| read.contains(&b'\n')));
    let output = output.unwrap_or_default();
    let text = String::from_utf8_lossy(&output.bytes);
    let reason = match text.lines().next().map(str::trim) {
        Some(line) => match line.split_once(' ').unwrap_or((line, "")) {
            ("ready", _) => None,
            ("error", text) => Some(text.to_owned()),
            _ => Some(format!("the broker said {line:?}, which means nothing here")),
        },
        None if !output.timed_out => Some(last_words(config, &mut child)),
        None => {
            let seconds = START_TIME_MAX.as_secs();
            Some(format!("the broker was not ready within {seconds} s; see broker.log"))
        }
    };
    // It is ready, or another one was faster.
    let deadline = Instant::now() + OTHER_TIME_MAX;
    loop {
        match (locate(config)?, &reason) {
            (Located::Serving(broker), _) => return Ok(broker),
            (Located::NotReady(_), _) if Instant::now() < deadline => {
                std::thread::sleep(LOOK_INTERVAL);
            }
            (_, Some(reason)) => return Err(start_failed(reason.clone())),
            (_, None) => return Err(start_failed("the broker ended again at once".into())),
        }
    }
}

fn spawn(config: &Config) -> io::Result<Child> {
    platform::close_others_on_exec();
    std::process::Command::new(own_executable()?)
        .args(["start", "--background"])
        .env_clear()
        .envs(broker_environment(config))
        .current_dir(config.paths.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// What was read from a pipe.
#[derive(Default)]
pub(super) struct PipeOutput {
    pub(super) bytes: Vec<u8>,
    /// Whether it neither ended nor brought what was waited for in time.
    timed_out: bool,
}

/// Reads from a pipe until it ends, what has come `is_enough`, or `time` is over.
pub(super) fn read_until<P: Read + AsFd>(
    pipe: &mut P,
    time: Duration,
    is_enough: impl Fn(&[u8]) -> bool,
) -> PipeOutput {
    let deadline = Instant::now() + time;
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    while bytes.len() < SAID_BYTES_MAX && !is_enough(&bytes) {
        let left = deadline.saturating_duration_since(Instant::now());
        match platform::poll_readable(&*pipe, Some(left)) {
            Ok(true) => {}
            Ok(false) if left.is_zero() => return PipeOutput { bytes, timed_out: true },
            Ok(false) => continue,
            Err(_) => break,
        }
        match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    PipeOutput { bytes, timed_out: false }
}

/// Why a broker ended without a line, from its standard error or its log.
fn last_words(config: &Config, child: &mut Child) -> String {
    if let Some(stderr) = &mut child.stderr {
        let said = read_until(stderr, LAST_WORDS_TIME_MAX, |_| false).bytes;
        let said = String::from_utf8_lossy(&said);
        let said = said.trim();
        if !said.is_empty() {
            return said.strip_prefix("slm-mesh: ").unwrap_or(said).to_owned();
        }
    }
    let how = match child.try_wait() {
        Ok(Some(status)) => format!("the broker ended with {status}"),
        Ok(None) | Err(_) => "the broker ended".into(),
    };
    match tail(config) {
        Some(line) => format!("{how}; the end of its log: {line}"),
        None => format!("{how} and said nothing"),
    }
}

/// The last line of the broker's log.
fn tail(config: &Config) -> Option<String> {
    let bytes_max = usize::try_from(crate::limits::LOG_BYTES_MAX).ok()?.saturating_mul(2);
    let log = files::read_bounded(&config.paths.log(), bytes_max).ok()?;
    let log = String::from_utf8_lossy(&log);
    log.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

fn start_failed(reason: String) -> Failure {
    Failure::other("start_failed", reason)
}

/// Stores the role of the data directory from now on, none for a broker of this machine alone, and
/// restarts the process that serves it in that role. Its clients are told, and connect again.
pub(super) fn switch(config: &Config, stored: Option<&Stored>) -> Result<()> {
    let path = config.paths.machines();
    match stored {
        Some(stored) => stored::write(&path, stored),
        None => stored::forget(&path),
    }
    .map_err(Failure::file)?;
    let config = config.of_any_role();
    match Client::open(&config, StartPolicy::Never) {
        Ok(client) => end(&config, client)?,
        Err(ClientError::NoBroker) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    Client::open(&config, StartPolicy::IfNeeded)?;
    Ok(())
}

/// Asks the process that serves to stop, and waits until it has ended.
pub(super) fn end(config: &Config, mut client: Client) -> Result<()> {
    let pid = client.broker().and_then(|broker| broker.pid);
    match client.call_bytes(&api::Request::Shutdown) {
        // It may end before its answer arrives.
        Ok(_) | Err(ClientError::InDoubt { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    drop(client);
    let deadline = Instant::now() + STOP_TIME_MAX;
    while still_there(config, pid)? {
        if Instant::now() >= deadline {
            let seconds = STOP_TIME_MAX.as_secs();
            return Err(Failure::other(
                "still_stopping",
                format!("the broker is still stopping after {seconds} s; see broker.log"),
            ));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// Whether the lock is still held, by that process if it is known, not by a successor.
fn still_there(config: &Config, pid: Option<u32>) -> Result<bool> {
    let holder = platform::lock_holder(&config.paths.lock())
        .map_err(|error| Failure::file(format!("the broker's lock cannot be read: {error}")))?;
    Ok(match holder {
        None => false,
        Some(LockHolder { pid: holder }) => holder == pid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused, task};

    #[test]
    fn a_broker_is_started_in_three_ways() {
        assert!(matches!(task("start"), Task::Broker { in_background: false }));
        assert!(matches!(task("start --background"), Task::Broker { in_background: true }));
        command::<Detached>("start --detached");
        assert!(refused("start --detached --background").contains("exclude each other"));
    }
}
