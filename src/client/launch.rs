//! Starting a broker: runs `slm-mesh start --detached`, which says `ready <port>` on its standard
//! output and ends once a broker of the data directory serves, or ends with the reason on its
//! standard error. It is not the broker, only its midwife: the broker hangs on nobody's process
//! tree.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};

use super::error::ClientError;
use crate::config::{Config, DATA_DIR};
use crate::platform;
use crate::role;

/// The name of the program.
const PROGRAM: &str = "slm-mesh";
/// The program of the process that looks, even when its file has been removed: proc(5).
const RUNNING: &str = "/proc/self/exe";
/// Most that is kept of what it says, bytes.
const SAID_BYTES_MAX: u64 = 4096;

/// A start under way. Wait until [`Launch::as_fd`] is readable, then call [`Launch::advance`].
/// Dropped before its end, it is broken off; a broker that has already come from it stays.
#[derive(Debug)]
pub struct Launch {
    child: Child,
    stdout: ChildStdout,
    over: bool,
}

impl Launch {
    /// Begins to start the broker of `config`'s data directory.
    ///
    /// # Errors
    /// [`ClientError::StartFailed`]; [`ClientError::Settings`] and [`ClientError::OtherRole`] if with
    /// these variables none could be started.
    pub fn spawn(config: &Config) -> Result<Self, ClientError> {
        role::of(config)?;
        let failed = |error: &io::Error| start_failed(&format!("it cannot be run: {error}"));
        let mut command = Command::new(own_executable().map_err(|error| failed(&error))?);
        command
            .args(["start", "--detached"])
            .env(DATA_DIR, config.paths.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if config.paths.dir().is_dir() {
            command.current_dir(config.paths.dir());
        }
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        let Some(stdout) = child.stdout.take() else {
            return Err(start_failed("it has no standard output"));
        };
        Ok(Self { child, stdout, over: false })
    }

    /// The result, if it is there. Never waits.
    ///
    /// # Errors
    /// [`ClientError::StartFailed`] with what the broker said.
    pub fn advance(&mut self) -> Option<Result<(), ClientError>> {
        let mut chunk = [0; 256];
        loop {
            match platform::poll_readable(&self.stdout, Some(Duration::ZERO)) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(start_failed(&error.to_string()))),
            }
            match self.stdout.read(&mut chunk) {
                // What it says is for people; its end and its exit status tell.
                Ok(1..) => {}
                Ok(0) => return Some(self.finish()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(start_failed(&error.to_string()))),
            }
        }
    }

    /// Its output has ended, so it is about to exit.
    fn finish(&mut self) -> Result<(), ClientError> {
        self.over = true;
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // What could be read is shown; that not all could does not matter.
            let _ = stderr.take(SAID_BYTES_MAX).read_to_end(&mut said);
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(start_failed(&reason(&String::from_utf8_lossy(&said), status))),
            Err(error) => Err(start_failed(&error.to_string())),
        }
    }
}

impl AsFd for Launch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdout.as_fd()
    }
}

impl AsRawFd for Launch {
    fn as_raw_fd(&self) -> RawFd {
        self.stdout.as_raw_fd()
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        if !self.over {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Starts the broker of `config`'s data directory and waits until it serves, or until `deadline`.
///
/// # Errors
/// [`ClientError::StartFailed`].
pub fn start_and_wait(config: &Config, deadline: Instant) -> Result<(), ClientError> {
    let mut launch = Launch::spawn(config)?;
    loop {
        if let Some(result) = launch.advance() {
            return result;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(start_failed("it was not ready in time"));
        }
        platform::poll_readable(&launch, Some(left))
            .map_err(|error| start_failed(&error.to_string()))?;
    }
}

/// The program that runs now, to be run again: under its own path, where its successor is if an
/// update has replaced it; else by the name it was called by, which may be a link to the newest of
/// several versions; else as the shell would find it. If all of them are gone, Linux still has what
/// this process runs.
///
/// # Errors
/// There is none of them.
pub fn own_executable() -> io::Result<PathBuf> {
    let own = platform::executable(std::process::id()).or_else(|| std::env::current_exe().ok());
    let called = std::env::args_os().next();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = find_program(own, called.as_deref(), &path);
    found.ok_or_else(|| {
        let words = "its program is not there any more, and there is no other on the PATH";
        io::Error::new(io::ErrorKind::NotFound, words)
    })
}

fn find_program(own: Option<PathBuf>, called: Option<&OsStr>, path: &OsStr) -> Option<PathBuf> {
    let by_name = |name: &OsStr| {
        let dirs = std::env::split_paths(path).filter(|dir| dir.is_absolute());
        dirs.map(|dir| dir.join(name)).find(|program| is_program(program))
    };
    let by_call = |called: &OsStr| {
        if !called.as_encoded_bytes().contains(&b'/') {
            return by_name(called);
        }
        let program = std::path::absolute(called).ok()?;
        is_program(&program).then_some(program)
    };
    own.filter(|program| is_program(program))
        .or_else(|| called.and_then(by_call))
        .or_else(|| by_name(OsStr::new(PROGRAM)))
        .or_else(|| Some(PathBuf::from(RUNNING)).filter(|program| is_program(program)))
}

/// Whether `path` can be run.
fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// The environment of a broker: what it needs, and nothing of the agent that happened to be first.
#[must_use]
pub fn broker_environment(config: &Config) -> Vec<(OsString, OsString)> {
    let wanted = |name: &OsString| {
        let name = name.to_string_lossy();
        matches!(&*name, "HOME" | "PATH" | "LANG") || name.starts_with("SLM_MESH_")
    };
    let mut environment: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| wanted(name) && name.as_os_str() != DATA_DIR)
        .collect();
    environment.push((DATA_DIR.into(), config.paths.dir().into()));
    environment
}

/// What the process said, without the program's name before it, or how it ended.
fn reason(said: &str, status: ExitStatus) -> String {
    let said = said.trim();
    match said.strip_prefix("slm-mesh: ").unwrap_or(said) {
        "" => format!("`slm-mesh start --detached` ended with {status} and said nothing"),
        said => said.to_owned(),
    }
}

fn start_failed(reason: &str) -> ClientError {
    ClientError::StartFailed { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::files::tests::TempDir;

    #[test]
    fn the_reason_is_what_was_said() {
        let failed = ExitStatus::from_raw(1 << 8);
        assert_eq!(reason("slm-mesh: no port is free\n", failed), "no port is free");
        assert!(reason("", failed).contains("exit status: 1"));
    }

    #[test]
    fn a_program_is_found_by_its_path_its_call_its_name() {
        let temp = TempDir::new();
        let make = |name: &str| {
            let path = temp.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy("/bin/sh", &path).unwrap();
            path
        };
        let own = make("v1/slm-mesh");
        let newer = make("v2/slm-mesh");
        let link = temp.path().join("mesh");
        std::os::unix::fs::symlink(&newer, &link).unwrap();
        let on_path = make("bin/slm-mesh");
        let path = std::env::join_paths([Path::new("relative"), &temp.path().join("bin")]).unwrap();
        let find = |called: &OsStr| find_program(Some(own.clone()), Some(called), &path);

        assert_eq!(find(link.as_os_str()), Some(own.clone()));
        std::fs::remove_dir_all(temp.path().join("v1")).unwrap();
        assert_eq!(find(link.as_os_str()), Some(link.clone()));
        assert_eq!(find(OsStr::new("slm-mesh")), Some(on_path.clone()));
        std::fs::remove_file(&newer).unwrap();
        assert_eq!(find(link.as_os_str()), Some(on_path.clone()));
        // What cannot be run is none.
        std::fs::write(&on_path, "").unwrap();
        std::fs::set_permissions(&on_path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let last = Some(PathBuf::from(RUNNING)).filter(|path| path.exists());
        assert_eq!(find(link.as_os_str()), last);
        assert_eq!(find_program(None, None, OsStr::new("")), last);
    }

    #[test]
    fn a_broker_gets_what_it_needs() {
        let lookup = |_: &str| None;
        let dir = std::ffi::OsStr::new("/d");
        let config = Config::from_lookup(lookup, Some(dir), std::env::current_dir).unwrap();
        let environment = broker_environment(&config);
        assert!(environment.iter().all(|(name, _)| {
            let name = name.to_str().unwrap();
            ["HOME", "PATH", "LANG"].contains(&name) || name.starts_with("SLM_MESH_")
        }));
        let data_dir: Vec<_> = environment.iter().filter(|(name, _)| name == DATA_DIR).collect();
        assert_eq!(data_dir, [&(DATA_DIR.into(), "/d".into())]);
    }
}
