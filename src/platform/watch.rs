//! The end of another process, as a file descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{Signal, parent, poll_readable};

/// A watch on a process: a pidfd of `pidfd_open(2)`, readable once the process has ended.
///
/// It stays with that one process, also when its id is given to another. For `mio`, register
/// `SourceFd(&watch.as_raw_fd())` for reading; there is nothing to be read from it.
///
/// Only Linux (5.3 and later) has it. Elsewhere [`ProcessWatch::open`] fails with
/// [`io::ErrorKind::Unsupported`], and its callers ask [`super::is_alive`] with each heartbeat.
#[derive(Debug)]
pub struct ProcessWatch {
    fd: OwnedFd,
}

impl ProcessWatch {
    /// Watches the process `pid`; `None` if there is none.
    ///
    /// Whoever has `pid` from somewhere else has to make sure afterwards that it still is the
    /// process that was meant: that the connection it was told by is still open, or that it is
    /// still the parent.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where there is no such thing, else no descriptor left.
    #[cfg(target_os = "linux")]
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        use rustix::io::Errno;
        use rustix::process::{PidfdFlags, pidfd_open};

        let Some(pid) = super::process::to_pid(pid) else { return Ok(None) };
        // The descriptor is close-on-exec from the start.
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self { fd })),
            Err(Errno::SRCH) => Ok(None),
            Err(Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches the process `pid`: not here.
    ///
    /// # Errors
    ///
    /// Always [`io::ErrorKind::Unsupported`].
    #[cfg(not(target_os = "linux"))]
    pub fn open(_pid: u32) -> io::Result<Option<Self>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // The call fails only when the kernel has no memory left; the process is not gone by that.
        poll_readable(&self.fd, Some(Duration::ZERO)).unwrap_or(false)
    }

    /// Sends a signal to this process and no other.
    ///
    /// # Errors
    ///
    /// It has ended, or it is another user's.
    pub fn send_signal(&self, signal: Signal) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return Ok(rustix::process::pidfd_send_signal(&self.fd, signal.raw())?);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = signal.raw();
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

impl AsFd for ProcessWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ProcessWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// What there is to watch of the parent of this process.
#[derive(Debug)]
pub enum ParentWatch {
    /// It has no parent that could end before it: that is outside of this process id namespace, or
    /// it is the first process, which has taken this one over.
    None,
    /// Its parent has just ended.
    Ended,
    /// Its parent runs; the watch becomes readable at its end.
    Running(ProcessWatch),
}

/// Watches the parent of this process.
///
/// # Errors
///
/// As [`ProcessWatch::open`]. Where it is unsupported, compare [`super::parent`] with what it was.
pub fn watch_parent() -> io::Result<ParentWatch> {
    let Some(pid) = parent().filter(|&pid| pid != 1) else { return Ok(ParentWatch::None) };
    let watch = ProcessWatch::open(pid)?;
    Ok(match watch {
        // The parent may have ended before the watch was there, and its id be another's by now.
        Some(watch) if parent() == Some(pid) => ParentWatch::Running(watch),
        _ => ParentWatch::Ended,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::process::tests::sleeper;
    use super::*;

    #[test]
    fn watch_becomes_readable_when_the_process_ends() {
        let mut child = sleeper();
        let watch = ProcessWatch::open(child.id()).unwrap().unwrap();
        assert!(!watch.has_ended());
        assert!(!poll_readable(&watch, Some(Duration::from_millis(20))).unwrap());
        watch.send_signal(Signal::Kill).unwrap();
        assert!(poll_readable(&watch, Some(Duration::from_secs(10))).unwrap());
        assert!(watch.has_ended());
        child.wait().unwrap();
        assert!(watch.has_ended());
        assert!(watch.send_signal(Signal::Kill).is_err());
        assert!(ProcessWatch::open(child.id()).unwrap().is_none());
    }

    #[test]
    fn watch_can_be_registered_with_mio() {
        use mio::unix::SourceFd;
        use mio::{Events, Interest, Poll, Token};

        let mut child = sleeper();
        let watch = ProcessWatch::open(child.id()).unwrap().unwrap();
        let mut poll = Poll::new().unwrap();
        let mut source = SourceFd(&watch.as_raw_fd());
        poll.registry().register(&mut source, Token(7), Interest::READABLE).unwrap();
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_millis(20))).unwrap();
        assert!(events.is_empty());
        child.kill().unwrap();
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert!(events.iter().any(|event| event.token() == Token(7) && event.is_readable()));
        child.wait().unwrap();
    }

    #[test]
    fn nothing_to_watch_is_no_error() {
        for pid in [0, i32::MAX as u32, u32::MAX] {
            assert!(ProcessWatch::open(pid).unwrap().is_none(), "{pid}");
        }
    }

    #[test]
    fn parent_of_the_tests_runs() {
        match watch_parent().unwrap() {
            ParentWatch::Running(watch) => assert!(!watch.has_ended()),
            ParentWatch::None => assert_eq!(parent(), Some(1)),
            ParentWatch::Ended => panic!("it runs"),
        }
    }
}
