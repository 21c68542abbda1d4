//! Who serves a data directory, as its files say; nobody is asked.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::error::ClientError;
use super::reach;
use crate::config::Config;
use crate::data_dir;
use crate::files;
use crate::paths::Paths;
use crate::platform::{self, LockHolder};
use crate::role::{self, Kind, RoleError};

/// Longest of the files read here, bytes.
const FILE_BYTES_MAX: usize = 1024;

/// A broker that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The Unix socket it listens on, if there is one.
    pub socket: PathBuf,
    /// The port it listens on.
    pub address: SocketAddr,
    /// The token of its clients.
    pub token: Box<str>,
    /// The id of the mesh, by which its broker is recognised; none if that file is missing.
    pub mesh: Option<Box<str>>,
    /// Its process id, if visible from here.
    pub pid: Option<u32>,
}

/// What the files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Located {
    /// A broker serves.
    Serving(Broker),
    /// A broker holds the lock and does not say where it serves: it is about to start, or about to
    /// end. The error to report if that lasts.
    NotReady(ClientError),
    /// No broker is running.
    Absent,
}

/// Looks for the broker of `config`'s data directory. The files of port and token count only while
/// someone holds the lock: a broker that was killed leaves them behind.
///
/// Nothing in a directory that others could write to is believed, and nothing is written.
///
/// # Errors
/// [`ClientError::DataDir`], [`ClientError::File`]; [`ClientError::OtherRole`] if the variables of this
/// process ask for something else than what serves.
pub(crate) fn locate(config: &Config) -> Result<Located, ClientError> {
    let paths = &config.paths;
    data_dir::check(paths)
        .map_err(|error| ClientError::DataDir { reason: error.to_string().into() })?;
    let holder = platform::lock_holder(&paths.lock());
    let Some(LockHolder { pid }) = holder.map_err(|error| file_error(paths.lock(), &error))? else {
        return Ok(Located::Absent);
    };
    let port = read(paths.port())?;
    let token = read(paths.token())?;
    // Not zero and complete: both files appear by rename.
    let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    let (Some(port), Some(token)) = (port, token) else {
        return Ok(Located::NotReady(reach::not_ready(pid)));
    };
    if let Some(kind) = serving_as(paths)? {
        role::check_serving(&config.asked, kind).map_err(|served| match role::of(config) {
            // It serves so because that is stored, which has other words.
            Err(RoleError::Other(stored)) => ClientError::OtherRole(stored),
            _ => ClientError::OtherRole(served),
        })?;
    }
    let mesh = read(paths.mesh_id())?;
    let address = SocketAddr::new(config.host, port);
    Ok(Located::Serving(Broker { socket: paths.socket(), address, token, mesh, pid }))
}

/// The role of the process that serves; none if there is none, or if it does not say.
///
/// # Errors
/// [`ClientError::File`].
pub(crate) fn serving_as(paths: &Paths) -> Result<Option<Kind>, ClientError> {
    Ok(read(paths.role())?.and_then(|word| Kind::parse(&word)))
}

/// Whether a relay serves, that is, the mesh is on another machine.
pub(crate) fn is_elsewhere(paths: &Paths) -> bool {
    matches!(serving_as(paths), Ok(Some(Kind::Client)))
}

/// The text of a small file; none if there is no such file or nothing in it.
fn read(path: PathBuf) -> Result<Option<Box<str>>, ClientError> {
    match files::read_bounded(&path, FILE_BYTES_MAX) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim();
            Ok((!text.is_empty()).then(|| text.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path, &error)),
    }
}

fn file_error(path: PathBuf, error: &io::Error) -> ClientError {
    ClientError::File { path, reason: error.to_string().into() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Asked;
    use crate::files::tests::TempDir;
    use crate::platform::BrokerLock;

    fn config(dir: &Path) -> Config {
        let lookup = |_: &str| None;
        Config::from_lookup(lookup, Some(dir.as_os_str()), std::env::current_dir).unwrap()
    }

    #[test]
    fn files_count_only_while_the_lock_is_held() {
        let dir = TempDir::new();
        let config = config(dir.path());
        let paths = &config.paths;
        assert_eq!(locate(&config), Ok(Located::Absent));
        std::fs::write(paths.port(), "7899\n").unwrap();
        std::fs::write(paths.token(), "secret\n").unwrap();
        assert_eq!(locate(&config), Ok(Located::Absent));

        let lock = BrokerLock::try_acquire(&paths.lock()).unwrap().unwrap();
        let pid = Some(std::process::id());
        let expected = Broker {
            socket: paths.socket(),
            address: "127.0.0.1:7899".parse().unwrap(),
            token: "secret".into(),
            mesh: None,
            pid,
        };
        assert_eq!(locate(&config), Ok(Located::Serving(expected.clone())));
        std::fs::write(paths.mesh_id(), "m").unwrap();
        let expected = Broker { mesh: Some("m".into()), ..expected };
        assert_eq!(locate(&config), Ok(Located::Serving(expected.clone())));
        std::fs::write(paths.role(), "client").unwrap();
        assert_eq!(locate(&config), Ok(Located::Serving(expected.clone())));
        for (asked, is_right) in [(Asked::Client { hub: None }, true), (Asked::Broker, false)] {
            let located = locate(&Config { asked, ..config.clone() });
            assert_eq!(matches!(located, Ok(Located::Serving(_))), is_right);
            assert_eq!(matches!(located, Err(ClientError::OtherRole(_))), !is_right);
        }
        for (path, text) in [(paths.port(), "x"), (paths.port(), "0"), (paths.token(), "")] {
            let before = std::fs::read(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            assert_eq!(locate(&config), Ok(Located::NotReady(reach::not_ready(pid))), "{text:?}");
            std::fs::write(&path, before).unwrap();
        }
        std::fs::remove_file(paths.port()).unwrap();
        assert_eq!(locate(&config), Ok(Located::NotReady(reach::not_ready(pid))));
        drop(lock);
        assert_eq!(locate(&config), Ok(Located::Absent));
    }
}
