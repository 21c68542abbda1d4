//! The names of the files of a mesh. No file is touched here; [`crate::data_dir`] does that.

use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The data directory and the name of every file in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    dir: PathBuf,
}

impl Paths {
    /// The files of the data directory `dir`, which should be an absolute path: a broker changes
    /// its working directory.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The data directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The database. SQLite puts `mesh.db-wal` and `mesh.db-shm` beside it, and the store its journal,
    /// `mesh.db-turns`.
    #[must_use]
    pub fn db(&self) -> PathBuf {
        self.dir.join("mesh.db")
    }

    /// The random id of this data directory.
    #[must_use]
    pub fn mesh_id(&self) -> PathBuf {
        self.dir.join("mesh.id")
    }

    /// The file whose lock makes a process the one broker. It is never removed, and nothing but
    /// [`crate::platform::BrokerLock`] and [`crate::platform::lock_holder`] may open it.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("broker.lock")
    }

    /// The process id of the broker, for people; the lock tells it with certainty.
    #[must_use]
    pub fn pid(&self) -> PathBuf {
        self.dir.join("broker.pid")
    }

    /// The token that the broker's clients show.
    #[must_use]
    pub fn token(&self) -> PathBuf {
        self.dir.join("broker.token")
    }

    /// The port the broker listens on.
    #[must_use]
    pub fn port(&self) -> PathBuf {
        self.dir.join("port")
    }

    /// The Unix socket the broker listens on, beside its port.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("broker.sock")
    }

    /// As what the process serves that serves: `broker`, `hub` or `client`.
    #[must_use]
    pub fn role(&self) -> PathBuf {
        self.dir.join("broker.role")
    }

    /// What is there only while a broker runs, and what one that was killed leaves behind.
    #[must_use]
    pub fn of_running_broker(&self) -> [PathBuf; 5] {
        [self.port(), self.socket(), self.token(), self.pid(), self.role()]
    }

    /// The log of a broker in the background.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    /// The log before the last rotation.
    #[must_use]
    pub fn old_log(&self) -> PathBuf {
        self.dir.join("broker.log.1")
    }

    /// Whose mesh the data directory is in, if not its own.
    #[must_use]
    pub fn machines(&self) -> PathBuf {
        self.dir.join("machines")
    }

    /// The key by which other machines know this data directory.
    #[must_use]
    pub fn machine_key(&self) -> PathBuf {
        self.dir.join("machine.key")
    }

    /// The directory in which `setup` keeps what it has changed.
    #[must_use]
    pub fn setup(&self) -> PathBuf {
        self.dir.join("setup")
    }

    /// The directory with a file for each process of an agent beside which a hook waits, named by its
    /// id. Its lock is that of the one that waits.
    #[must_use]
    pub fn waiting(&self) -> PathBuf {
        self.dir.join("waiting")
    }

    /// A file of a helper of the broker: its settings (`json`), how far it has come (`seq`), and the
    /// lock of the one that runs (`lock`).
    #[must_use]
    pub fn of_helper(&self, helper: &str, kind: &str) -> PathBuf {
        self.dir.join(format!("{helper}.{kind}"))
    }

    /// The directory of sockets and tokens of peers.
    #[must_use]
    pub fn peers(&self) -> PathBuf {
        self.dir.join("peers")
    }

    /// The socket on which the peer `id` listens for pushes.
    #[must_use]
    pub fn peer_socket(&self, id: Uuid) -> PathBuf {
        self.peers().join(format!("{id}.sock"))
    }

    /// The token of the peer `id`, left for the hooks of its own session.
    #[must_use]
    pub fn peer_token(&self, id: Uuid) -> PathBuf {
        self.peers().join(format!("{id}.token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_in_the_data_dir() {
        let paths = Paths::new("/d".into());
        let id = Uuid::nil();
        for (path, name) in [
            (paths.db(), "mesh.db"),
            (paths.mesh_id(), "mesh.id"),
            (paths.lock(), "broker.lock"),
            (paths.pid(), "broker.pid"),
            (paths.token(), "broker.token"),
            (paths.port(), "port"),
            (paths.socket(), "broker.sock"),
            (paths.role(), "broker.role"),
            (paths.log(), "broker.log"),
            (paths.old_log(), "broker.log.1"),
            (paths.machines(), "machines"),
            (paths.machine_key(), "machine.key"),
            (paths.setup(), "setup"),
            (paths.peers(), "peers"),
            (paths.peer_socket(id), "peers/00000000-0000-0000-0000-000000000000.sock"),
            (paths.peer_token(id), "peers/00000000-0000-0000-0000-000000000000.token"),
        ] {
            assert_eq!(path, Path::new("/d").join(name));
        }
    }
}
