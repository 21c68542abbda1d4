//! What is particular to Codex: the threads of all its terminal sessions run in one shared process,
//! `codex app-server`, which also starts their MCP servers and hooks. So the process tree cannot tell
//! sessions apart, and a thread keeps running for a while after its terminal is closed.

use std::path::{Path, PathBuf};

use super::{above, detect};
use crate::agents::CODEX;
use crate::platform;

/// The command of the shared process.
const SERVER: &str = "app-server";
/// Commands of Codex that are not terminal sessions.
const OTHERS: [&str; 7] =
    [SERVER, "exec", "queue", "mcp-server", "mcp", "exec-server", "completion"];
/// Commands that exit when their task is done. What is queued for their thread is not delivered before
/// the thread is resumed, if ever.
const ONCE: [&str; 3] = ["exec", "e", "review"];
/// Options that name a working directory.
const DIRECTORY: [&str; 2] = ["-C", "--cd"];

/// A terminal session of Codex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its process.
    pub pid: u32,
    /// When it was started, in the system's own unit.
    pub started: u64,
}

/// Whether the process `pid` runs the threads of several terminal sessions. An `app-server` that an
/// editor has started is not shared.
#[must_use]
pub fn is_shared(pid: u32) -> bool {
    let is_server = says_any(pid, &[SERVER]) == Some(true);
    let parent = || platform::ancestors(pid).first().copied();
    is_server && parent().and_then(detect::agent_of).is_none_or(|agent| *agent == CODEX)
}

/// The terminal sessions of Codex in `directory`. `None` if the system does not list its processes.
#[must_use]
pub fn windows(directory: &Path) -> Option<Vec<Window>> {
    let directory = directory.canonicalize().ok()?;
    let mut found = Vec::new();
    for pid in platform::processes()? {
        if is_window(pid) && directory_of(pid).is_some_and(|it| it == directory) {
            found.push(Window { pid, started: started(pid)? });
        }
    }
    // The script that launches Codex runs in the same directory.
    let launchers: Vec<u32> =
        found.iter().filter_map(|it| platform::ancestors(it.pid).first().copied()).collect();
    found.retain(|window| !launchers.contains(&window.pid));
    Some(found)
}

/// Whether a person may be watching the session of this process, which works in `directory`: its
/// terminal is open, or it runs outside of a terminal and does not exit by itself. `true` if unknown.
#[must_use]
pub fn is_watched(directory: &Path) -> bool {
    let own = std::process::id();
    if !is_in_shared(own) {
        return !above::above(own).nearest.is_some_and(|agent| runs_once(agent.pid));
    }
    let Some(windows) = windows(directory) else { return true };
    // A session that is older than every terminal belonged to one that has been closed; unless it was
    // resumed in a new one, in which case there are as many terminals as sessions.
    started(own).is_none_or(|at| windows.iter().any(|window| window.started <= at))
        || (1..=windows.len()).contains(&servers_like(own))
}

/// Whether the agent of a process [`is_shared`].
fn is_in_shared(pid: u32) -> bool {
    above::above(pid).nearest.is_some_and(|nearest| is_shared(nearest.pid))
}

/// Whether a process is a Codex without a terminal that exits by itself.
fn runs_once(pid: u32) -> bool {
    says_any(pid, &ONCE) == Some(true)
}

/// How many sessions in the directory of the MCP server `pid` have such a server.
fn servers_like(pid: u32) -> usize {
    let about = |pid| Some((platform::command_line(pid)?, platform::working_directory(pid)?));
    let own = about(pid);
    let all = platform::processes().unwrap_or_default().into_iter();
    all.filter(|pid| own.is_some() && about(*pid) == own && is_in_shared(*pid)).count()
}

/// When a process was started, in the unit of [`Window::started`].
#[must_use]
pub fn started(pid: u32) -> Option<u64> {
    platform::start_mark(pid)?.parse().ok()
}

fn is_window(pid: u32) -> bool {
    says_any(pid, &OTHERS) == Some(false)
}

/// Whether the command line of a process has one of `words`; `None` if it is no Codex.
fn says_any(pid: u32, words: &[&str]) -> Option<bool> {
    let line = platform::command_line(pid).filter(|_| detect::agent_of(pid) == Some(&CODEX))?;
    Some(line.iter().any(|word| words.contains(&word.as_str())))
}

fn directory_of(pid: u32) -> Option<PathBuf> {
    let here = platform::working_directory(pid)?;
    let line = platform::command_line(pid)?;
    let mut words = line.iter().skip_while(|word| !DIRECTORY.contains(&word.as_str())).skip(1);
    let joined = line.iter().find_map(|word| word.strip_prefix("--cd="));
    match words.next().map(String::as_str).or(joined) {
        Some(other) => here.join(other).canonicalize().ok(),
        None => Some(here),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::files::tests::TempDir;

    /// A process that is called `codex` and waits for its input to end.
    fn stand_in(dir: &TempDir, cwd: &Path, arguments: &[&str]) -> Child {
        let program = dir.path().join("codex");
        if !program.exists() {
            symlink(Path::new("/bin/sh").canonicalize().unwrap(), &program).unwrap();
        }
        let mut command = Command::new(program);
        command.args(["-c", "read line; true"]).args(arguments).current_dir(cwd);
        command.stdin(Stdio::piped()).spawn().unwrap()
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn the_terminal_sessions_of_a_directory_are_found_and_nothing_else() {
        let dir = TempDir::new();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        std::fs::create_dir(&here).unwrap();
        std::fs::create_dir(&there).unwrap();
        symlink(&here, dir.path().join("link")).unwrap();
        if windows(&here).is_none() {
            return;
        }
        let pids = |dir: &Path| -> Vec<u32> {
            let mut pids: Vec<u32> = windows(dir).unwrap().iter().map(|it| it.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert!(pids(&here).is_empty());
        let window = stand_in(&dir, &here, &[]);
        let moved = stand_in(&dir, &there, &["-C", "../here"]);
        let others = [
            stand_in(&dir, &there, &[]),
            stand_in(&dir, &here, &["app-server"]),
            stand_in(&dir, &here, &["exec", "do it"]),
        ];
        let mut expected = vec![window.id(), moved.id()];
        expected.sort_unstable();
        while pids(&here) != expected {
            std::thread::yield_now();
        }
        assert_eq!(pids(&dir.path().join("link")), expected);
        assert!(is_shared(others[1].id()) && !is_shared(window.id()));
        assert!(runs_once(others[2].id()) && !runs_once(window.id()));
        let started_at = windows(&here).unwrap().iter().map(|it| it.started).min();
        assert!(started_at.is_some() && started_at <= started(others[2].id()));
        end(window);
        end(moved);
        while !pids(&here).is_empty() {
            std::thread::yield_now();
        }
        others.into_iter().for_each(end);
    }
}
