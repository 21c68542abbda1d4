//! `codex queue`: gives a thread of Codex a text as its next prompt, even when it is idle.
//!
//! It runs as a process of its own with an array of arguments; no shell sees the text. Its standard
//! streams are `/dev/null`. After [`CODEX_QUEUE_TIME_MAX`] it is killed with its own children.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::{Notice, WayReport};
use crate::agent::detect;
use crate::agents::CODEX;
use crate::limits::{CODEX_QUEUE_TIME_MAX, WAKE_TURN_PAUSE};
use crate::log;
use crate::platform::{self, ProcessWatch};

const PROGRAM: &str = "codex";
/// How often to look for its end where it cannot be watched.
const POLL_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Running {
    id: u64,
    child: Child,
    /// None where processes cannot be watched.
    watch: Option<ProcessWatch>,
    until: Instant,
    look_at: Option<Instant>,
    /// Its time was over. Its end is still awaited.
    is_killed: bool,
}

/// See the module.
#[derive(Debug)]
pub(in crate::mcp) struct CodexQueue {
    registry: Registry,
    poll_token: Token,
    /// What to run, and for which thread.
    target: Option<(PathBuf, Box<str>)>,
    running: Option<Running>,
    /// When the next text can be taken: each begins a turn of its own.
    free_at: Option<Instant>,
    reports: VecDeque<WayReport>,
}

impl CodexQueue {
    pub(in crate::mcp) fn new(registry: Registry, poll_token: Token) -> Self {
        let reports = VecDeque::new();
        Self { registry, poll_token, target: None, running: None, free_at: None, reports }
    }

    /// From now on texts are for this thread.
    pub(in crate::mcp) fn prepare(&mut self, thread: Box<str>) {
        match executable() {
            Some(executable) => self.target = Some((executable, thread)),
            None => self.fail("there is no `codex` on the PATH"),
        }
    }

    fn start(&mut self, notice: &Notice, now: Instant) -> io::Result<()> {
        let Some((executable, thread)) = &self.target else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let child = Command::new(executable)
            .args(["queue", "--thread", thread, "--message", &notice.text])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // So that what it starts can be ended with it.
            .process_group(0)
            .spawn()?;
        let watch = ProcessWatch::open(child.id()).ok().flatten().filter(|watch| {
            let fd = watch.as_raw_fd();
            let mut source = SourceFd(&fd);
            self.registry.register(&mut source, self.poll_token, Interest::READABLE).is_ok()
        });
        let look_at = watch.is_none().then(|| now + POLL_EVERY);
        let until = now + CODEX_QUEUE_TIME_MAX;
        self.running =
            Some(Running { id: notice.id, child, watch, until, look_at, is_killed: false });
        Ok(())
    }

    fn ended(&mut self, running: &Running, status: io::Result<ExitStatus>, now: Instant) {
        if let Some(watch) = &running.watch {
            // It goes with its descriptor anyway.
            let _ = self.registry.deregister(&mut SourceFd(&watch.as_raw_fd()));
        }
        if running.is_killed {
            return;
        }
        match status {
            Ok(status) if status.success() => {
                self.reports.push_back(WayReport::Sent(running.id));
                self.free_at = Some(now + WAKE_TURN_PAUSE);
            }
            Ok(status) => self.fail(&format!("it ended with {status}")),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    fn fail(&mut self, reason: &str) {
        self.target = None;
        let reason = format!("`codex queue` does not work: {reason}");
        self.reports.push_back(WayReport::Failed(reason));
    }
}

impl CodexQueue {
    /// Begins to tell. Only called when the way is free, which it is at first, and after a failure
    /// only if it was renewed.
    pub(super) fn tell(&mut self, notice: &Notice, now: Instant) {
        if self.running.is_some() {
            return self.fail("the one before it does not end");
        }
        if let Err(error) = self.start(notice, now) {
            self.fail(&error.to_string());
        }
    }

    /// Goes on as far as possible without waiting; to be followed by [`CodexQueue::poll`] until there is nothing
    /// more.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.free_at.is_some_and(|at| at <= now) {
            self.free_at = None;
            self.reports.push_back(WayReport::Free);
        }
        let Some(mut running) = self.running.take() else { return };
        if let Some(status) = running.child.try_wait().transpose() {
            return self.ended(&running, status, now);
        }
        if now >= running.until && !running.is_killed {
            running.is_killed = true;
            running.kill();
            self.fail(&format!("it has not ended within {} s", CODEX_QUEUE_TIME_MAX.as_secs()));
        }
        if running.look_at.is_some() {
            running.look_at = Some(now + POLL_EVERY);
        }
        self.running = Some(running);
    }

    /// The next report.
    pub(super) fn poll(&mut self) -> Option<WayReport> {
        self.reports.pop_front()
    }

    /// When [`CodexQueue::advance`] has to be called at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let until = |running: &Running| (!running.is_killed).then_some(running.until);
        let running = self.running.as_ref();
        let times = [running.and_then(until), running.and_then(|it| it.look_at), self.free_at];
        times.into_iter().flatten().min()
    }
}

impl Running {
    /// Kills it and what it has started. It has not been waited for, so its id is still its own.
    fn kill(&mut self) {
        if let Err(error) = platform::kill_group(self.child.id()) {
            log::debug(format_args!("cannot end `codex queue` and its children: {error}"));
            // It may have ended by itself.
            let _ = self.child.kill();
        }
    }
}

impl Drop for CodexQueue {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
            // A killed process ends at once.
            let _ = running.child.wait();
        }
    }
}

/// The program of the Codex that has started this process, so that the versions are the same; if that is
/// not known, the one on the PATH.
fn executable() -> Option<PathBuf> {
    let parent = platform::parent().and_then(platform::executable);
    parent.filter(|path| detect::is_program_of(&CODEX, path)).or_else(|| {
        std::env::split_paths(&std::env::var_os("PATH")?)
            // A relative one would be looked for in the project, which others write to.
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(PROGRAM))
            .find(|path| platform::is_program(path))
    })
}

#[cfg(test)]
#[path = "../tests/codex_queue.rs"]
mod tests;
