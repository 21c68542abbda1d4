//! `slm-mesh lock`

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;

use super::actor::{Acting, CLI};
use super::command::{Command, Context, Entry, Group, Task};
use super::out::{Out, Paint, note};
use super::table::{Cell, elastic, fixed, path};
use super::text::escape;
use super::words::{self, Words};
use super::{Exit, Failure, Result, values};
use crate::agent::git;
use crate::api::{Code, GitPlace, LockFile, LockInfo, LockPath, LockReply, LocksReply, Request};
use crate::client::blocking::read_reply;
use crate::client::{Client, ClientError, StartPolicy, new_id, paths};
use crate::limits::{LOCK_TTL_MINUTES_MAX, WAIT_SECONDS_MAX};
use crate::text::{bare_or_quoted, quote};

/// Longest `--wait`: as long as a lock may last.
const WAIT_SECONDS_LONGEST: u64 = 60 * LOCK_TTL_MINUTES_MAX as u64;
/// Pause before another try at a queue that is full.
const CROWDED_PAUSE: Duration = Duration::from_secs(1);

pub(super) const ENTRY: Entry = Entry {
    name: "lock",
    group: Group::Shared,
    summary: "locks on files, so that two do not edit one",
    usage: &[
        "lock list",
        "lock query <path>",
        "lock acquire <path> [--shared] [--wait T] [--ttl T] [--reason R]",
        "lock acquire <path> --steal --reason R [--shared] [--ttl T]",
        "lock release <path> [--force]",
    ],
    about: &[
        "Locks are advice: agents with hooks and commits with `slm-mesh guard` keep to them, and \
         nothing keeps another program from writing. They end with their time, or with their \
         holder. `list` starts no broker.",
        "<path> is a file, a directory (all that is in it), or a pattern, quoted from the \
         shell: * and ? within a name, ** for any number of directories; a backslash before \
         them takes their meaning away. Locks on overlapping paths exclude each other. \
         repo:<path> is relative to the git repository and means the file in each of its \
         working trees. `query` shows every lock that overlaps.",
        "A path that would guard nothing is refused ({a,b}, lists, variables); a place in a file \
         (a.rs:10), @a.rs and file:// are understood; a file of that very name is always \
         meant by it.",
        "With --wait you stand in a queue, first come, first served, until you have the lock \
         or the time is over; Ctrl-C leaves it. With --steal the lock is taken from whoever \
         has it, and they are told why.",
    ],
    options: &[
        ("--ttl T", "for how long: minutes, or 30m, 2h (default: SLM_MESH_LOCK_TTL_MIN, 10)"),
        ("--reason R", "why, for those who find it locked"),
        ("--shared", "to read only: others may share it"),
        ("--wait T", "wait for it: seconds, or 30s, 10m"),
        ("--steal", "take it from whoever has it; needs --reason"),
        ("--exact", "the path is a file's, whatever characters it has"),
        ("--force", "free it whoever holds it"),
    ],
    examples: &[
        ("lock acquire src/main.rs --reason 'moving things'", ""),
        ("lock acquire 'src/**/*.rs' --wait 5m", "stand in the queue"),
        ("lock acquire repo:schema.sql --shared", "in all working trees"),
        ("lock release src/main.rs", ""),
    ],
    parse,
};

#[derive(Debug, PartialEq, Eq)]
enum Lock {
    List,
    /// The locks that overlap with some files.
    Query {
        files: LockedFiles,
    },
    Acquire(Acquire),
    Release {
        files: LockedFiles,
        /// Whoever holds it.
        force: bool,
    },
}

#[derive(Debug, Default, PartialEq, Eq)]
struct LockedFiles {
    /// A path or pattern.
    path: OsString,
    /// It is a literal path, whatever characters it contains.
    exact: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Acquire {
    files: LockedFiles,
    /// Others may share it.
    shared: bool,
    ttl_minutes: Option<u32>,
    reason: Option<String>,
    /// How long to wait in the queue, seconds.
    wait_seconds: u64,
    /// Take it from whoever has it.
    steal: bool,
}

fn parse(words: &mut Words) -> words::Result<Task> {
    let expected = format!("a time such as 30, 30m or 2h, at most {LOCK_TTL_MINUTES_MAX} min");
    let ttl_minutes = words.value("--ttl", &expected, ttl_minutes)?;
    let expected = format!("a time such as 30, 30s or 10m, at most {WAIT_SECONDS_LONGEST} s");
    let wait = words.value("--wait", &expected, |text| {
        values::seconds(text, 1).filter(|seconds| *seconds <= WAIT_SECONDS_LONGEST)
    })?;
    let reason = words.text("--reason")?;
    let [force, shared, steal, exact] =
        ["--force", "--shared", "--steal", "--exact"].map(|name| words.flag(name));
    let action = words.action(&["list", "query", "acquire", "release"])?;
    words.only_for("--ttl", ttl_minutes.is_some(), action, &["acquire"])?;
    words.only_for("--wait", wait.is_some(), action, &["acquire"])?;
    words.only_for("--reason", reason.is_some(), action, &["acquire"])?;
    words.only_for("--shared", shared, action, &["acquire"])?;
    words.only_for("--steal", steal, action, &["acquire"])?;
    words.only_for("--force", force, action, &["release"])?;
    words.only_for("--exact", exact, action, &["query", "acquire", "release"])?;
    if steal && reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
        return Err(words.error("`--steal` needs `--reason`: whoever loses the lock is told why"));
    }
    if steal && wait.is_some() {
        return Err(words.error("`--steal` takes the lock at once: leave out `--wait`"));
    }
    let names: &[&str] = if action == "list" { &[] } else { &["<path>"] };
    let files = LockedFiles { path: words.rest(names)?.pop().unwrap_or_default(), exact };
    Ok(Task::command(match action {
        "list" => Lock::List,
        "query" => Lock::Query { files },
        "acquire" => {
            let wait_seconds = wait.unwrap_or(0);
            Lock::Acquire(Acquire { files, shared, ttl_minutes, reason, wait_seconds, steal })
        }
        _ => Lock::Release { files, force },
    }))
}

/// Minutes, rounded up.
fn ttl_minutes(text: &str) -> Option<u32> {
    let minutes = u32::try_from(values::seconds(text, 60)?.div_ceil(60)).ok()?;
    (1..=LOCK_TTL_MINUTES_MAX).contains(&minutes).then_some(minutes)
}

impl Command for Lock {
    fn run(&self, context: &mut Context) -> Result<()> {
        let peer_id: Option<Box<str>> = Some(CLI.into());
        let (mut client, request) = match self {
            Self::List => {
                (context.client(StartPolicy::Never)?, Request::QueryLocks { peer_id, path: None })
            }
            Self::Query { files } => {
                let path = Some(lock_path(files, paths::locked_path_from)?);
                (context.client(StartPolicy::IfNeeded)?, Request::QueryLocks { peer_id, path })
            }
            Self::Acquire(acquire) => return take(context, acquire),
            Self::Release { files, force } => {
                if *force {
                    context.check_is_person("to force a lock open")?;
                }
                let path = lock_path(files, paths::locked_path_from)?;
                let Acting { client, peer_id, .. } = context.acting(None, StartPolicy::IfNeeded)?;
                (client, Request::Unlock { peer_id, path, force: *force })
            }
        };
        let body = client.call_bytes(&request)?;
        let out = &mut context.out;
        match &request {
            _ if out.json => out.line(&body),
            Request::QueryLocks { path: Some(path), .. } => {
                let text = format!("{} is not locked.", out.path(&path.file_path));
                list(out, &read_reply(&body)?, &text)
            }
            Request::Unlock { path, .. } => {
                let file = out.path(&path.file_path);
                writeln!(out, "Released {file}.")
            }
            _ => list(out, &read_reply(&body)?, "No files are locked."),
        }
    }
}

fn take(context: &mut Context, acquire: &Acquire) -> Result<()> {
    let path = lock_path(&acquire.files, paths::lock_path_from)?;
    let Acting { mut client, peer_id, .. } = context.acting(None, StartPolicy::IfNeeded)?;
    let lock = LockFile {
        peer_id,
        path,
        shared: acquire.shared,
        reason: acquire.reason.as_deref().map(Into::into),
        ttl_minutes: acquire.ttl_minutes,
        steal: acquire.steal,
        ..LockFile::default()
    };
    let wait = Duration::from_secs(acquire.wait_seconds);
    let remark = std::env::current_dir()
        .ok()
        .filter(|_| !lock.path.exact)
        .and_then(|base| paths::remark(&base, &lock.path.file_path));
    let body = match client.call_bytes(&Request::Lock(lock.clone())) {
        Err(error) if !wait.is_zero() && error.code() == Some(Code::Locked) => {
            if !context.out.json {
                tell_who_has_it(&lock.path.file_path, &error);
            }
            stand_in_queue(&mut client, lock, wait)?
        }
        result => result?,
    };
    if let Some(remark) = remark {
        note(&escape(&remark));
    }
    let out = &mut context.out;
    let Some(LockReply { lock, stolen_from }) = out.answer(&body)? else { return Ok(()) };
    out.now = super::out::now();
    let (file, until) = (out.path(&lock.file_path), out.age(lock.expires_at));
    let shared = if lock.shared { ", shared" } else { "" };
    let from = match &*stolen_from.join(", ") {
        "" => String::new(),
        names => format!(", taken from {}", escape(names)),
    };
    writeln!(out, "Locked {file} (fence {}{shared}){from}; it comes free {until}.", lock.fence)
}

fn tell_who_has_it(path: &str, error: &ClientError) {
    #[derive(serde::Deserialize)]
    struct Body {
        lock: LockInfo,
    }
    let body = match error {
        ClientError::Refused(refused) => serde_json::from_slice::<Body>(&refused.body).ok(),
        _ => None,
    };
    let why = body.map(|Body { lock }| {
        let reason =
            lock.reason.map_or_else(String::new, |reason| format!(" (reason {})", quote(&reason)));
        let holder = lock.locked_by.shown_as(&lock.locked_by_name);
        format!(": {} is locked by {holder}{reason}", bare_or_quoted(&lock.file_path))
    });
    note(&escape(&format!("waiting for {path}{}", why.unwrap_or_default())));
}

/// Asks repeatedly, keeping its place in the queue, until it has the lock or the time is over.
fn stand_in_queue(client: &mut Client, mut lock: LockFile, wait: Duration) -> Result<Vec<u8>> {
    // The process ends at once; its place in the queue ends with its connection.
    let at_once = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(SIGINT, Exit::Interrupted as i32, at_once)
        .map_err(|error| Failure::other("signal_error", format!("cannot wait: {error}")))?;
    let until = Instant::now() + wait;
    lock.place = new_id();
    loop {
        let begun = Instant::now();
        let left = until.saturating_duration_since(begun).as_millis().div_ceil(1000);
        lock.wait = u64::try_from(left).unwrap_or(u64::MAX).min(WAIT_SECONDS_MAX);
        let error = match client.call_bytes(&Request::Lock(lock.clone())) {
            Ok(body) => return Ok(body),
            Err(error) if lock.wait == 0 => return Err(error.into()),
            Err(error) => error,
        };
        match &error {
            ClientError::Refused(_) if error.code() == Some(Code::Locked) => {
                if begun.elapsed() < Duration::from_secs(lock.wait) {
                    let left = until.saturating_duration_since(Instant::now());
                    std::thread::sleep(left.min(CROWDED_PAUSE));
                }
            }
            // The broker has gone, and there may be another.
            error
                if error.leaves_doubt()
                    || matches!(
                        error,
                        ClientError::Unreachable { .. } | ClientError::TimedOut { .. }
                    ) =>
            {
                std::thread::sleep(CROWDED_PAUSE.min(until.saturating_duration_since(begun)));
            }
            _ => return Err(error.into()),
        }
    }
}

fn list(out: &mut Out, reply: &LocksReply, none: &str) -> Result<()> {
    if reply.locks.is_empty() {
        return writeln!(out, "{none}");
    }
    let columns = [
        path("FILE", 28),
        elastic("MACHINE", 8).less(6),
        elastic("HOLDER", 24),
        fixed("MODE").less(1),
        fixed("SINCE").less(2),
        fixed("FREE").less(5),
        fixed("WAITING").less(4),
        elastic("REASON", 16).less(3),
    ];
    out.table(columns, &reply.locks, row)?;
    out.more(reply.remaining)
}

fn row(out: &Out, lock: &LockInfo) -> [Cell; 8] {
    let name = lock.locked_by.shown_as(&lock.locked_by_name);
    [
        Cell::painted(out.path(&lock.file_path), Paint::Bold),
        lock.host.map(|host| host.to_string()).unwrap_or_default().into(),
        escape(&name).into(),
        if lock.shared { "shared" } else { "exclusive" }.into(),
        out.age(lock.locked_at).into(),
        out.age(lock.expires_at).into(),
        if lock.waiting == 0 { String::new() } else { lock.waiting.to_string() }.into(),
        escape(lock.reason.as_deref().unwrap_or_default()).into(),
    ]
}

/// The files in the broker's form, with the repository they are in. `read` interprets a path that is
/// not exact.
fn lock_path(
    files: &LockedFiles,
    read: fn(&Path, &str) -> std::result::Result<String, String>,
) -> Result<LockPath> {
    let LockedFiles { path, exact } = files;
    if path.is_empty() {
        return Err(Failure::usage("the path is empty"));
    }
    let wrong = |error: String| Failure::usage(format!("{}: {error}", path.display()));
    let file_path: Box<str> = if *exact {
        paths::canonical(Path::new(path)).map_err(|error| wrong(error.to_string()))?
    } else {
        let text = path.to_str().ok_or_else(|| wrong("the path is not valid UTF-8".to_owned()))?;
        let base = if text.starts_with('/') { Ok("/".into()) } else { std::env::current_dir() };
        let base = base.map_err(|error| wrong(error.to_string()))?;
        read(&base, text).map_err(wrong)?.into()
    };
    let repository = if file_path.starts_with('/') {
        directory_of(&file_path).and_then(|dir| git::repository(&dir))
    } else {
        std::env::current_dir().ok().and_then(|dir| git::repository(&dir))
    };
    if repository.is_none() && !exact && file_path.starts_with("repo:") {
        return Err(wrong("the working directory is in no git repository".to_owned()));
    }
    let root = repository.as_ref().and_then(|repository| repository.root.to_str());
    Ok(LockPath {
        file_path,
        exact: *exact,
        git: GitPlace {
            git_root: root.map(Into::into),
            repo_id: repository.as_ref().map(|repository| repository.id.as_str().into()),
            repo_hash: repository.as_ref().and_then(|repository| repository.hash),
        },
    })
}

/// The nearest existing directory above a path.
fn directory_of(path: &str) -> Option<PathBuf> {
    Path::new(path).ancestors().find(|dir| dir.is_dir()).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::invocation::testing::{command, refused};

    #[test]
    fn options_belong_to_actions() {
        let files = || LockedFiles { path: OsString::from("src/a b"), exact: false };
        let acquire = Acquire {
            files: files(),
            ttl_minutes: Some(90),
            reason: Some("why not".to_owned()),
            shared: true,
            wait_seconds: 120,
            steal: false,
        };
        let steal = Acquire {
            files: LockedFiles { path: "x*".into(), exact: true },
            reason: Some("r".to_owned()),
            steal: true,
            ..Acquire::default()
        };
        for (line, expected) in [
            ("lock list", Lock::List),
            ("lock query src/a~b", Lock::Query { files: files() }),
            (
                "lock acquire --ttl 90 --reason why~not src/a~b --shared --wait 2m",
                Lock::Acquire(acquire),
            ),
            ("lock acquire x* --exact --steal --reason r", Lock::Acquire(steal)),
            ("lock release src/a~b --force", Lock::Release { files: files(), force: true }),
        ] {
            assert_eq!(command::<Lock>(line), expected, "{line}");
        }
        assert!(refused("lock acquire x --steal").contains("needs `--reason`"));
        assert!(refused("lock acquire x --steal --reason ~").contains("needs `--reason`"));
        assert!(refused("lock acquire x --steal --reason r --wait 1").contains("at once"));
        assert!(refused("lock acquire x --wait 2d").contains("at most 86400 s"));
        assert!(refused("lock release x --shared").contains("belongs to `acquire`"));
        assert!(refused("lock list --exact").contains("belongs to `query`"));
        assert!(refused("lock").contains("list, query, acquire, release is missing"));
        assert!(refused("lock aquire x").contains("did you mean `acquire`?"));
        assert!(refused("lock query").contains("<path> is missing"));
        assert!(refused("lock list x").contains("unexpected word"));
        assert!(refused("lock acquire x --force").contains("belongs to `release`"));
        assert!(refused("lock acquire x --ttl 25h").contains("at most 1440 min"));
    }

    #[test]
    fn a_begun_minute_counts() {
        assert_eq!(ttl_minutes("90s"), Some(2));
        assert_eq!((ttl_minutes("0"), ttl_minutes("1440")), (None, Some(1440)));
    }
}
