//! Who is at the other end of a Unix socket.

use std::io;
use std::os::fd::AsFd;

#[cfg(target_os = "linux")]
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::net::sockopt::socket_peercred;

use super::current_uid;

/// The process at the other end of a connected Unix socket, as the kernel noted it when the
/// connection was made: for the end that connected, it is the process that listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Its user; `None` where the platform does not tell, or cannot name the process.
    pub uid: Option<u32>,
    /// Its process id, which may since have ended; `None` where the platform does not tell, or it
    /// cannot be seen from here: it may run in another process id namespace.
    pub pid: Option<u32>,
}

impl PeerCredentials {
    /// Whether it is known to be another user's. Where the user is not known, that only its owner
    /// can reach into the data directory (mode 0700) has to do.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.uid.is_some_and(|uid| uid != current_uid())
    }
}

/// Asks the kernel who is at the other end of `socket`: `SO_PEERCRED` of unix(7).
///
/// # Errors
///
/// `socket` is no socket.
#[cfg(target_os = "linux")]
pub fn peer_credentials(socket: impl AsFd) -> io::Result<PeerCredentials> {
    match socket_peercred(socket) {
        Ok(credentials) => Ok(PeerCredentials {
            uid: Some(credentials.uid.as_raw()),
            pid: super::process::from_pid(credentials.pid),
        }),
        Err(errno @ (Errno::NOTSOCK | Errno::NOPROTOOPT)) => Err(errno.into()),
        // The kernel writes 0 for a process it cannot name. The type that rustix reads it into has
        // no 0, so it arrives as an error, of a number that means nothing.
        Err(_) => Ok(PeerCredentials { uid: None, pid: None }),
    }
}

/// Asks the kernel who is at the other end of `socket`. Here it does not tell: `getpeereid` and
/// `LOCAL_PEERPID` have no safe wrapper in the libraries used.
///
/// # Errors
///
/// None.
#[cfg(not(target_os = "linux"))]
pub fn peer_credentials(_socket: impl AsFd) -> io::Result<PeerCredentials> {
    Ok(PeerCredentials { uid: None, pid: None })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::files::tests::TempDir;

    #[test]
    fn both_ends_of_a_connection_are_known() {
        let dir = TempDir::new();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let client = UnixStream::connect(dir.path().join("s")).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [client, server] {
            let credentials = peer_credentials(&end).unwrap();
            let ours = (Some(current_uid()), Some(std::process::id()));
            assert_eq!((credentials.uid, credentials.pid), ours);
            assert!(!credentials.is_foreign());
        }
    }

    #[test]
    fn only_a_known_other_user_is_foreign() {
        let with = |uid| PeerCredentials { uid, pid: None };
        assert!(with(Some(current_uid() + 1)).is_foreign());
        assert!(!with(Some(current_uid())).is_foreign());
        assert!(!with(None).is_foreign());
    }

    #[test]
    fn what_is_no_socket_has_no_peer() {
        assert!(peer_credentials(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
