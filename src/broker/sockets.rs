//! Which sockets of peers the broker connects to: only those in `peers/` of its own data directory.
//!
//! A path comes from a client. Without these rules it could make the broker, which every peer trusts,
//! talk to any socket of the user.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::lifecycle::remove_file;
use crate::api::{Code, Refusal, Register};
use crate::limits::SOCKET_PATH_BYTES_MAX;
use crate::platform::current_uid;

/// The rules for one data directory.
#[derive(Clone, Debug)]
pub(super) struct Sockets {
    peers: PathBuf,
    /// The same without symbolic links, for clients that name it so.
    real: PathBuf,
}

impl Sockets {
    /// For the directory `peers`.
    pub(super) fn new(peers: PathBuf) -> Self {
        let real = peers.canonicalize().unwrap_or_else(|_| peers.clone());
        Self { peers, real }
    }

    /// Where to connect to if a client says that it listens on `path`. One in a container may know
    /// our directory by another path, so of a directory that is not ours but is called `peers`, too,
    /// only the name in it counts.
    ///
    /// # Errors
    /// What is wrong with it, to stand behind "it".
    pub(super) fn find(&self, path: &Path) -> Result<PathBuf, &'static str> {
        let path = self.place(path)?;
        // Of the name itself, not of what it may lead to.
        let Ok(metadata) = path.symlink_metadata() else { return Err("does not exist") };
        if !metadata.file_type().is_socket() {
            return Err("is not a socket");
        }
        if metadata.uid() != current_uid() {
            return Err("belongs to another user");
        }
        Ok(path)
    }

    fn place(&self, path: &Path) -> Result<PathBuf, &'static str> {
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err("is too long for a socket");
        }
        let normal =
            |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        if !path.is_absolute() || !path.components().all(normal) {
            return Err("is not an absolute path without `..`");
        }
        match (path.parent(), path.file_name()) {
            (Some(parent), _) if parent == self.peers || parent == self.real => Ok(path.to_owned()),
            (Some(parent), Some(name)) if parent.file_name() == self.peers.file_name() => {
                Ok(self.peers.join(name))
            }
            _ => Err("is not in the directory `peers` of the broker's data directory"),
        }
    }

    /// Whether a peer that registers may be connected to.
    ///
    /// # Errors
    /// Its path is none of those.
    pub(super) fn check(&self, register: &Register) -> Result<(), Refusal> {
        let Some(path) = &register.uds_path else { return Ok(()) };
        self.find(Path::new(&**path)).map(|_| ()).map_err(|why| {
            let peers = self.peers.display();
            let message = format!(
                "`udsPath` must be the path of a socket of yours in {peers}, on which you listen; \
                 this path {why}"
            );
            Refusal::new(Code::InvalidRequest, message)
        })
    }

    /// Removes the socket of a peer that has crashed, and the token beside it.
    pub(super) fn remove(&self, path: &Path) {
        let Ok(path) = self.find(path) else { return };
        for file in [&path, &path.with_extension("token")] {
            remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::files::tests::TempDir;

    #[test]
    fn only_own_sockets_in_peers_will_do() {
        let temp = TempDir::new();
        let peers = temp.path().join("peers");
        std::fs::create_dir(&peers).unwrap();
        let sockets = Sockets::new(peers.clone());
        let good = peers.join("a.sock");
        let _listener = UnixListener::bind(&good).unwrap();
        assert_eq!(sockets.find(&good).as_deref(), Ok(&*good));
        // As a container has it that knows the directory by another path.
        assert_eq!(sockets.find("/mnt/mesh/peers/a.sock".as_ref()).as_deref(), Ok(&*good));

        let outside = temp.path().join("b.sock");
        let _outside = UnixListener::bind(&outside).unwrap();
        symlink(&outside, peers.join("link.sock")).unwrap();
        std::fs::write(peers.join("file.sock"), "").unwrap();
        std::fs::create_dir(peers.join("deep")).unwrap();
        let _deep = UnixListener::bind(peers.join("deep/a.sock")).unwrap();
        for (bad, why) in [
            (outside.clone(), "is not in"),
            (peers.join("deep/a.sock"), "is not in"),
            (peers.join("deep/../a.sock"), "without `..`"),
            (peers.join("../b.sock"), "without `..`"),
            (peers.join("link.sock"), "is not a socket"),
            (peers.join("file.sock"), "is not a socket"),
            (peers.join("missing.sock"), "does not exist"),
            ("/mnt/mesh/peers/missing.sock".into(), "does not exist"),
            ("/mnt/mesh/peers/../a.sock".into(), "without `..`"),
            ("/mnt/mesh/a.sock".into(), "is not in"),
            (peers.clone(), "is not in"),
            ("a.sock".into(), "absolute"),
            ("".into(), "absolute"),
            ("/".into(), "is not in"),
            (peers.join("x".repeat(200)), "too long"),
        ] {
            let error = sockets.find(&bad).unwrap_err();
            assert!(error.contains(why), "{}: {error}", bad.display());
        }
        // Another name of the same directory.
        let alias = temp.path().join("alias");
        symlink(&peers, &alias).unwrap();
        assert_eq!(Sockets::new(alias).find(&good).as_deref(), Ok(&*good));
    }

    #[test]
    fn only_what_may_be_connected_to_is_removed() {
        let temp = TempDir::new();
        let peers = temp.path().join("peers");
        std::fs::create_dir(&peers).unwrap();
        let sockets = Sockets::new(peers.clone());
        let (socket, token) = (peers.join("a.sock"), peers.join("a.token"));
        drop(UnixListener::bind(&socket).unwrap());
        std::fs::write(&token, "").unwrap();
        let file = temp.path().join("file");
        std::fs::write(&file, "").unwrap();
        sockets.remove(&file);
        assert!(file.exists());
        sockets.remove(&socket);
        assert!(!socket.exists() && !token.exists());
        sockets.remove(&socket);
    }
}
