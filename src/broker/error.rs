//! Why there is no broker.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::data_dir::DataDirError;
use crate::neighbour::Foreign;
use crate::platform::Address;
use crate::role::RoleError;

/// The error of what is not allowed, whoever asks.
const EPERM: i32 = Errno::PERM.raw_os_error();

/// Why there is no broker, or why there is one no longer.
#[derive(Debug)]
pub enum StartError {
    /// Another process is the broker of this data directory, and serves.
    AlreadyRunning {
        /// Its process, if it can be seen from here.
        pid: Option<u32>,
        /// Its port.
        port: u16,
    },
    /// Another process holds the lock, and neither serves nor stops.
    Busy {
        /// It, if it can be seen from here.
        pid: Option<u32>,
        /// It is in the same network, so what was asked has come to it.
        is_near: bool,
    },
    /// Nobody could connect to it from where it is.
    OutOfReach {
        /// Where that was tried.
        address: Address,
        /// What came of it.
        source: io::Error,
    },
    /// Another program that uses the same files is running.
    Foreign(Foreign),
    /// The data directory cannot be used.
    DataDir(DataDirError),
    /// It is not known what is to serve it, or that cannot be served.
    Role(RoleError),
    /// No port could be had.
    Bind {
        /// Those that were tried.
        candidates: Vec<u16>,
        /// What became of the last.
        source: io::Error,
    },
    /// Other machines cannot be let in, or there is no key by which they would know this one.
    Machines(String),
    /// Something about a file.
    Io {
        /// What was tried, a verb.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The system lacks something.
    System {
        /// What for.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// The database cannot be opened.
    Store(String),
    /// It was running, and could not go on.
    Ended(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = |pid: &Option<u32>| match pid {
            Some(pid) => format!("pid {pid}"),
            None => "a process that cannot be seen from here".to_owned(),
        };
        match self {
            Self::AlreadyRunning { pid, port } => {
                write!(f, "a broker is already running ({}, port {port})", process(pid))
            }
            Self::Busy { pid, is_near: true } => write!(
                f,
                "another broker ({}) holds the lock of this data directory and does not answer: \
                 end it with `slm-mesh clean`",
                process(pid)
            ),
            Self::Busy { pid, is_near: false } => write!(
                f,
                "another broker ({}) holds the lock of this data directory, in another sandbox or \
                 container, and cannot be asked from here; it may well serve there",
                process(pid)
            ),
            Self::OutOfReach { address, source } => write!(
                f,
                "a sandbox keeps programs in here from connecting to a broker, even to one that \
                 runs in here ({address}: {source}): start it outside with `slm-mesh start \
                 --detached`, or use the mesh tools of your agent, which run outside"
            ),
            Self::Foreign(foreign) => foreign.fmt(f),
            Self::DataDir(error) => error.fmt(f),
            Self::Role(error) => error.fmt(f),
            // What forbids a socket is no other program's socket.
            Self::Bind { source, .. } if source.raw_os_error() == Some(EPERM) => write!(
                f,
                "a sandbox keeps programs in here from listening on a port ({source}): start the \
                 broker outside with `slm-mesh start --detached`, or use the mesh tools of your \
                 agent, which run outside"
            ),
            Self::Bind { candidates, source } => match (candidates.first(), candidates.last()) {
                (Some(first), Some(last)) if first != last => write!(
                    f,
                    "none of the ports {first} to {last} can be used ({source}): free one, or set \
                     SLM_MESH_PORT"
                ),
                (Some(port), _) if *port != 0 => {
                    write!(f, "port {port} cannot be used ({source}): set SLM_MESH_PORT to another")
                }
                _ => write!(f, "no port can be used: {source}"),
            },
            Self::Io { what, path, source } => {
                write!(f, "cannot {what} {}: {source}", path.display())
            }
            Self::System { what, source } => write!(f, "cannot {what}: {source}"),
            Self::Machines(error) => f.write_str(error),
            Self::Store(error) => write!(f, "the database cannot be opened: {error}"),
            Self::Ended(error) => write!(f, "the broker had to end: {error}"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::DataDir(error) => Some(error),
            Self::Role(error) => Some(error),
            Self::Bind { source, .. }
            | Self::OutOfReach { source, .. }
            | Self::Io { source, .. }
            | Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<DataDirError> for StartError {
    fn from(error: DataDirError) -> Self {
        Self::DataDir(error)
    }
}
