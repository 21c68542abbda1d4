//! `slm-mesh clean`: removes what dead brokers and peers have left behind.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::command::{Command, Context, Entry, Group, alone};
use super::out::{note, write_object};
use super::start::START_TIME_MAX;
use super::text::count;
use super::{Failure, Result};
use crate::api::{ListPeers, PeersReply, Request};
use crate::client::locate::locate;
use crate::client::{Client, ClientError, Located, StartPolicy};
use crate::config::Config;
use crate::files;
use crate::platform::{self, Address, BrokerLock, LockHolder, ProcessWatch, Signal};

/// How long a broker that is asked to end may take before it is killed.
const TERM_TIME_MAX: Duration = Duration::from_secs(3);
/// How long the kernel may take to end it then.
const KILL_TIME_MAX: Duration = Duration::from_secs(2);
/// How often the lock is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What was removed and ended.
#[derive(Default)]
struct Done {
    ended: Option<u32>,
    files: u64,
    sockets: u64,
}

pub(super) const ENTRY: Entry = Entry {
    name: "clean",
    group: Group::Broker,
    summary: "remove what dead brokers and peers have left behind",
    usage: &["clean"],
    about: &["Removes sockets to which no connection can be made, and the files of a broker that \
         was killed. A broker that holds its lock but no longer answers is ended, after a \
         check that the process is the broker of this data directory. One that cannot be \
         reached because of where this runs (a sandbox, a container) is left alone. Messages \
         and state stay."],
    options: &[],
    examples: &[("clean", "")],
    parse: alone::<Clean>,
};

#[derive(Debug, Default)]
struct Clean;

impl Command for Clean {
    fn run(&self, context: &mut Context) -> Result<()> {
        context.check_is_person("to tidy up")?;
        // Whatever role the settings ask for.
        let config = &context.config.of_any_role();
        let mut done = Done::default();
        let mut live = HashSet::new();
        wait_for_start(config)?;
        match Client::open(config, StartPolicy::Never) {
            Ok(client) => live = live_sockets(client),
            Err(ClientError::NoBroker) => done.files = clean_broker(config)?,
            Err(
                ClientError::TimedOut { .. }
                | ClientError::Unreachable { .. }
                | ClientError::Protocol { .. },
            ) => {
                done.ended = end_broker(config)?;
                done.files = clean_broker(config)?;
            }
            // It answers, or another program does, or this process is kept from connecting.
            Err(error) => return Err(error.into()),
        }
        let tokens;
        (done.sockets, tokens) = clean_peers(&config.paths.peers(), &live)?;
        done.files += tokens;
        report(context, &done)
    }
}

/// Waits for a broker that is starting or stopping. A start may take a while, for example to repair a
/// database; that is no hang.
fn wait_for_start(config: &Config) -> Result<()> {
    let deadline = Instant::now() + START_TIME_MAX;
    let mut told = false;
    while matches!(locate(config)?, Located::NotReady(ClientError::Unreachable { .. })) {
        if Instant::now() >= deadline {
            break;
        }
        if !std::mem::replace(&mut told, true) {
            note("a broker is starting or stopping; waiting for it");
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

fn report(context: &mut Context, done: &Done) -> Result<()> {
    let out = &mut context.out;
    if out.json {
        let Done { ended, sockets, files } = done;
        return write_object!(
            out,
            "ok" => true, "endedPid" => ended, "sockets" => sockets, "files" => files
        );
    }
    if let Some(pid) = done.ended {
        writeln!(out, "Ended the broker that no longer answered (process {pid}).")?;
    }
    let (sockets, files) =
        (count(done.sockets, "socket", "sockets"), count(done.files, "file", "files"));
    match (done.sockets, done.files) {
        (0, 0) if done.ended.is_none() => writeln!(out, "There was nothing to clean."),
        (0, 0) => Ok(()),
        (0, _) => writeln!(out, "Removed {files}."),
        (_, 0) => writeln!(out, "Removed {sockets}."),
        _ => writeln!(out, "Removed {sockets} and {files}."),
    }
}

/// Sockets of peers that the broker has heard from lately: these need no test.
fn live_sockets(mut client: Client) -> HashSet<PathBuf> {
    // Without the list each socket is tested, which does no harm.
    let reply = client.call::<PeersReply>(&Request::Peers(ListPeers::default()));
    let peers = reply.map(|reply| reply.peers).unwrap_or_default();
    peers.iter().filter_map(|peer| peer.uds_path.as_deref()).map(PathBuf::from).collect()
}

/// Removes the files of a broker that has gone. The lock is held meanwhile, so that they cannot belong
/// to one that is just starting.
fn clean_broker(config: &Config) -> Result<u64> {
    let paths = &config.paths;
    let left = paths.of_running_broker();
    if !left.iter().any(|path| path.exists()) {
        return Ok(0);
    }
    let lock = BrokerLock::try_acquire(&paths.lock())
        .map_err(|error| failed("take the broker's lock", &error))?;
    let Some(_lock) = lock else { return Ok(0) };
    remove_all(&left)
}

/// What peers that have gone left behind.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Sockets to which no connection can be made.
    pub(super) sockets: Vec<PathBuf>,
    /// Tokens without a socket, or with one of these.
    pub(super) tokens: Vec<PathBuf>,
}

/// Looks for what peers have left behind; `live` are sockets that need no test.
pub(super) fn left_by_peers(dir: &Path, live: &HashSet<PathBuf>) -> Result<Left> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Left::default()),
        Err(error) => return Err(failed("look into the directory of sockets", &error)),
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut left = Left::default();
    let has_suffix = |path: &Path, suffix: &str| path.extension() == Some(OsStr::new(suffix));
    for path in paths.iter().filter(|path| has_suffix(path, "sock")) {
        if !live.contains(path) && is_stale(path) {
            left.sockets.push(path.clone());
        }
    }
    for path in paths.into_iter().filter(|path| has_suffix(path, "token")) {
        let socket = path.with_extension("sock");
        if left.sockets.contains(&socket) || !socket.exists() {
            left.tokens.push(path);
        }
    }
    Ok(left)
}

/// Removes what peers have left behind.
fn clean_peers(dir: &Path, live: &HashSet<PathBuf>) -> Result<(u64, u64)> {
    let left = left_by_peers(dir, live)?;
    Ok((remove_all(&left.sockets)?, remove_all(&left.tokens)?))
}

/// Whether nobody listens on a socket: only a refused connection proves it.
fn is_stale(path: &Path) -> bool {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Removes files. Returns how many there were.
fn remove_all(paths: &[PathBuf]) -> Result<u64> {
    let mut removed = 0;
    for path in paths {
        let was_there = files::remove(path)
            .map_err(|error| failed(&format!("remove {}", path.display()), &error))?;
        removed += u64::from(was_there);
    }
    Ok(removed)
}

/// Ends the broker that holds the lock and does not answer. The kernel names the holder; its program
/// is checked nevertheless.
fn end_broker(config: &Config) -> Result<Option<u32>> {
    let Some(LockHolder { pid }) = holder(config)? else { return Ok(None) };
    let Some(pid) = pid else {
        return Err(Failure::other(
            "not_here",
            "the broker does not answer, and its process cannot be seen from here: it runs in \
             another container or on another machine",
        ));
    };
    let watch = ProcessWatch::open(pid).ok().flatten();
    if !is_broker(pid) {
        return Err(Failure::other(
            "not_a_broker",
            format!("process {pid} holds the broker's lock and is no slm-mesh broker; look at it"),
        ));
    }
    if !is_in_reach(config, pid) {
        return Err(Failure::other(
            "not_here",
            format!(
                "the broker (process {pid}) cannot be asked from here: this process is in a \
                 network or container of its own, and outside of it the broker may well answer"
            ),
        ));
    }
    // Asked again while the process is watched: from here on its id cannot be reused.
    if holder(config)? != Some(LockHolder { pid: Some(pid) }) {
        return Ok(None);
    }
    for (signal, time) in [(Signal::Terminate, TERM_TIME_MAX), (Signal::Kill, KILL_TIME_MAX)] {
        // If it has just ended, the lock will show it.
        let sent = match &watch {
            Some(watch) => watch.send_signal(signal),
            None => platform::send_signal(pid, signal),
        };
        let deadline = Instant::now() + time;
        loop {
            if holder(config)? != Some(LockHolder { pid: Some(pid) }) {
                return Ok(Some(pid));
            }
            if let Err(error) = &sent {
                return Err(failed(&format!("end the broker (process {pid})"), error));
            }
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
    let message = format!("the broker (process {pid}) does not end, not even when it is killed");
    Err(Failure::other("does_not_end", message))
}

fn holder(config: &Config) -> Result<Option<LockHolder>> {
    platform::lock_holder(&config.paths.lock())
        .map_err(|error| failed("ask for the broker's lock", &error))
}

/// Whether the attempts reached that broker, so that the silence is its own: it shares our network
/// namespace, or it is the process that listens on the socket.
fn is_in_reach(config: &Config, pid: u32) -> bool {
    platform::shares_network(pid)
        || Address::Unix(config.paths.socket())
            .connect()
            .and_then(platform::peer_credentials)
            .is_ok_and(|listener| listener.pid == Some(pid))
}

/// Whether the process runs this program as a broker.
fn is_broker(pid: u32) -> bool {
    let file_name =
        |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    // The file may have been removed since; then the process name has to do.
    let name = platform::executable(pid).and_then(file_name);
    let name = name.or_else(|| platform::command_name(pid));
    let own = std::env::current_exe().ok().and_then(file_name);
    let is_ours = name.is_some_and(|name| name.starts_with("slm-mesh") || Some(name) == own);
    let line = platform::command_line(pid).unwrap_or_default();
    is_ours && line.iter().skip(1).any(|word| word == "start")
}

fn failed(action: &str, error: &io::Error) -> Failure {
    Failure::file(format!("cannot {action}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::files::tests::TempDir;

    #[test]
    fn only_what_refuses_a_connection_is_stale() {
        let temp = TempDir::new();
        let path = |name: &str| temp.path().join(name);
        drop(UnixListener::bind(path("dead.sock")).unwrap());
        let _listens = UnixListener::bind(path("alive.sock")).unwrap();
        drop(UnixListener::bind(path("known.sock")).unwrap());
        std::fs::write(path("file.sock"), "").unwrap();
        for name in ["dead.token", "alive.token", "alone.token", "other"] {
            std::fs::write(path(name), "").unwrap();
        }
        let live = HashSet::from([path("known.sock")]);
        assert_eq!(clean_peers(temp.path(), &live).unwrap(), (1, 2));
        let mut left: Vec<_> = std::fs::read_dir(temp.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["alive.sock", "alive.token", "file.sock", "known.sock", "other"]);
        assert_eq!(clean_peers(&path("missing"), &live).unwrap(), (0, 0));
    }

    #[test]
    fn this_process_is_no_broker() {
        assert!(!is_broker(std::process::id()));
        assert!(!is_broker(u32::MAX));
    }
}
