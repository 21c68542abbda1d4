//! A broker's start and end: the lock that makes it the only one of its data directory, and the files
//! by which clients find it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, UnixListener};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use uuid::Uuid;

use super::{Mode, StartError};
use crate::config::Config;
use crate::files::{self, read_small, small_number, write_private};
use crate::limits::{LISTEN_BACKLOG, LOCK_TIME_MAX};
use crate::log;
use crate::mesh::Entropy;
use crate::model::hex;
use crate::neighbour::{Neighbour, ask};
use crate::paths::Paths;
use crate::platform::{self, Address, BrokerLock, Listener};
use crate::role::Kind;

/// How often the lock is tried.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// How long the broker's own connection to itself may take.
const REACH_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest id of a data directory, characters.
const MESH_ID_CHARS_MAX: usize = 64;

/// Takes the lock, waiting a little for a predecessor that stops.
///
/// # Errors
/// [`StartError::AlreadyRunning`] if its holder serves, [`StartError::Busy`] if it does neither that
/// nor stop.
pub(super) fn take_lock(config: &Config) -> Result<BrokerLock, StartError> {
    let paths = &config.paths;
    let failed = |source| StartError::Io { what: "take the lock of", path: paths.lock(), source };
    let until = Instant::now() + LOCK_TIME_MAX;
    loop {
        if let Some(lock) = BrokerLock::try_acquire(&paths.lock()).map_err(failed)? {
            return Ok(lock);
        }
        let pid =
            platform::lock_holder(&paths.lock()).map_err(failed)?.and_then(|holder| holder.pid);
        if let Some(port) = small_number(&paths.port())
            && serves(config, port)
        {
            return Err(StartError::AlreadyRunning { pid, port });
        }
        if Instant::now() >= until {
            let is_near = pid.is_some_and(platform::shares_network);
            return Err(StartError::Busy { pid, is_near });
        }
        sleep(LOCK_PAUSE);
    }
}

/// Whether the broker of this data directory answers.
fn serves(config: &Config, port: u16) -> bool {
    let own = read_small(&config.paths.mesh_id());
    let is_own = |address| match ask(&address) {
        Neighbour::Mesh(id) => own.as_deref() == Some(&*id),
        Neighbour::Foreign | Neighbour::None => false,
    };
    is_own(Address::Unix(config.paths.socket()))
        || is_own(Address::Tcp(SocketAddr::new(config.host, port)))
}

/// Listens on the port, which it gives, and on the Unix socket of the data directory. The socket is
/// for those who can use it: where the file system has none, the port has to do.
///
/// # Errors
/// [`StartError::Bind`]; [`StartError::OutOfReach`] if a process in this one's place could not
/// connect to either, or may have no Unix sockets at all. Then the broker would hold the lock and
/// serve nobody, or only processes in here, and could push to no one.
pub(super) fn listen(config: &Config) -> Result<(Vec<Listener>, u16), StartError> {
    let (listener, port) = bind(config)?;
    let listener = Listener::Tcp(listener);
    widen(&listener);
    let path = config.paths.socket();
    match bind_socket(&path) {
        Ok(socket) => {
            let socket = Listener::Unix(socket);
            widen(&socket);
            return Ok((vec![listener, socket], port));
        }
        Err(error) => log::warn(format_args!(
            "{} cannot be used ({error}): clients use the port instead",
            path.display()
        )),
    }
    // As a peer's are connected to; a file system without sockets does not matter to this.
    if let Err(source) = UnixDatagram::unbound() {
        return Err(StartError::OutOfReach { address: Address::Unix(path), source });
    }
    let address = Address::Tcp(SocketAddr::new(config.host, port));
    match address.connect_until(Instant::now() + REACH_TIME_MAX) {
        Ok(_) => Ok((vec![listener], port)),
        Err(source) => Err(StartError::OutOfReach { address, source }),
    }
}

/// Lets more clients wait than the system would: a hundred agents may start at once.
fn widen(listener: &Listener) {
    if let Err(error) = listener.set_backlog(LISTEN_BACKLOG) {
        log::warn(format_args!("few clients can wait for the broker: {error}"));
    }
}

/// A listener for this user only, whatever the umask, to which one can connect from here.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    let private = std::fs::Permissions::from_mode(0o600);
    let tried = std::fs::set_permissions(path, private)
        .and_then(|()| Address::Unix(path.to_owned()).connect());
    match tried {
        Ok(_) => Ok(listener),
        Err(error) => {
            // Nobody is to find what leads nowhere; if it stays, it is refused there.
            let _ = std::fs::remove_file(path);
            Err(error)
        }
    }
}

/// The first port that is free, of those that may be used.
fn bind(config: &Config) -> Result<(TcpListener, u16), StartError> {
    debug_assert!(config.host.is_loopback());
    let candidates = config.port_candidates();
    let failed = |source| StartError::Bind { candidates: candidates.clone(), source };
    let mut busy = io::ErrorKind::AddrInUse.into();
    for port in &candidates {
        // Sets SO_REUSEADDR: connections of a predecessor that linger are no obstacle.
        match TcpListener::bind(SocketAddr::new(config.host, *port)) {
            Ok(listener) => {
                let port = listener.local_addr().map_err(failed)?.port();
                return Ok((listener, port));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => busy = error,
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(busy))
}

/// The id of the data directory, made at its first start.
///
/// # Errors
/// It cannot be written.
pub(super) fn mesh_id(paths: &Paths, entropy: &mut impl Entropy) -> Result<Box<str>, StartError> {
    let valid = |id: &String| {
        (1..=MESH_ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if let Some(id) = read_small(&paths.mesh_id()).filter(valid) {
        return Ok(id.into());
    }
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let id = Uuid::hyphenated(id).to_string();
    write(&paths.mesh_id(), &id)?;
    Ok(id.into())
}

/// A new token: 32 random bytes in hex.
pub(super) fn new_token(entropy: &mut impl Entropy) -> Box<str> {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    hex(&bytes).into()
}

/// The files by which clients find the broker; removed with this value.
#[derive(Debug)]
pub(super) struct Presence {
    paths: Paths,
}

impl Presence {
    /// Removes what a predecessor that was killed has left.
    pub(super) fn clear(paths: &Paths) -> Self {
        let presence = Self { paths: paths.clone() };
        presence.remove();
        presence
    }

    /// Writes them: the port last, since that is what clients look for.
    ///
    /// # Errors
    /// One cannot be written.
    pub(super) fn announce(&self, role: Kind, port: u16, token: &str) -> Result<(), StartError> {
        write(&self.paths.token(), token)?;
        write(&self.paths.pid(), &std::process::id().to_string())?;
        write(&self.paths.role(), role.as_str())?;
        write(&self.paths.port(), &port.to_string())
    }

    fn remove(&self) {
        for path in self.paths.of_running_broker() {
            remove_file(&path);
        }
    }
}

/// Removes a file, if it is there.
pub(super) fn remove_file(path: &Path) {
    if let Err(error) = files::remove(path) {
        log::warn(format_args!("cannot remove {}: {error}", path.display()));
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Says as what this process serves from now on.
///
/// # Errors
/// It cannot be written.
#[cfg(feature = "lan")]
pub(super) fn write_role(paths: &Paths, role: Kind) -> Result<(), StartError> {
    write(&paths.role(), role.as_str())
}

/// A socket that becomes readable when a signal asks for the end. In the foreground, closing the
/// terminal asks for it, too; in the background it does not matter.
///
/// # Errors
/// The system has no room.
pub(super) fn signals(mode: Mode) -> io::Result<mio::net::UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    let ignored = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    match mode {
        Mode::Foreground => signal_hook::low_level::pipe::register(SIGHUP, writer)?,
        Mode::Background => signal_hook::flag::register(SIGHUP, Arc::clone(&ignored))?,
    };
    // A file that may not grow is a failure of the store, not the end of the process.
    signal_hook::flag::register(SIGXFSZ, ignored)?;
    Ok(mio::net::UnixStream::from_std(reader))
}

fn write(path: &Path, text: &str) -> Result<(), StartError> {
    write_private(path, text.as_bytes()).map_err(|source| StartError::Io {
        what: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::broker::entropy::SystemEntropy;
    use crate::files::tests::TempDir;

    fn config(dir: &Path, port: &'static str) -> Config {
        let lookup = |name: &str| (name == "SLM_MESH_PORT").then(|| port.into());
        Config::from_lookup(lookup, Some(OsStr::new(dir)), std::env::current_dir).unwrap()
    }

    #[test]
    fn files_are_private_and_gone_afterwards() {
        let temp = TempDir::new();
        let paths = Paths::new(temp.path().to_owned());
        std::fs::write(paths.port(), "1").unwrap();
        let presence = Presence::clear(&paths);
        assert!(!paths.port().exists());
        presence.announce(Kind::Broker, 7899, "token").unwrap();
        assert_eq!(small_number(&paths.port()), Some(7899_u16));
        assert_eq!(small_number(&paths.pid()), Some(std::process::id()));
        assert_eq!(read_small(&paths.token()).as_deref(), Some("token"));
        assert_eq!(read_small(&paths.role()).as_deref(), Some("broker"));
        for path in [paths.port(), paths.pid(), paths.token(), paths.role()] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        drop(presence);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_id_of_a_data_dir_stays() {
        let temp = TempDir::new();
        let paths = Paths::new(temp.path().to_owned());
        let mut entropy = SystemEntropy::new().unwrap();
        let id = mesh_id(&paths, &mut entropy).unwrap();
        assert_eq!(mesh_id(&paths, &mut entropy).unwrap(), id);
        for bad in ["", "a b", &"x".repeat(65), "\u{e4}"] {
            std::fs::write(paths.mesh_id(), bad).unwrap();
            assert_ne!(&*mesh_id(&paths, &mut entropy).unwrap(), bad);
        }
        assert_ne!(mesh_id(&paths, &mut entropy).unwrap(), id);
    }

    #[test]
    fn tokens_are_64_hex_digits_and_differ() {
        let mut entropy = SystemEntropy::new().unwrap();
        let (a, b) = (new_token(&mut entropy), new_token(&mut entropy));
        assert!(a != b && a.len() == 64 && a.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn the_socket_is_ours_alone_and_not_needed() {
        let temp = TempDir::new();
        let config = config(temp.path(), "0");
        let (listeners, _) = listen(&config).unwrap();
        assert_eq!(listeners.len(), 2);
        let mode = config.paths.socket().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Something is in its place: here its predecessor's, which is removed only at a start.
        let (listeners, port) = listen(&config).unwrap();
        assert!(matches!(&*listeners, [Listener::Tcp(_)]) && port != 0);
        drop(Presence::clear(&config.paths));
        assert!(!config.paths.socket().exists());
        assert_eq!(listen(&config).unwrap().0.len(), 2);
    }

    #[test]
    fn any_free_port_will_do_if_that_was_asked_for() {
        let temp = TempDir::new();
        let config = config(temp.path(), "0");
        let ((_a, one), (_b, other)) = (bind(&config).unwrap(), bind(&config).unwrap());
        assert!(one != 0 && other != 0 && one != other);
    }

    #[test]
    fn a_lock_that_is_held_by_someone_who_does_not_serve_is_waited_for() {
        let temp = TempDir::new();
        let config = config(temp.path(), "0");
        let lock = take_lock(&config).unwrap();
        let start = Instant::now();
        let pid = Some(std::process::id());
        assert!(
            matches!(take_lock(&config), Err(StartError::Busy { pid: held, is_near: true }) if held == pid)
        );
        assert!(start.elapsed() >= LOCK_TIME_MAX);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleep(Duration::from_millis(100));
                drop(lock);
            });
            take_lock(&config).unwrap();
        });
    }
}
