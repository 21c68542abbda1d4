//! This process and signals to others.

use std::io;

use rustix::io::Errno;
use rustix::process::{self, Pid};

use super::ProcessWatch;

/// The signals that are sent to other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: please end.
    Terminate,
    /// SIGKILL: end.
    Kill,
}

impl Signal {
    pub(super) fn raw(self) -> process::Signal {
        match self {
            Self::Terminate => process::Signal::TERM,
            Self::Kill => process::Signal::KILL,
        }
    }
}

/// The effective user id of this process.
#[must_use]
pub fn current_uid() -> u32 {
    process::geteuid().as_raw()
}

/// The parent of this process; `None` if it lives outside of this process id namespace.
///
/// After the end of its parent a process has another one, mostly 1.
#[must_use]
pub fn parent() -> Option<u32> {
    process::getppid().and_then(from_pid)
}

/// Whether the process `pid` runs. One that has ended and waits for its parent to notice does not.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    match ProcessWatch::open(pid) {
        Ok(Some(watch)) => !watch.has_ended(),
        Ok(None) => false,
        // No pidfd to be had here. A process that has just ended still answers this.
        Err(_) => match to_pid(pid).map(process::test_kill_process) {
            // EPERM: it is there and another user's.
            Some(Ok(()) | Err(Errno::PERM)) => true,
            Some(Err(_)) | None => false,
        },
    }
}

/// Sends a signal to the process `pid`.
///
/// Between finding out who `pid` is and this call it may have ended and its number been given
/// away: [`ProcessWatch::send_signal`] has no such gap.
///
/// # Errors
///
/// There is no such process, or it is another user's.
pub fn send_signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = to_pid(pid).ok_or(Errno::SRCH)?;
    Ok(process::kill_process(pid, signal.raw())?)
}

/// Kills the process group that the process `pid` leads.
///
/// # Errors
///
/// There is no such group, or it is another user's.
pub fn kill_group(pid: u32) -> io::Result<()> {
    let pid = to_pid(pid).ok_or(Errno::SRCH)?;
    Ok(process::kill_process_group(pid, process::Signal::KILL)?)
}

/// Puts this process in a session of its own: it loses its terminal, and the signals of its
/// parent's process group no longer reach it. Done already is done.
///
/// # Errors
///
/// The process leads a process group without leading a session. One that was started by
/// [`std::process::Command`] does not, unless it was asked for.
pub fn new_session() -> io::Result<()> {
    match process::setsid() {
        Err(Errno::PERM) if process::getsid(None) == Ok(process::getpid()) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

/// A process id as the system calls take it; `None` for 0 and for what is too large for one.
pub(super) fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The way back; `None` for the numbers below 0 that a kernel may write in place of a process id.
pub(super) fn from_pid(pid: Pid) -> Option<u32> {
    u32::try_from(pid.as_raw_pid()).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    use super::*;

    pub(in crate::platform) fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    #[test]
    fn what_is_no_process_id_is_not_alive_and_gets_no_signal() {
        for pid in [0, i32::MAX as u32, i32::MAX as u32 + 1, u32::MAX] {
            assert!(!is_alive(pid), "{pid}");
            assert!(send_signal(pid, Signal::Kill).is_err(), "{pid}");
        }
    }

    #[test]
    fn alive_until_the_end_even_if_nobody_has_waited() {
        assert!(is_alive(std::process::id()));
        assert!(is_alive(1));
        for (signal, number) in [(Signal::Terminate, 15), (Signal::Kill, 9)] {
            let mut child = sleeper();
            assert!(is_alive(child.id()));
            send_signal(child.id(), signal).unwrap();
            // Until `wait`, the process is a zombie, to which signal 0 can be sent.
            while is_alive(child.id()) {
                std::thread::yield_now();
            }
            assert_eq!(child.wait().unwrap().signal(), Some(number));
            assert!(!is_alive(child.id()));
        }
    }

    #[test]
    fn a_group_is_killed_with_all_that_is_in_it() {
        use std::io::Read;
        use std::os::unix::process::CommandExt;

        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & wait"]).process_group(0);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        kill_group(child.id()).unwrap();
        // It ends when nobody has it open any more.
        let mut end = String::new();
        child.stdout.take().unwrap().read_to_string(&mut end).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        // Its own group may live on for a moment, by a zombie that nobody has waited for yet.
        assert!(kill_group(i32::MAX as u32).is_err() && kill_group(0).is_err());
    }

    #[test]
    fn parent_is_known() {
        let parent = parent().unwrap();
        assert!(is_alive(parent));
        assert_ne!(parent, std::process::id());
    }
}
