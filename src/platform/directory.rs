//! News of a directory, as a file descriptor.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Becomes readable when a file is put into a directory, or the directory goes; there is no more to
/// be read from it than that. For `mio`, register `SourceFd(&watch.as_raw_fd())` for reading.
///
/// Only Linux has it here (inotify). Elsewhere [`DirectoryWatch::open`] fails with
/// [`io::ErrorKind::Unsupported`], and its callers look now and then.
#[derive(Debug)]
pub struct DirectoryWatch {
    fd: OwnedFd,
}

impl DirectoryWatch {
    /// Watches `directory`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where there is no such thing, else no such directory, or no
    /// watch left.
    #[cfg(target_os = "linux")]
    pub fn open(directory: &Path) -> io::Result<Self> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

        let fd = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Written files, those that are written elsewhere and moved there, and sockets.
        let come = WatchFlags::CREATE | WatchFlags::MOVED_TO;
        let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        add_watch(&fd, directory, come | gone | WatchFlags::ONLYDIR)?;
        Ok(Self { fd })
    }

    /// Watches `directory`: not here.
    ///
    /// # Errors
    ///
    /// Always [`io::ErrorKind::Unsupported`].
    #[cfg(not(target_os = "linux"))]
    pub fn open(_directory: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsRawFd for DirectoryWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::files::tests::TempDir;
    use crate::platform::poll_readable;

    #[test]
    fn a_file_that_is_put_there_is_news() {
        let dir = TempDir::new();
        let watch = DirectoryWatch::open(dir.path()).unwrap();
        assert!(!poll_readable(&watch.fd, Some(Duration::ZERO)).unwrap());
        std::fs::write(dir.path().join("port"), "1").unwrap();
        assert!(poll_readable(&watch.fd, Some(Duration::from_secs(10))).unwrap());
        assert!(DirectoryWatch::open(&dir.path().join("port")).is_err());
        assert!(DirectoryWatch::open(&dir.path().join("none")).is_err());
    }
}
